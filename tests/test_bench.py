"""What the benchmarks compute themselves. The benchmarks are not run here."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.peers.contest import Measurement, report
from tests.bench.peers.machine import MIB, DeviceWatch, MemoryWatch
from tests.bench.peers.ours import make_config, measure_rate, read_curve, read_settings
from tests.bench.peers.task import Task, describe_steps, read_task
from tests.bench.step import compare, lengthen
from train.config import TrainConfig
from train.events import Epoch, Step

TASK = Task(Path("/data"), steps=10, warmup=4)
HOLD = "x = bytearray({0}); print(flush=True); input()"


def make_step(step: int, at: float) -> Step:
    return Step(epoch=1, step=step, progress=0, loss=0, lr=0, images_per_s=0, at=at)


def test_a_rate_is_counted_between_the_first_and_last_event_of_the_steps() -> None:
    """What happens before and behind, and how often events come, does not matter."""
    steps = [make_step(number, at) for number, at in [(1, 0), (4, 90), (6, 91), (8, 92), (9, 200)]]
    assert measure_rate(steps, batch=8, first=3, last=8) == 8 * 4 / 2


def test_a_rate_of_a_single_event_is_none() -> None:
    assert measure_rate([make_step(5, 1.0)], batch=8, first=1, last=9) is None


def test_the_warm_up_belongs_to_no_rate() -> None:
    """A contestant's figures follow from its stamps; the first step is counted from its start."""
    stamps = [*(103.0 + n for n in range(4)), *(106.5 + n / 2 for n in range(6))]
    figures = describe_steps(Measurement(100.0, 120.0), stamps, TASK)
    assert figures == {"seconds": 20.0, "first_step_s": 3.0, "images_per_s": 16.0}


def test_a_program_is_told_the_task_that_it_reads() -> None:
    task = Task(Path("/data"), 3, 1, crop=64, validate=True, variant='{"compile": "on"}')
    assert read_task(task.arguments) == task


def test_a_limit_in_seconds_is_kept_below_and_a_ratio_above(
    capsys: pytest.CaptureFixture[str],
) -> None:
    limits = {"vs_tuned": 1.1, "vs_shipped": 4.0, "first_step_s": 10.0}
    report({"vs_tuned": 1.2, "vs_shipped": 3.9, "first_step_s": 9.0}, limits, {})
    reached = json.loads(capsys.readouterr().out)["reached"]
    assert reached == {"vs_tuned": True, "vs_shipped": False, "first_step_s": True}


def test_a_summary_has_median_lowest_and_highest_and_the_peak_of_all_rounds(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = [Measurement(0, 1, peak, figures={"rate": rate}) for peak, rate in ((5, 1.0), (3, 2.5))]
    report({}, {}, {"ours": [*rows, Measurement(0, 1, 4, figures={"rate": 2.0})]})
    ours = json.loads(capsys.readouterr().out)["contestants"]["ours"]
    assert ours == {"rate": [2.0, 1.0, 2.5], "peak_pss_mib": 5}


def test_our_rate_is_compared_with_each_other_one() -> None:
    rates = {"shipped": (1.0, 2.0, 9.0), "ours": (8.0, 8.0, 7.0), "ceiling": (8.0, 10.0, 16.0)}
    measured = {
        name: [Measurement(0, 1, figures={"images_per_s": rate}) for rate in values]
        for name, values in rates.items()
    }
    assert compare(measured) == {"images_per_s": 8.0, "vs_shipped": 4.0, "vs_ceiling": 0.8}


def test_ours_is_measured_behind_its_first_pass_over_as_many_steps_as_the_others() -> None:
    task, settings = lengthen(TASK, images=367, settings={}, kind="cpu")
    assert (task.warmup, task.steps - task.warmup, settings) == (46, 6, {})


def test_on_a_gpu_ours_is_measured_compiled_and_behind_a_validation() -> None:
    task, settings = lengthen(TASK, images=367, settings={"compile": "off"}, kind="cuda")
    assert settings == {"compile": "off", "validate_steps": 56}
    assert (task.warmup, task.steps) == (60, 66)


def test_memory_is_counted_over_a_process_and_its_children() -> None:
    held = 64 * MIB
    code = f"import subprocess, sys; {HOLD.format(held)}"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {code!r}])"
    with subprocess.Popen(
        [sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        memory = MemoryWatch(process.pid)
        memory.look()
        process.communicate(b"\n")
    memory.look()
    assert held < memory.peak_bytes < 2 * held


def test_a_process_that_is_gone_takes_no_memory() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
        memory = MemoryWatch(process.pid)
        memory.look()
        assert memory.peak_bytes == 0


def test_memory_of_the_gpu_is_counted_above_what_was_taken_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\nprintf '100\\n900\\n300\\n'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with DeviceWatch() as watch:
        pass
    assert watch.taken_mib == 800


def test_without_a_gpu_none_of_its_memory_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with DeviceWatch() as watch:
        pass
    assert watch.taken_mib is None


def test_settings_are_json_or_else_text() -> None:
    pairs = ["width=32", "lr=1e-3", "loss=1.0*dice+1.0*bce", 'predict=["val"]', "flip=false"]
    assert read_settings(pairs) == {
        "width": 32,
        "lr": 1e-3,
        "loss": "1.0*dice+1.0*bce",
        "predict": ["val"],
        "flip": False,
    }


def test_the_config_of_a_task_is_one_that_the_trainer_takes() -> None:
    """Ours is the same training as the others': as many steps, one validation at their end."""
    config = TrainConfig.model_validate(make_config(TASK, Path("/out"), {"jitter": 0.2}))
    assert (config.steps, config.validate_steps, config.batch, config.crop) == (10, 10, 8, 320)
    assert (config.model, config.predict, config.jitter) == ("unet/resnet34", [], 0.2)


def test_a_curve_is_minutes_since_the_first_event_and_the_miou_there() -> None:
    miou = {"miou": 0.25, "pixel_accuracy": 0.5, "iou": {}, "best": True}
    epoch = Epoch.model_validate({"at": 190.0, "epoch": 1, "step": 9, "loss": 1.0, **miou})
    assert read_curve([make_step(1, 100.0), epoch]) == [(1.5, 0.25)]

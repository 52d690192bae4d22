"""Several processes train as one does."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import wait_until
from tests.train.sets import make_set
from tests.train.test_trainer import events, run, run_here, start, write_config
from train.events import Epoch, Failed, Finished, Started, Step

SETTINGS: dict[str, Any] = {
    "epochs": 3,
    "batch": 4,
    "precision": "fp32",
    "device": "cpu",
    "jitter": 0.1,
    "lr": 1e-3,
}


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_set(tmp_path_factory.mktemp("noise") / "set", [(48, 40)] * 17, val=5)


def losses(folder: Path) -> list[float]:
    return [event.loss for event in events(folder) if isinstance(event, Step)]


@pytest.mark.parametrize(
    ("loss", "optimizer"),
    [
        ("log_jaccard+0.5*dice", "adamw"),
        # Adam makes a whole step even of a gradient that is nothing but the rounding of a sum.
        ("cross_entropy+focal+lovasz+bce+0.001*cross_entropy_sum", "sgd"),
    ],
)
def test_two_ranks_lose_what_one_process_loses(
    noise: Path, tmp_path: Path, loss: str, optimizer: str
) -> None:
    settings = SETTINGS | {"loss": loss, "optimizer": optimizer}
    for ranks, way in ((1, run_here), (2, run)):
        folder = tmp_path / str(ranks)
        code, err = way(write_config(folder, noise, **settings, ranks=ranks))
        assert code == 0, err
    one, two = losses(tmp_path / "1"), losses(tmp_path / "2")
    assert len(one) == 9
    scale = max(1.0, *one)
    assert two == pytest.approx(one, abs=1e-5 * scale)
    started = next(e for e in events(tmp_path / "2") if isinstance(e, Started))
    assert started.ranks == 2
    right = [
        [event.pixel_accuracy for event in events(tmp_path / name) if isinstance(event, Epoch)]
        for name in ("1", "2")
    ]
    assert right[1] == pytest.approx(right[0], abs=2e-3)
    assert (tmp_path / "2" / "report.html").exists()


def test_a_run_goes_on_with_another_number_of_ranks(noise: Path, tmp_path: Path) -> None:
    run_here(write_config(tmp_path / "whole", noise, **SETTINGS | {"epochs": 6}))
    config = write_config(tmp_path / "cut", noise, **SETTINGS | {"epochs": 6}, ranks=2)
    process = start(config)
    log = tmp_path / "cut" / "events.jsonl"
    wait_until(lambda: log.exists() and log.read_bytes().count(b'"kind":"step"') >= 4)
    os.kill(process.pid, signal.SIGTERM)
    process.communicate()
    assert process.returncode == 143
    assert run_here(write_config(tmp_path / "cut", noise, **SETTINGS | {"epochs": 6}))[0] == 0
    assert isinstance(events(tmp_path / "cut")[-1], Finished)
    whole = losses(tmp_path / "whole")
    assert losses(tmp_path / "cut") == pytest.approx(whole, abs=1e-4)


def test_what_fails_in_another_rank_is_in_the_log(noise: Path, tmp_path: Path) -> None:
    # Of the first batch, the second rank has the second sample.
    from train.data.samples import SampleStream

    index = int(SampleStream(12, 0).batch(0, 4).indices[1])
    folder = make_set(tmp_path / "set", [(48, 40)] * 17, val=5)
    path = folder / "images" / f"{index}.png"
    path.write_bytes(path.read_bytes()[:200])
    code, _ = run(write_config(tmp_path / "run", folder, **SETTINGS, ranks=2))
    assert code == 1
    last = events(tmp_path / "run")[-1]
    assert isinstance(last, Failed)
    assert f"{index}.png: the image cannot be decoded" in last.message
    assert last.cause == "data"


def test_a_batch_that_ranks_cannot_share_is_refused(noise: Path, tmp_path: Path) -> None:
    code, err = run(write_config(tmp_path, noise, **SETTINGS | {"batch": 3}, ranks=2))
    assert code == 1
    assert "A batch of 3 images cannot be shared by 2 processes." in err


def test_torchrun_starts_the_ranks_as_well(noise: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path, noise, **SETTINGS | {"epochs": 1})
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", "-m", "train", str(config)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command, env=environment, capture_output=True, check=True, timeout=240)
    started = next(event for event in events(tmp_path) if isinstance(event, Started))
    assert started.ranks == 2
    assert isinstance(events(tmp_path)[-1], Finished)

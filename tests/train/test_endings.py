"""The trainer's own words on how it ended, whatever the disk, the GPU or another trainer does."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.conftest import wait_until
from tests.train.test_trainer import run, start, write_config
from train.__main__ import main
from train.__main__ import run as run_training
from train.config import read_config
from train.errors import DataError, TrainError
from train.events import EventLog, Failed, parse_event


def last_event(folder: Path) -> Failed:
    event = parse_event((folder / "events.jsonl").read_bytes().splitlines()[-1])
    assert isinstance(event, Failed)
    return event


@pytest.mark.parametrize(
    ("error", "cause", "message"),
    [
        (TrainError("It is wrong.", "Mend it."), "settings", "It is wrong."),
        (DataError("a.jpg: broken"), "data", "a.jpg: broken"),
        (OSError(errno.ENOSPC, "No space left on device", "x.pt"), "disk_full", "x.pt: No space"),
        (OSError(errno.EIO, "Input/output error", "x.pt"), "data", "x.pt: Input/output error"),
        (torch.OutOfMemoryError("CUDA out of memory"), "memory", "not enough memory"),
        (MemoryError(), "memory", "There was not enough memory"),
        (RuntimeError("CUDA error: unspecified launch failure"), "gpu", "The GPU failed"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), "gpu", "The GPU failed"),
        (ZeroDivisionError("division by zero"), "internal", "ZeroDivisionError: division by zero"),
    ],
)
def test_every_failure_has_its_cause(
    error: Exception,
    cause: str,
    message: str,
    dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("train.loop.train", fail)
    config = read_config(write_config(tmp_path, dataset))
    assert run_training(config, EventLog(tmp_path / "events.jsonl")) == 1
    event = last_event(tmp_path)
    assert event.cause == cause
    assert message in event.message


def test_two_trainers_never_write_to_one_folder(dataset: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path, dataset, epochs=300)
    first = start(config)
    wait_until((tmp_path / "events.jsonl").exists)
    code, err = run(config)
    first.kill()
    first.communicate()
    assert code == 1
    assert f"Another trainer is writing to {tmp_path}. Wait for it, or give this one" in err


def test_a_line_that_was_torn_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"v":1,"kind":"st')
    log = EventLog(path, clock=lambda: 1.0)
    log.emit(Failed(message="m", fix="f"))
    log.close()
    torn, line = path.read_text().splitlines()
    assert torn == '{"v":1,"kind":"st'
    assert json.loads(line)["kind"] == "failed"


def test_what_it_prints_is_added_to_the_log_that_is_named(dataset: Path, tmp_path: Path) -> None:
    config, log = write_config(tmp_path, dataset, epochs=1), tmp_path / "log.txt"
    log.write_text("before\n")
    command = [sys.executable, "-m", "train", str(config), "--log", str(log)]
    done = subprocess.run(
        command, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True
    )
    assert (done.stdout, done.stderr) == (b"", b"")
    first, *_, last = log.read_text().splitlines()
    assert first == "before"
    assert last.startswith("finished in")


def test_a_log_that_is_a_link_is_refused(dataset: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path, dataset)
    (tmp_path / "log.txt").symlink_to(tmp_path / "elsewhere")
    command = [sys.executable, "-m", "train", str(config), "--log", str(tmp_path / "log.txt")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "log.txt" in done.stderr
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("argv", [[], ["--help"], ["a", "b"], ["a", "--lag", "b"]])
def test_other_arguments_are_told_how_it_is_used(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == 2
    assert capsys.readouterr().err == "Usage: python -m train CONFIG.json [--log FILE]\n"


def test_samples_of_the_validation_are_there_while_it_trains(dataset: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path, dataset, epochs=300)
    process = start(config)
    wait_until(lambda: len(list((tmp_path / "samples").glob("*.png"))) == 2)
    process.kill()
    process.communicate()
    assert not (tmp_path / "predictions").exists()

"""Killed anywhere and started again: as if nothing had happened, to the last bit."""

import json
import os
import random
import signal
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.train.sets import make_set
from tests.train.test_trainer import events, fork, run_here, start, write_config
from train.events import Checkpoint, Epoch, Finished, Image, Started, Step, Warned

KILLS = 20
# What tells of time, or of the restart itself: all else has to be equal.
TIMES = ("at", "images_per_s", "seconds")
SETTINGS: dict[str, Any] = {
    "epochs": 8,
    "batch": 3,
    "ema": 0.9,
    "jitter": 0.2,
    "scale_min": 0.8,
    "scale_max": 1.5,
    "optimizer": "adamw",
    "schedule": "plateau",
    "plateau_patience": 1,
    "loss": "cross_entropy + 0.5*dice",
    "checkpoint_steps": 2,
}


def story(folder: Path) -> list[str]:
    """The event log without times, and without what only a restart says."""
    told = []
    for event in events(folder):
        if isinstance(event, Warned) or (isinstance(event, Started) and event.step):
            continue
        told.append(event.model_dump_json(exclude=set(TIMES)))
    # Before the first checkpoint, each restart begins at step 0.
    return [line for n, line in enumerate(told) if '"started"' not in line or n == 0]


def weights(folder: Path, name: str) -> dict[str, Any]:
    content = torch.load(folder / "checkpoints" / f"{name}.pt", weights_only=True)
    average = content.get("average") or {}
    return {**content["model"], **{f"average.{name}": value for name, value in average.items()}}


def assert_equal(one: Path, other: Path) -> None:
    for name in ("last", "best"):
        left, right = weights(one, name), weights(other, name)
        assert left.keys() == right.keys()
        assert all(torch.equal(left[key], right[key]) for key in left)
    for name in ("metrics.csv", "metrics.json"):
        assert (one / name).read_bytes() == (other / name).read_bytes()
    assert story(one) == story(other)


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_set(tmp_path_factory.mktemp("noise") / "set", [(48, 40)] * 20, val=8)


@pytest.fixture(scope="module")
def undisturbed(noise: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    code, err = run_here(write_config(folder, noise, **SETTINGS))
    assert code == 0, err
    return folder


def kill_when(process: BaseProcess, is_time: Callable[[], bool]) -> bool:
    """SIGKILL as soon as it is time; whether it came before the end."""
    limit = time.monotonic() + 120
    while process.is_alive() and not is_time():
        assert time.monotonic() < limit
        time.sleep(0.0005)
    process.kill()
    process.join()
    return process.exitcode == -signal.SIGKILL


@pytest.mark.slow
def test_twenty_kills_change_nothing(noise: Path, undisturbed: Path, tmp_path: Path) -> None:
    """In the middle of epochs, of validations and of checkpoints, as it comes."""
    chance = random.Random(5)
    config = write_config(tmp_path, noise, **SETTINGS)
    log, partial = tmp_path / "events.jsonl", tmp_path / "checkpoints" / "last.pt.partial"

    def lines() -> int:
        return log.read_bytes().count(b"\n") if log.exists() else 0

    def is_validating() -> bool:
        said = [e for e in events(tmp_path) if isinstance(e, Step | Epoch)] if log.exists() else []
        return bool(said) and isinstance(said[-1], Step) and said[-1].step % 4 == 0

    kinds: list[str] = []
    while len(kinds) < KILLS:
        kind = chance.choice(["steps", "checkpoint", "validation"])

        def is_time(kind: str = kind, least: int = lines() + chance.randint(2, 6)) -> bool:
            if kind == "steps":
                return lines() >= least
            return lines() > least - 4 and (
                partial.exists() if kind == "checkpoint" else is_validating()
            )

        if not kill_when(fork(config), is_time):
            break
        kinds.append(kind)
    assert len(kinds) == KILLS, kinds
    assert run_here(config)[0] == 0
    assert_equal(tmp_path, undisturbed)


def test_sigterm_leaves_a_checkpoint_of_the_last_step(
    noise: Path, undisturbed: Path, tmp_path: Path
) -> None:
    config = write_config(tmp_path, noise, **SETTINGS | {"checkpoint_steps": 10**6})
    process = start(config)
    kill_later = time.monotonic() + 120
    while not any(isinstance(e, Step) and e.step >= 6 for e in _events(tmp_path)):
        assert time.monotonic() < kill_later
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGTERM)
    process.communicate()
    assert process.returncode == 143
    said = [e for e in events(tmp_path) if isinstance(e, Step | Checkpoint)]
    assert isinstance(said[-1], Checkpoint)
    assert said[-1].step == max(e.step for e in said)
    assert run_here(config)[0] == 0
    for name in ("last", "best"):
        left, right = weights(tmp_path, name), weights(undisturbed, name)
        assert all(torch.equal(left[key], right[key]) for key in left)


def _events(folder: Path) -> list[Any]:
    return events(folder) if (folder / "events.jsonl").exists() else []


def test_a_finished_training_is_finished_again_without_a_step(
    noise: Path, undisturbed: Path, tmp_path: Path
) -> None:
    before = story(undisturbed)
    config = undisturbed / "config.json"
    assert run_here(config)[0] == 0
    ended = [e for e in events(undisturbed) if isinstance(e, Finished)]
    assert len(ended) == 2
    assert ended[0].metrics == ended[1].metrics
    steps = [line for line in story(undisturbed) if '"step"' in line]
    assert steps == [line for line in before if '"step"' in line]


def test_masks_are_announced_once(undisturbed: Path) -> None:
    done = [e.done for e in events(undisturbed) if isinstance(e, Image)]
    assert done == sorted(set(done))


def test_older_checkpoints_are_kept_and_one_is_gone_on_from_when_the_last_is_damaged(
    noise: Path, undisturbed: Path, tmp_path: Path
) -> None:
    config = write_config(tmp_path, noise, **SETTINGS | {"keep": 3})
    assert run_here(config)[0] == 0
    folder = tmp_path / "checkpoints"
    steps = [
        torch.load(folder / name, weights_only=True)["progress"]["step"]
        for name in ("last.pt", "last-1.pt", "last-2.pt")
    ]
    assert steps == [32, 30, 28]
    damaged = (folder / "last.pt").read_bytes()[:5000]
    (folder / "last.pt").write_bytes(damaged)
    assert run_here(config)[0] == 0
    warned = [e.message for e in events(tmp_path) if isinstance(e, Warned)]
    assert "is no checkpoint that can be read" in warned[0]
    assert "The one before it is gone on from." in warned[0]
    left, right = weights(tmp_path, "last"), weights(undisturbed, "last")
    assert all(torch.equal(left[key], right[key]) for key in left)


def test_a_better_best_is_never_overwritten(noise: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path, noise, **SETTINGS | {"epochs": 2})
    assert run_here(config)[0] == 0
    path = tmp_path / "checkpoints" / "best.pt"
    content = torch.load(path, weights_only=True)
    content["progress"]["best"] = 2.0
    torch.save(content, path)
    kept = weights(tmp_path, "best")
    (tmp_path / "checkpoints" / "last.pt").unlink()
    longer = json.loads(config.read_text()) | {"epochs": 4}
    config.write_text(json.dumps(longer))
    assert run_here(config)[0] == 0
    again = weights(tmp_path, "best")
    assert all(torch.equal(kept[key], again[key]) for key in kept)

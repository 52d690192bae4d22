"""`python -m train CONFIG.json`: right, repeatable, and clear about what stops it."""

import contextlib
import csv
import io
import json
import multiprocessing
import os
import signal
import subprocess
import sys
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import hash_weights, wait_until
from train.__main__ import main
from train.data.dataset import Dataset, load_dataset, save_dataset
from train.events import Epoch, Failed, Finished, Started, Warned, parse_event


def write_config(folder: Path, dataset: Path, /, **more: Any) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "config.json"
    settings = {"dataset": str(dataset), "epochs": 2, "crop": 32, "batch": 4} | more
    settings = {"width": 8, "depth": 3} | settings
    settings = {key: value for key, value in settings.items() if value is not None}
    content = {"output": str(folder), **settings}
    path.write_text(json.dumps(content))
    return path


def start(config: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "train", str(config)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},  # as in tests.conftest
        text=True,
    )


def fork(config: Path) -> BaseProcess:
    """As `start`, from a process that has imported everything already, which saves seconds."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    process = context.Process(target=_train, args=(config,))
    process.start()
    return process


def _train(config: Path) -> None:
    torch.set_num_threads(1)
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        sys.exit(main([str(config)]))


def run_here(config: Path) -> tuple[int, str]:
    """As `run`, in this process: torch is there already, which saves seconds."""
    handler, threads = signal.getsignal(signal.SIGTERM), torch.get_num_threads()
    # As those that are started: the order of a sum depends on it.
    torch.set_num_threads(1)
    err = io.StringIO()
    try:
        with contextlib.redirect_stderr(err), contextlib.redirect_stdout(io.StringIO()):
            return main([str(config)]), err.getvalue()
    finally:
        signal.signal(signal.SIGTERM, handler)
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(False)


def run(config: Path) -> tuple[int, str]:
    process = start(config)
    _, err = process.communicate(timeout=240)
    return process.returncode, err


def events(folder: Path) -> list[Any]:
    return [parse_event(line) for line in (folder / "events.jsonl").read_bytes().splitlines()]


@pytest.fixture(scope="module")
def finished(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One training, to its end."""
    folder = tmp_path_factory.mktemp("finished")
    code, err = run(write_config(folder, dataset))
    assert code == 0, err
    return folder


def test_a_training_leaves_all_its_results(finished: Path, dataset: Path) -> None:
    assert (finished / "checkpoints" / "best.pt").exists()
    rows = list(csv.DictReader((finished / "metrics.csv").open()))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    metrics = json.loads((finished / "metrics.json").read_text())
    assert metrics["miou"] == pytest.approx(max(float(row["miou"]) for row in rows))
    assert "void left out" in metrics["definitions"]["miou"]
    page = (finished / "report.html").read_text()
    assert "IoU" in page
    assert page.count("<img") == 6
    for name in ("val", "unlabelled"):
        for sample in load_dataset(dataset).lists[name]:
            mask = Image.open(finished / "predictions" / name / f"{sample.id}.png")
            assert mask.mode == "P"
            assert mask.size == (sample.width, sample.height)


def test_the_metrics_are_those_of_the_masks_that_are_left(finished: Path, dataset: Path) -> None:
    right = known = 0
    for sample in load_dataset(dataset).lists["val"]:
        assert sample.mask
        truth = np.asarray(Image.open(dataset / sample.mask))
        predicted = np.asarray(Image.open(finished / "predictions" / "val" / f"{sample.id}.png"))
        right += (predicted == truth)[truth != 255].sum()
        known += (truth != 255).sum()
    metrics = json.loads((finished / "metrics.json").read_text())
    assert metrics["pixel_accuracy"] == pytest.approx(right / known)


def test_the_events_tell_the_whole_story(finished: Path) -> None:
    kinds = [event.kind for event in events(finished)]
    assert kinds[0] == "started"
    assert kinds[-1] == "finished"
    assert kinds.count("epoch") == 2
    assert {"step", "checkpoint", "image"} <= set(kinds)
    assert isinstance(events(finished)[-1], Finished)


def test_the_same_seed_gives_the_same_hash_weights(
    finished: Path, dataset: Path, tmp_path: Path
) -> None:
    run(write_config(tmp_path / "same", dataset))
    run(write_config(tmp_path / "other", dataset, seed=1))
    assert hash_weights(tmp_path / "same") == hash_weights(finished)
    assert hash_weights(tmp_path / "other") != hash_weights(finished)


@pytest.fixture(scope="module")
def whole(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training of six epochs that nothing disturbs."""
    folder = tmp_path_factory.mktemp("whole")
    run(write_config(folder, dataset, epochs=6))
    return folder


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_training_ends_with_the_weights_of_an_undisturbed_one(
    whole: Path, dataset: Path, tmp_path: Path, blow: signal.Signals
) -> None:
    config = write_config(tmp_path / "cut", dataset, epochs=6)
    process = start(config)
    wait_until(lambda: b'"kind":"epoch"' in _read(tmp_path / "cut" / "events.jsonl"))
    os.kill(process.pid, blow)
    process.communicate()
    assert process.returncode == (143 if blow == signal.SIGTERM else -9)
    ended = events(tmp_path / "cut")
    assert not any(isinstance(event, Finished) for event in ended)
    assert isinstance(ended[-1], Warned) == (blow == signal.SIGTERM)
    assert run(config)[0] == 0
    assert [e.step > 0 for e in events(tmp_path / "cut") if isinstance(e, Started)][-1]
    assert hash_weights(tmp_path / "cut") == hash_weights(whole)
    table = (tmp_path / "cut" / "metrics.csv").read_text()
    assert table == (whole / "metrics.csv").read_text()


def _read(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


@pytest.mark.slow
def test_a_few_images_can_be_learnt_by_heart(dataset: Path, tmp_path: Path) -> None:
    content = load_dataset(dataset)
    few = content.lists["train"][:4]
    lists = {**content.lists, "val": few, "train": few * 10}
    folder = tmp_path / "four"
    folder.mkdir()
    for part in ("images", "masks"):
        (folder / part).symlink_to(dataset / part)
    save_dataset(Dataset(**{**content.model_dump(), "lists": lists}), folder)
    run(write_config(tmp_path / "out", folder, epochs=25, crop=48, width=16))
    best = max(e.miou for e in events(tmp_path / "out") if isinstance(e, Epoch))
    assert best > 0.95


def test_minutes_end_a_training(dataset: Path, tmp_path: Path) -> None:
    code, err = run(write_config(tmp_path, dataset, epochs=None, minutes=0.05))
    assert code == 0, err
    assert any(isinstance(event, Epoch) for event in events(tmp_path))


def spoil(folder: Path, name: str) -> Path:
    """A copy of the dataset with one training image truncated."""
    import shutil

    shutil.copytree(folder, folder.parent / name)
    sample = load_dataset(folder).lists["train"][0]
    path = folder.parent / name / sample.image
    path.write_bytes(path.read_bytes()[:200])
    return folder.parent / name


def test_a_truncated_image_is_named(dataset: Path, tmp_path: Path) -> None:
    code, err = run(write_config(tmp_path, spoil(dataset, "truncated")))
    assert code == 1
    assert "train_0000.jpg: the image cannot be decoded" in err
    assert "Traceback" not in err
    last = events(tmp_path)[-1]
    assert isinstance(last, Failed)
    assert "Restore that file" in last.fix


def test_another_trainings_checkpoint_is_refused(
    finished: Path, dataset: Path, tmp_path: Path
) -> None:
    (tmp_path / "checkpoints").mkdir()
    last = (finished / "checkpoints" / "last.pt").read_bytes()
    (tmp_path / "checkpoints" / "last.pt").write_bytes(last)
    code, err = run(write_config(tmp_path, dataset, width=16))
    assert code == 1
    assert "belongs to another training: its width is 8, not 16" in err
    (tmp_path / "checkpoints" / "last.pt").write_bytes(last[:1000])
    code, err = run(write_config(tmp_path, dataset))
    assert code == 1
    assert "is no checkpoint that can be read" in err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "epochs: Input should be greater than or equal to 1"),
        ({"epochs": 1, "minutes": 1}, "give one of epochs, minutes and steps"),
        ({"colour": 1}, "colour: Extra inputs are not permitted"),
        ({"model": "resunet2"}, "There is no model 'resunet2'"),
        ({"dataset": "/nowhere"}, "/nowhere holds no dataset.json"),
    ],
)
def test_a_bad_config_is_told(
    dataset: Path, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    code, err = run(write_config(tmp_path, dataset, **change))
    assert code == 1
    assert message in err
    assert "Traceback" not in err

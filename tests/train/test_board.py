"""`python -m train.board FOLDER`: events become scalars, and nothing stays behind."""

import io
import json
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

from tests.conftest import wait_until
from train.data.masks import write_mask
from train.events import Checkpoint, Epoch, Event, EventLog, Started, Step
from train.scalars import LARGEST_SIDE, follow_scalars, read_samples, read_scalars

START = Started(
    dataset="skies",
    counts={"train": 8},
    classes=["sky", "cloud"],
    model="resunet",
    parameters=1,
    device="cpu",
    epochs=2,
    steps=4,
    step=0,
    seed=0,
)


def step(number: int, loss: float) -> Step:
    return Step(epoch=1, step=number, progress=0.5, loss=loss, lr=0.01, images_per_s=10)


EPOCH = Epoch(
    epoch=1, step=2, loss=0.5, miou=0.6, pixel_accuracy=0.7, iou={"sky": 0.8, "x": None}, best=True
)


def write(folder: Path, *events: Event) -> None:
    log = EventLog(folder / "events.jsonl")
    for event in events:
        log.emit(event)
    log.close()


@contextmanager
def start(
    folder: Path, *more: str, **environment: str
) -> Iterator[tuple["subprocess.Popen[bytes]", Any]]:
    """The program and its first answer; its private folders go into `folder/tmp`."""
    (folder / "tmp").mkdir(exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "train.board", str(folder), *more],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(folder / "tmp"), **environment},
    )
    assert process.stdin
    assert process.stdout
    try:
        yield process, json.loads(process.stdout.readline())
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def ask(port: int, path: str, plugin: str = "scalars") -> Any:
    url = f"http://127.0.0.1:{port}/data/plugin/{plugin}/{path}"
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)


def tags(port: int, run: str) -> set[str]:
    return set(ask(port, "tags").get(run, {}))


def points(port: int, run: str, tag: str) -> list[tuple[int, float]]:
    found = ask(port, f"scalars?run={run}&tag={tag}")
    return [(number, round(value, 4)) for _, number, value in found]


def test_steps_and_epochs_have_numbers_and_other_kinds_none() -> None:
    assert read_scalars(step(3, 0.25)) == (
        3,
        {"step/loss": 0.25, "step/lr": 0.01, "step/images_per_s": 10},
    )
    assert read_scalars(EPOCH) == (
        1,
        {"epoch/loss": 0.5, "epoch/miou": 0.6, "epoch/pixel_accuracy": 0.7, "iou/sky": 0.8},
    )
    assert read_scalars(START)[1] == {}
    assert read_scalars(Checkpoint(path="last.pt", epoch=1, step=2))[1] == {}


def test_every_number_of_an_epoch_is_shown() -> None:
    metrics = {"mean_accuracy": 0.4, "miou": 0.6, "micro_iou": math.nan}
    _, shown = read_scalars(EPOCH.model_copy(update={"metrics": metrics}))
    assert shown["epoch/mean_accuracy"] == 0.4
    assert "epoch/micro_iou" not in shown
    assert set(shown) == {*read_scalars(EPOCH)[1], "epoch/mean_accuracy"}


RED, BLUE = (255, 0, 0), (0, 0, 255)


def write_sample(folder: Path, name: str, ids: list[list[int]]) -> None:
    (folder / "samples").mkdir(exist_ok=True)
    write_mask(folder / "samples" / name, np.array(ids, np.uint8), [RED, BLUE])


def read_image_of(value: Any) -> Image.Image:
    return Image.open(io.BytesIO(value.image.encoded_image_string))


def test_a_sample_mask_is_shown_in_the_colours_of_its_palette(tmp_path: Path) -> None:
    write_sample(tmp_path, "a.png", [[0, 1, 1]])
    (value,) = read_samples(tmp_path / "samples")
    assert value.tag == "samples/a"
    assert (value.image.height, value.image.width, value.image.colorspace) == (1, 3, 3)
    shown = read_image_of(value)
    assert shown.mode == "RGB"
    assert [shown.getpixel((x, 0)) for x in range(3)] == [RED, BLUE, BLUE]


def test_a_large_sample_is_shown_smaller_in_no_other_colours(tmp_path: Path) -> None:
    write_sample(tmp_path, "a.png", [[0, 1] * LARGEST_SIDE])
    (value,) = read_samples(tmp_path / "samples")
    assert (value.image.height, value.image.width) == (1, LARGEST_SIDE)
    pixels_WC = np.array(read_image_of(value))[0]
    assert {tuple(color) for color in pixels_WC.tolist()} <= {RED, BLUE}


def test_samples_that_are_missing_or_broken_are_left_out(tmp_path: Path) -> None:
    assert read_samples(tmp_path / "samples") == []
    write_sample(tmp_path, "a.png", [[0]])
    write_sample(tmp_path, "b.png", [[0]])
    write_sample(tmp_path, "c.png.partial", [[0]])
    (tmp_path / "samples" / "b.png").write_bytes(b"\x89PNG\r\n\x1a\n half")
    assert [value.tag for value in read_samples(tmp_path / "samples")] == ["samples/a"]


def test_the_samples_are_shown_with_the_epoch_that_they_are_of(tmp_path: Path) -> None:
    """Of epochs that are read at once it is the last: the others' are there no more."""
    later = EPOCH.model_copy(update={"epoch": 2, "step": 4})
    write(tmp_path, START, EPOCH, later)
    write_sample(tmp_path, "a.png", [[0, 1]])
    ended, target = threading.Event(), tmp_path / "board"
    following = threading.Thread(
        target=follow_scalars, args=(tmp_path / "events.jsonl", target, ended)
    )
    following.start()
    wait_until(lambda: list_images(target), 20)
    ended.set()
    following.join()
    assert list_images(target) == [(2, "samples/a")]


def list_images(folder: Path) -> list[tuple[int, str]]:
    """Step and tag of each image that TensorBoard would find."""
    return [
        (event.step, value.tag)
        for path in folder.glob("*")
        for event in LegacyEventFileLoader(str(path)).Load()
        for value in event.summary.value
        if value.HasField("image")
    ]


def test_events_are_shown_as_they_come_until_the_input_ends(tmp_path: Path) -> None:
    """Also where the file comes only later, and a line in two pieces."""
    with start(tmp_path) as (process, answer):
        port, run = answer["port"], tmp_path.name
        write_sample(tmp_path, "a.png", [[0, 1]])
        write(tmp_path, START, step(1, 0.9), EPOCH)
        wait_until(lambda: "iou/sky" in tags(port, run), 20)
        assert "samples/a" in ask(port, "tags", plugin="images")[run]
        assert len(tags(port, run)) == 7
        line = step(2, 0.8).model_dump_json().encode() + b"\n"
        with (tmp_path / "events.jsonl").open("ab", buffering=0) as writer:
            writer.write(line[:20])
            writer.write(line[20:] + b'{"kind": "of a newer trainer"}\n')
        wait_until(lambda: len(points(port, run, "step/loss")) == 2, 20)
        assert points(port, run, "step/loss") == [(1, 0.9), (2, 0.8)]
        (private,) = (tmp_path / "tmp").iterdir()
        assert private.stat().st_mode & 0o777 == 0o700
        assert process.stdin
        process.stdin.close()
        assert process.wait(30) == 0
    assert not list((tmp_path / "tmp").iterdir())


def test_what_a_resume_says_again_is_shown_once(tmp_path: Path) -> None:
    resumed = START.model_copy(update={"step": 2, "identity": "with other weights"})
    write(tmp_path, START, step(1, 0.9), step(2, 0.8), EPOCH, step(3, 0.7), resumed, step(3, 0.6))
    with start(tmp_path) as (_, answer):
        port, run = answer["port"], tmp_path.name
        wait_until(lambda: (3, 0.6) in points(port, run, "step/loss"), 20)
        assert points(port, run, "step/loss") == [(1, 0.9), (2, 0.8), (3, 0.6)]
        assert points(port, run, "epoch/miou") == [(1, 0.6)]


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_signal_leaves_nothing_behind(tmp_path: Path, number: int) -> None:
    with start(tmp_path) as (process, answer):
        assert answer["port"]
        process.send_signal(number)
        assert process.wait(30) == 128 + number
    assert not list((tmp_path / "tmp").iterdir())


def test_a_taken_port_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with start(tmp_path, "--port", str(port)) as (process, answer):
            assert answer["error"].startswith(f"TensorBoard cannot have port {port} on 127.0.0.1: ")
            assert "install" not in answer
            assert process.wait(30) == 1


def test_a_machine_without_tensorboard_says_what_it_lacks(tmp_path: Path) -> None:
    (tmp_path / "tensorboard.py").write_text("raise ImportError('no tensorboard here')\n")
    with start(tmp_path, PYTHONPATH=str(tmp_path)) as (process, answer):
        assert answer == {
            "error": "TensorBoard cannot start: no tensorboard here.",
            "install": ["tensorboard", "pydantic"],
        }
        assert process.wait(30) == 1

"""`python -m train` as a contestant, and what its events say of it."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.bench.peers.contest import Contestant, Measurement, run_process
from tests.bench.peers.task import FIRST, Task
from train.events import Epoch, Event, Step, parse_event

# What the tuned contestant has, too; the rest is what the trainer chooses by itself.
RECIPE: dict[str, Any] = {
    "model": "unet/resnet34",
    "loss": "cross_entropy",
    "optimizer": "adam",
    "weight_decay": 0.0,
    "lr": 2e-4,
    "predict": [],
    "ranks": 1,
}
VARIED: dict[str, Any] = {"scale_min": 0.5, "scale_max": 1.5, "jitter": 0.2}
"""The most that the trainer can vary its crops, where the notebook does as much and more."""


def make_config(task: Task, output: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The CONFIG.json of a task; `settings` have the last word."""
    length = {"steps": task.steps, "validate_steps": task.steps}
    shape = {"batch": task.batch, "crop": task.crop, "device": task.device}
    paths = {"dataset": str(task.dataset), "output": str(output)}
    return {**paths, **RECIPE, **length, **shape, **settings}


def make_trainer(
    task: Task, settings: Mapping[str, Any] | None = None, images: int = 0
) -> Contestant:
    """The trainer as a contestant.

    Figures: seconds, first_step_s, images_per_s (behind the warm-up) and, of the pass over all
    `images` in which they are decoded, first_pass_images_per_s.
    """

    def run(folder: Path) -> Measurement:
        result, events = run_trainer(make_config(task, folder / "run", settings or {}), folder)
        steps = [event for event in events if isinstance(event, Step)]
        rates = {
            "first_pass_images_per_s": (FIRST, images // task.batch),
            "images_per_s": (task.warmup or FIRST, task.steps),
        }
        result.figures = {"seconds": result.seconds, "first_step_s": steps[0].at - result.began}
        for name, (first, last) in rates.items():
            if rate := measure_rate(steps, task.batch, first, last):
                result.figures[name] = rate
        return result

    return run


def run_trainer(config: Mapping[str, Any], folder: Path) -> tuple[Measurement, list[Event]]:
    """One training, and its events."""
    path = write_config(config, folder)
    result = run_process([sys.executable, "-m", "train", path], folder)
    lines = (Path(config["output"]) / "events.jsonl").read_text().splitlines()
    return result, [event for line in lines if (event := parse_event(line))]


def write_config(config: Mapping[str, Any], folder: Path) -> Path:
    """The config as the file that the trainer reads."""
    path = folder / "config.json"
    path.write_text(json.dumps(config))
    return path


def measure_rate(steps: Sequence[Step], batch: int, first: int, last: int) -> float | None:
    """Images per second between the events of these steps; None where there are too few."""
    seen = [s for s in steps if first <= s.step <= last]
    if len(seen) < 2 or seen[-1].at <= seen[0].at:
        return None
    return batch * (seen[-1].step - seen[0].step) / (seen[-1].at - seen[0].at)


def read_curve(events: Sequence[Event]) -> list[tuple[float, float]]:
    """Minutes since the trainer's first word, and the mIoU that it found then."""
    began = events[0].at
    return [
        (round((event.at - began) / 60, 2), round(event.miou, 4))
        for event in events
        if isinstance(event, Epoch)
    ]


def read_settings(pairs: Sequence[str]) -> dict[str, Any]:
    """Settings of the trainer from KEY=VALUE; a value is JSON, or else a text."""
    settings: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise SystemExit(f"{pair!r} is no KEY=VALUE.")
        try:
            settings[key] = json.loads(value)
        except ValueError:
            settings[key] = value
    return settings

"""What every contestant has to do, and a program of this package as a contestant."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.peers.contest import Contestant, Measurement, run_process

STAMPS = "stamps.json"
FIRST = 4
"""Slower steps at the beginning, where a task has no warm-up: allocator and kernels are set up."""


@dataclass(frozen=True)
class Task:
    """So many steps of such batches, and then one validation where it is wanted.

    The first `warmup` steps belong to no figure but the time to the first step.
    """

    dataset: Path
    steps: int
    warmup: int
    batch: int = 8
    crop: int = 320
    validate: bool = False
    device: str = "auto"
    variant: str = ""

    @property
    def arguments(self) -> list[str]:
        """What a program of this package is told."""
        flags = ["--validate"] if self.validate else []
        names = ("dataset", "steps", "warmup", "batch", "crop", "device", "variant")
        return [*flags, *(f"--{name}={getattr(self, name)}" for name in names)]


def read_task(argv: Sequence[str] | None = None) -> Task:
    """The arguments of a program."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--dataset", type=Path, required=True)
    for name in ("steps", "warmup", "batch", "crop"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--validate", action="store_true")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--variant", default="")
    return Task(**vars(parser.parse_args(argv)))


def make_contestant(module: str, task: Task) -> Contestant:
    """A program of this package as a contestant.

    Figures: seconds, first_step_s, images_per_s (behind the warm-up), and the program's own.
    """

    def run(folder: Path) -> Measurement:
        command = [sys.executable, "-m", f"tests.bench.peers.{module}", *task.arguments]
        result = run_process(command, folder)
        content = json.loads((folder / STAMPS).read_text())
        stamps = content["stamps"]
        if len(stamps) != task.steps:
            raise SystemExit(f"{module} did {len(stamps)} steps instead of {task.steps}.")
        result.figures = describe_steps(result, stamps, task) | content["figures"]
        return result

    return run


def describe_steps(result: Measurement, stamps: Sequence[float], task: Task) -> dict[str, float]:
    """The figures that follow from when each step was done."""
    figures = {"seconds": result.seconds, "first_step_s": stamps[0] - result.began}
    warmup = task.warmup or FIRST
    if task.steps > warmup:
        seconds = stamps[task.steps - 1] - stamps[warmup - 1]
        figures["images_per_s"] = task.batch * (task.steps - warmup) / seconds
    return figures

"""What the programs have in common: their device, their workers and the clock of their steps."""

import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch

from tests.bench.peers.task import STAMPS, Task


@dataclass
class StepClock:
    """Notes when each step was done; waits for the device where a figure begins or ends."""

    task: Task
    device: torch.device
    stamps: list[float] = field(default_factory=list)

    def tick(self) -> None:
        """A step is done, as far as the program knows."""
        done = len(self.stamps) + 1
        if self.device.type == "cuda" and done in (1, self.task.warmup, self.task.steps):
            torch.cuda.synchronize()
        self.stamps.append(time.time())

    def write(self, **figures: float) -> None:
        """Leave to `make_contestant` what was measured."""
        content = {"stamps": self.stamps, "figures": figures}
        Path(STAMPS).write_text(json.dumps(content), encoding="utf-8")


def pick_device(task: Task) -> torch.device:
    """The GPU where there is one and it may be used."""
    if task.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(task.device)


def count_workers() -> int:
    """A worker process a core, as guides say."""
    return len(os.sched_getaffinity(0))

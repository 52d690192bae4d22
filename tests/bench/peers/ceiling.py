"""The ceiling: our model, loss and optimiser on tensors that lie in memory, set up as ours.

No data to load, to crop or to vary, no events, no checkpoints. Variant: settings of the trainer, as
JSON. On a GPU steps are measured as they are and compiled, and the better ones are what it reports.
"""

import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from tests.bench.peers.camvid import CLASSES
from tests.bench.peers.ours import make_config
from tests.bench.peers.program import StepClock, pick_device
from tests.bench.peers.task import Task, read_task
from train.augment import to_input
from train.config import TrainConfig
from train.device import (
    autocast,
    choose_precision,
    keep_memory,
    make_deterministic,
    make_optimizer,
)
from train.losses import Loss, make_loss
from train.models import build_model

BATCHES = 4


@dataclass
class Ceiling:
    """A model and all that a step of it takes."""

    model: nn.Module
    criterion: Loss
    optimizer: torch.optim.Optimizer
    context: Callable[[], AbstractContextManager[object]]

    def step(self, images_NCHW: Tensor, truth_NHW: Tensor) -> Tensor:
        """One optimiser step; the loss before it."""
        with self.context():
            logits_NCHW = self.model(images_NCHW)
        loss: Tensor = self.criterion(logits_NCHW, truth_NHW)
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own stubs lack it
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.detach()


def make_ceiling(config: TrainConfig, device: torch.device) -> Ceiling:
    """What the trainer sets up, by its own parts and in its order."""
    keep_memory()
    make_deterministic(config.seed, device, config.deterministic)
    context = autocast(device, choose_precision(config, device))
    model = build_model(CLASSES, config)
    model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # stubs lack it
    criterion = make_loss(config.loss, CLASSES, "multiclass", None)
    return Ceiling(model.train(), criterion, make_optimizer(model, config), context)


def make_batches(task: Task, device: torch.device) -> list[tuple[Tensor, Tensor]]:
    """A few batches of noise, on the device."""
    shape = (task.batch, task.crop, task.crop)
    made = []
    for _ in range(BATCHES):
        images_NHWC = torch.randint(256, (*shape, 3), dtype=torch.uint8).to(device)
        truth_NHW = torch.randint(CLASSES, shape, dtype=torch.uint8).to(device)
        made.append((to_input(images_NHWC), truth_NHW))
    return made


def run_steps(ceiling: Ceiling, task: Task, device: torch.device) -> StepClock:
    """The steps of the task, each waited for where ours waits, too."""
    batches, clock = make_batches(task, device), StepClock(task, device)
    for number in range(task.steps):
        loss = ceiling.step(*batches[number % BATCHES])
        if device.type == "cpu":
            loss.item()
        clock.tick()
    return clock


def measure_rate(clock: StepClock) -> float:
    """Images per second behind the warm-up."""
    task = clock.task
    seconds = clock.stamps[task.steps - 1] - clock.stamps[task.warmup - 1]
    return task.batch * (task.steps - task.warmup) / seconds


def main() -> None:
    """One task; on a GPU, twice."""
    task = read_task()
    device = pick_device(task)
    settings = json.loads(task.variant or "{}")
    config = TrainConfig.model_validate(make_config(task, Path.cwd(), settings))
    ceiling = make_ceiling(config, device)
    clock = run_steps(ceiling, task, device)
    if device.type == "cpu":
        clock.write()
        return
    eager = measure_rate(clock)
    began = time.time()
    ceiling.model.compile()
    compiled = measure_rate(run_steps(ceiling, task, device))
    figures = {"eager_images_per_s": eager, "compiled_images_per_s": compiled}
    seconds = time.time() - began
    clock.write(**figures, images_per_s=max(eager, compiled), compiled_run_s=seconds)


if __name__ == "__main__":
    main()

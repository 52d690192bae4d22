"""A training loop without any framework: fp32, cross-entropy, the notebook's data."""

import contextlib
import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.bench.peers.camvid import CLASSES, MEAN, STD
from tests.bench.peers.notebook import make_loaders
from tests.bench.peers.program import StepClock, pick_device
from tests.bench.peers.task import Task, read_task
from train.data.masks import VOID

# By name: it has no types.
smp: Any = importlib.import_module("segmentation_models_pytorch")

LR = 2e-4


@dataclass
class Loop:
    """Model and optimiser, and how they are used: `amp` computes in bf16 where it may."""

    task: Task
    model: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    amp: bool = False

    def run(self, train: Any, val: Any) -> None:
        """Train, validate where the task says so, and write what was measured."""
        device = pick_device(self.task)
        clock = StepClock(self.task, device)
        self.model.to(device).train()
        for images_NCHW, ids_NHW in _repeat(train, self.task.steps):
            with self._autocast(device):
                logits_NCHW = self.model(images_NCHW.to(device))
                truth_NHW = ids_NHW.to(device).long()
                loss = functional.cross_entropy(logits_NCHW, truth_NHW, ignore_index=VOID)
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch's own stubs lack it
            self.optimizer.step()
            self.schedule.step()
            loss.item()  # every such loop shows it
            clock.tick()
        if self.task.validate:
            self._validate(val, device)
        clock.write()

    def _validate(self, val: Any, device: torch.device) -> None:
        counts = torch.zeros(CLASSES**2, dtype=torch.int64, device=device)
        self.model.eval()
        with torch.inference_mode(), self._autocast(device):
            for images_NCHW, ids_NHW in val:
                found_NHW = self.model(images_NCHW.to(device)).argmax(1)
                truth_NHW = ids_NHW.to(device)
                known = truth_NHW != VOID
                pairs = truth_NHW[known].long() * CLASSES + found_NHW[known]
                counts += torch.bincount(pairs, minlength=CLASSES**2)
        print(counts.view(CLASSES, CLASSES).diagonal().sum() / counts.sum())

    def _autocast(self, device: torch.device) -> contextlib.AbstractContextManager[Any]:
        return torch.autocast(device.type, torch.bfloat16, enabled=self.amp)


class Normalized(nn.Module):
    """A model that takes uint8 images."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.mean, self.std = (
            nn.Buffer(torch.tensor(values).view(1, 3, 1, 1) * 255) for values in (MEAN, STD)
        )

    def forward(self, images_NCHW: Tensor) -> Any:
        return self.model((images_NCHW - self.mean) / self.std)


def make_unet() -> nn.Module:
    """The model of all contestants."""
    model: nn.Module = smp.create_model("unet", "resnet34", None, in_channels=3, classes=CLASSES)
    return model


def main() -> None:
    """One task with the plain loop."""
    task = read_task()
    model = Normalized(make_unet())
    optimizer = torch.optim.Adam(model.parameters(), lr=LR)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, task.steps)
    Loop(task, model, optimizer, schedule).run(*make_loaders(task, VOID))


def _repeat(loader: Any, steps: int) -> Iterator[tuple[Tensor, Tensor]]:
    """As many batches as are wanted, pass after pass."""
    done = 0
    while True:
        for batch in loader:
            yield batch
            done += 1
            if done == steps:
                return


if __name__ == "__main__":
    main()

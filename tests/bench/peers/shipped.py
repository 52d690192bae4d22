"""segmentation_models_pytorch with Lightning, as its CamVid notebook has it: fp32, Dice, get_stats.

Reference: examples/camvid_segmentation_multiclass.ipynb of segmentation_models.pytorch, of which
this keeps the settings, with the batch, the crop and the data of the other contestants.
"""

import importlib
from typing import Any

import torch
from torch import Tensor

from tests.bench.peers.camvid import CLASSES, MEAN, STD
from tests.bench.peers.notebook import make_loaders
from tests.bench.peers.program import StepClock, pick_device
from tests.bench.peers.task import Task, read_task

# By name, and as Any: they are not installed where this is type-checked.
smp: Any = importlib.import_module("segmentation_models_pytorch")
pl: Any = importlib.import_module("lightning.pytorch")
Module: Any = pl.LightningModule
Callback: Any = pl.Callback

VOID_CLASS = CLASSES
ENCODER = "resnet34"
LR, LR_END = 2e-4, 1e-5
STATS = ("tp", "fp", "fn", "tn")


class CamVidModel(Module):  # type: ignore[misc]  # Lightning's class is Any here, see above
    """The notebook's module: normalisation, Dice loss, and IoU from the counts of every step."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        classes = CLASSES + 1
        self.model = smp.create_model("unet", ENCODER, None, in_channels=3, classes=classes)
        # The numbers of smp's get_preprocessing_params, which asks the network for them.
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1))
        self.loss = smp.losses.DiceLoss(smp.losses.MULTICLASS_MODE, from_logits=True)
        self.classes, self.steps = classes, steps
        self.counts: dict[str, list[dict[str, Tensor]]] = {"train": [], "valid": []}

    def forward(self, images_NCHW: Tensor) -> Any:
        return self.model((images_NCHW - self.mean) / self.std)

    def training_step(self, batch: tuple[Tensor, Tensor], _index: int) -> Tensor:
        return self._step(batch, "train")

    def validation_step(self, batch: tuple[Tensor, Tensor], _index: int) -> Tensor:
        return self._step(batch, "valid")

    def on_train_epoch_end(self) -> None:
        self._log_iou("train")

    def on_validation_epoch_end(self) -> None:
        self._log_iou("valid")

    def configure_optimizers(self) -> dict[str, Any]:
        optimizer = torch.optim.Adam(self.parameters(), lr=LR)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.steps, LR_END)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step", "frequency": 1},
        }

    def _step(self, batch: tuple[Tensor, Tensor], stage: str) -> Tensor:
        images_NCHW, ids_NHW = batch
        logits_NCHW = self(images_NCHW)
        truth_NHW = ids_NHW.long()
        loss: Tensor = self.loss(logits_NCHW, truth_NHW)
        found_NHW = logits_NCHW.softmax(dim=1).argmax(dim=1)
        counts = smp.metrics.get_stats(
            found_NHW, truth_NHW, mode="multiclass", num_classes=self.classes
        )
        self.counts[stage].append(dict(zip(STATS, counts, strict=True)))
        return loss

    def _log_iou(self, stage: str) -> None:
        rows = self.counts[stage]
        counts = [torch.cat([row[name] for row in rows]) for name in STATS]
        for reduction in ("micro-imagewise", "micro"):
            iou = smp.metrics.iou_score(*counts, reduction=reduction)
            self.log(f"{stage}_{reduction}_iou", iou, prog_bar=True)
        rows.clear()


class Ticker(Callback):  # type: ignore[misc]  # as above
    """Tells the clock of each training step."""

    def __init__(self, clock: StepClock) -> None:
        self.clock = clock

    def on_train_batch_end(self, *_arguments: Any) -> None:
        self.clock.tick()


def fit(task: Task, model: Any, loaders: tuple[Any, Any], **options: Any) -> None:
    """Train and validate as the task says, and write what was measured."""
    device = pick_device(task)
    clock = StepClock(task, device)
    epochs = -(-task.steps // len(loaders[0]))
    trainer = pl.Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=1,
        max_epochs=epochs,
        max_steps=task.steps,
        # The task ends in the middle of a pass, and its validation comes at its end.
        limit_train_batches=task.steps if epochs == 1 else None,
        check_val_every_n_epoch=epochs,
        callbacks=[Ticker(clock)],
        **({} if task.validate else {"limit_val_batches": 0}),
        **options,
    )
    trainer.fit(model, *loaders)
    clock.write()


def main() -> None:
    """One task, as shipped."""
    task = read_task()
    loaders = make_loaders(task, VOID_CLASS)
    fit(task, CamVidModel(task.steps), loaders, log_every_n_steps=1)


if __name__ == "__main__":
    main()

"""segmentation_models_pytorch with Lightning, tuned by hand.

bf16-mixed, channels_last, cross-entropy, workers that persist, one bincount a validation step and
no metrics in a training step, no rehearsal of the validation, no progress bar. The augmentation is
the notebook's still.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from tests.bench.peers.camvid import CLASSES, MEAN, STD
from tests.bench.peers.notebook import make_loaders
from tests.bench.peers.program import pick_device
from tests.bench.peers.shipped import ENCODER, LR, LR_END, Module, fit, smp
from tests.bench.peers.task import read_task
from train.data.masks import VOID


class TunedModel(Module):  # type: ignore[misc]  # Lightning's class is Any here, see shipped.py
    """The same model with a cheaper loss and cheaper metrics."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        model = smp.create_model("unet", ENCODER, None, in_channels=3, classes=CLASSES)
        self.model = model.to(memory_format=torch.channels_last)
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1) * 255)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1) * 255)
        self.register_buffer("counts", torch.zeros(CLASSES, CLASSES, dtype=torch.int64))
        self.steps = steps

    def forward(self, images_NCHW: Tensor) -> Any:
        inputs = (images_NCHW - self.mean) / self.std
        return self.model(inputs.contiguous(memory_format=torch.channels_last))

    def training_step(self, batch: tuple[Tensor, Tensor], _index: int) -> Tensor:
        images_NCHW, ids_NHW = batch
        return functional.cross_entropy(self(images_NCHW), ids_NHW.long(), ignore_index=VOID)

    def validation_step(self, batch: tuple[Tensor, Tensor], _index: int) -> None:
        images_NCHW, ids_NHW = batch
        found_NHW = self(images_NCHW).max(dim=1).indices
        known = ids_NHW != VOID
        pairs = ids_NHW[known].long() * CLASSES + found_NHW[known]
        self.counts += torch.bincount(pairs, minlength=CLASSES**2).view(CLASSES, CLASSES)

    def on_validation_epoch_end(self) -> None:
        hits = self.counts.diagonal()
        union = self.counts.sum(0) + self.counts.sum(1) - hits
        self.log("val_miou", (hits / union.clamp(min=1))[union > 0].mean())
        self.counts.zero_()

    def configure_optimizers(self) -> dict[str, Any]:
        optimizer = torch.optim.Adam(self.parameters(), lr=LR)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.steps, LR_END)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def main() -> None:
    """One task, tuned."""
    task = read_task()
    on_gpu = pick_device(task).type == "cuda"
    if on_gpu:
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.benchmark = True
    loaders = make_loaders(task, VOID, persistent_workers=True, pin_memory=on_gpu)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    fit(
        task,
        TunedModel(task.steps),
        loaders,
        precision="bf16-mixed",
        num_sanity_val_steps=0,
        **quiet,
    )


if __name__ == "__main__":
    main()

"""A loop in the manner of torchvision's reference scripts; variant `amp` computes in bf16.

Reference: references/segmentation of torchvision: random resize, mirror, crop and normalisation of
Pillow images in worker processes, SGD with a polynomial schedule, validation image by image.
"""

import importlib
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from tests.bench.peers.camvid import MEAN, STD, list_files
from tests.bench.peers.notebook import VAL_SIZE
from tests.bench.peers.plain import Loop, make_unet
from tests.bench.peers.program import count_workers
from tests.bench.peers.task import Task, read_task
from train.data.dataset import ListName, load_dataset
from train.data.masks import VOID

# By name: it has no types.
F: Any = importlib.import_module("torchvision.transforms.functional")
T: Any = importlib.import_module("torchvision.transforms")

BASE = 360
LR, MOMENTUM, WEIGHT_DECAY, POWER = 0.01, 0.9, 1e-4, 0.9


class ReferenceSet(Dataset[tuple[Tensor, Tensor]]):
    """Normalised images (C x H x W) and ids (H x W); `crop` 0: whole images, padded."""

    def __init__(self, task: Task, name: ListName, crop: int) -> None:
        self.files = list_files(task.dataset, load_dataset(task.dataset), name)
        self.crop = crop

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image_path, mask_path = self.files[index]
        image, mask = Image.open(image_path).convert("RGB"), Image.open(mask_path)
        image, mask = self._vary(image, mask) if self.crop else _pad(image, mask, *VAL_SIZE)
        pixels = F.convert_image_dtype(F.pil_to_tensor(image), torch.float)
        ids = torch.as_tensor(np.array(mask), dtype=torch.int64)
        return F.normalize(pixels, mean=MEAN, std=STD), ids

    def _vary(self, image: Any, mask: Any) -> tuple[Any, Any]:
        size = int(torch.randint(BASE // 2, BASE * 2 + 1, ()))
        image = F.resize(image, size, antialias=True)
        mask = F.resize(mask, size, interpolation=T.InterpolationMode.NEAREST)
        if torch.rand(()) < 0.5:
            image, mask = F.hflip(image), F.hflip(mask)
        image, mask = _pad(image, mask, self.crop, self.crop)
        place = T.RandomCrop.get_params(image, (self.crop, self.crop))
        return F.crop(image, *place), F.crop(mask, *place)


def _pad(image: Any, mask: Any, height: int, width: int) -> tuple[Any, Any]:
    right, below = max(0, width - image.width), max(0, height - image.height)
    box = [0, 0, right, below]
    return F.pad(image, box), F.pad(mask, box, fill=VOID)


def main() -> None:
    """One task with the reference loop."""
    task = read_task()
    model = make_unet()
    optimizer = torch.optim.SGD(
        model.parameters(), lr=LR, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY
    )
    schedule = torch.optim.lr_scheduler.PolynomialLR(optimizer, task.steps, POWER)
    workers = count_workers()
    train = DataLoader(
        ReferenceSet(task, "train", task.crop),
        batch_size=task.batch,
        shuffle=True,
        num_workers=workers,
        drop_last=True,
    )
    val = DataLoader(ReferenceSet(task, "val", 0), batch_size=1, num_workers=workers)
    Loop(task, model, optimizer, schedule, amp=task.variant == "amp").run(train, val)


if __name__ == "__main__":
    main()

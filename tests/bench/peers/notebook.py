"""The data of smp's CamVid notebook: its files read by OpenCV, varied by albumentations."""

import importlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from tests.bench.peers.camvid import CLASSES, list_files
from tests.bench.peers.program import count_workers
from tests.bench.peers.task import Task
from train.data.dataset import ListName, load_dataset
from train.data.masks import VOID

# By name: they are not installed where this is type-checked.
A: Any = importlib.import_module("albumentations")
cv2: Any = importlib.import_module("cv2")
# A UNet halves five times: 360 rows become 384.
VAL_SIZE = (384, 480)

Arrays = tuple[NDArray[np.uint8], NDArray[np.uint8]]


class NotebookSet(Dataset[Arrays]):
    """Images C x H x W and masks H x W, uint8. Void is a class of its own, as in the notebook."""

    def __init__(self, task: Task, name: ListName, augmentation: Any, void: int) -> None:
        self.files = list_files(task.dataset, load_dataset(task.dataset), name)
        self.augmentation, self.void = augmentation, void

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Arrays:
        image_path, mask_path = self.files[index]
        image = cv2.cvtColor(cv2.imread(str(image_path)), cv2.COLOR_BGR2RGB)
        ids = self._read_mask(mask_path)
        varied = self.augmentation(image=image, mask=ids)
        return varied["image"].transpose(2, 0, 1), varied["mask"]

    def _read_mask(self, path: Path) -> NDArray[np.uint8]:
        # OpenCV would give the palette's colours instead of the ids.
        with Image.open(path) as file:
            raw = np.asarray(file)
        ids = np.zeros_like(raw)
        for value in range(CLASSES):  # a pass over the mask for each class: the notebook's way
            ids[raw == value] = value
        ids[raw == VOID] = self.void
        return ids


def make_train_augmentation(crop: int) -> Any:
    """Mirror, shift and zoom, pad, crop, noise, perspective, contrast, sharpness, colour."""
    contrast = [A.CLAHE(p=1), A.RandomBrightnessContrast(p=1), A.RandomGamma(p=1)]
    sharpness = [A.Sharpen(p=1), A.Blur(blur_limit=3, p=1), A.MotionBlur(blur_limit=3, p=1)]
    colour = [A.RandomBrightnessContrast(p=1), A.HueSaturationValue(p=1)]
    return A.Compose(
        [
            A.HorizontalFlip(p=0.5),
            A.ShiftScaleRotate(shift_limit=0.1, scale_limit=0.5, rotate_limit=0, p=1),
            A.PadIfNeeded(min_height=crop, min_width=crop),
            A.RandomCrop(height=crop, width=crop),
            A.GaussNoise(p=0.2),
            A.Perspective(p=0.5),
            *(A.OneOf(choice, p=0.9) for choice in (contrast, sharpness, colour)),
        ]
    )


def make_val_augmentation() -> Any:
    """Only what the network's strides ask for."""
    return A.Compose([A.PadIfNeeded(*VAL_SIZE)])


def make_loaders(task: Task, void: int, **options: Any) -> tuple[Any, Any]:
    """The loaders of train and val, a worker a core each."""
    train = NotebookSet(task, "train", make_train_augmentation(task.crop), void)
    val = NotebookSet(task, "val", make_val_augmentation(), void)
    options = {"batch_size": task.batch, "num_workers": count_workers(), **options}
    return DataLoader(train, shuffle=True, **options), DataLoader(val, shuffle=False, **options)

"""Small separated datasets, made of noise."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from train.data.dataset import ClassInfo, Dataset, ListName, Sample, save_dataset
from train.data.masks import VOID

COLORS = [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128)]


def make_set(
    folder: Path,
    sizes: Sequence[tuple[int, int]],
    val: int = 0,
    classes: int = 3,
    multilabel: bool = False,
    seed: int = 0,
) -> Path:
    """A dataset of images of noise with those sizes (width, height); the last `val` validate.

    The brighter a pixel, the higher its class: there is something to learn.
    """
    rng = np.random.default_rng(seed)
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    samples, pixels = [], np.zeros(classes, np.int64)
    for number, (width, height) in enumerate(sizes):
        coarse = rng.integers(0, 256, (height // 4 + 1, width // 4 + 1), dtype=np.uint8)
        level = np.kron(coarse, np.ones((4, 4), np.uint8))[:height, :width]
        image = np.clip(level[..., None] + rng.normal(0, 8, (height, width, 3)), 0, 255)
        truth = (level.astype(int) * classes // 256).astype(np.uint8)
        if multilabel:
            truth = (truth + 1).astype(np.uint8)
            pixels += [int((truth >> k & 1).sum()) for k in range(classes)]
        else:
            pixels += np.bincount(truth.ravel(), minlength=classes)
        truth[:2, :2] = VOID
        Image.fromarray(image.astype(np.uint8)).save(folder / "images" / f"{number}.png")
        Image.fromarray(truth).save(folder / "masks" / f"{number}.png")
        samples.append(
            Sample(
                id=str(number),
                image=f"images/{number}.png",
                mask=f"masks/{number}.png",
                width=width,
                height=height,
            )
        )
    names = [f"class{k}" for k in range(classes)]
    lists: dict[ListName, list[Sample]] = {
        "train": samples[: len(samples) - val],
        "val": samples[len(samples) - val :],
        "test": [],
        "unlabelled": [],
    }
    dataset = Dataset(
        name="noise",
        layout="voc",
        task="multilabel" if multilabel else "multiclass",
        classes=[ClassInfo(name=n, color=COLORS[k]) for k, n in enumerate(names)],
        ignore_index=VOID,
        fingerprint=f"noise-{seed}-{len(sizes)}",
        pixels=dict(zip(names, pixels.tolist(), strict=True)),
        lists=lists,
        files={},
    )
    save_dataset(dataset, folder)
    return folder


def read_rows(path: Path) -> list[list[str]]:
    """The rows of a CSV file."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))

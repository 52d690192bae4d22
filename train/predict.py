"""Images -> masks, and what they are worth: on a dataset's lists; as a command, of any files.

Every file is written beside its place and then renamed: one that is there is whole.
"""

import csv
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from train.data.dataset import ClassInfo, Color, Dataset, ListName, Sample
from train.data.masks import Mask, read_mask, write_mask
from train.data.runlength import encode_classes
from train.data.samples import prefetch, read_image, read_truth
from train.tiles import ImageArray, Predictor, label_images, label_stream

PREDICTIONS = "predictions"
SAMPLES = "samples"
SAMPLE_COUNT = 4
CSV_HEADER = ("Image_Label", "EncodedPixels")
# Of decoded images, what may wait for the model.
AHEAD_PIXELS = 2**24

_Item = tuple[ListName, Sample]


class Board(Protocol):
    """What adds up predictions and truth (N x H x W, uint8), image by image."""

    def update(self, predicted: Tensor, truth: Tensor, first_index: int = 0, /) -> None: ...


def evaluate(
    predictor: Predictor,
    read: Callable[[int], tuple[ImageArray, Mask]],
    count: int,
    board: Board,
    shard: tuple[int, int] = (0, 1),
    check: Callable[[], None] = lambda: None,
) -> None:
    """Add whole labelled images to `board`: each of `count` exactly once over all ranks.

    `read` gives image (H x W x 3) and truth (H x W) of an index, and is called by threads. `shard`
    is (rank, size): the images rank, rank + size, ... are this process's. `check` is called
    between batches, and may raise to stop.
    """
    rank, size = shard
    indices = range(rank, count, size)

    def images() -> Iterator[tuple[tuple[int, Mask], ImageArray]]:
        for index, (image, truth) in zip(indices, prefetch(read, indices), strict=True):
            yield (index, truth), image

    for (index, truth), predicted_HW in label_stream(predictor, images(), check):
        truth_HW = torch.from_numpy(truth.copy()).to(predictor.device)
        board.update(predicted_HW[None], truth_HW[None], index)


def predict_masks(
    predictor: Predictor,
    dataset: Dataset,
    folder: Path,
    output: Path,
    lists: Sequence[ListName],
    shard: tuple[int, int] = (0, 1),
) -> Iterator[int]:
    """Write `predictions/LIST/ID.png` for every image of `lists`; yields the number done.

    As large as their images: palette PNGs in the dataset's colours; where classes overlap, grey
    PNGs of bits (bit k: class k is there). `shard` is (rank, size): of all lists' images in a row,
    rank, rank + size, ... are this process's, and only they are counted.

    Raises:
        DataError: an image cannot be decoded.
    """
    rank, size = shard
    items = [(name, sample) for name in lists for sample in dataset.lists[name]][rank::size]
    largest = max((sample.width * sample.height for _, sample in items), default=1)
    ahead = min(8, max(1, AHEAD_PIXELS // largest))
    colors = [] if predictor.multilabel else [info.color for info in dataset.classes]

    def read(item: _Item) -> tuple[_Item, ImageArray]:
        return item, read_image(folder / item[1].image)

    def write(labelled: tuple[_Item, Tensor]) -> None:
        item, mask_HW = labelled
        replace_mask(place_mask(output, *item), mask_HW.cpu().numpy(), colors)

    # The model computes in this thread; others decode the next images and write the last masks.
    written = prefetch(write, label_stream(predictor, prefetch(read, items, ahead)), 2)
    for done, _ in enumerate(written, start=1):
        yield done


def place_mask(output: Path, name: ListName, sample: Sample) -> Path:
    """Where the predicted mask of a sample of the list `name` is."""
    return output / PREDICTIONS / name / f"{sample.id}.png"


def score_masks(dataset: Dataset, folder: Path, output: Path, name: ListName, board: Board) -> None:
    """Add the masks that `predict_masks` has written for the labelled list `name` to `board`."""

    def read(sample: Sample) -> tuple[Mask, Mask]:
        predicted = read_mask(place_mask(output, name, sample))
        return predicted, read_truth(folder, sample, dataset.ignore_index)

    for index, (predicted, truth) in enumerate(prefetch(read, dataset.lists[name])):
        masks = torch.from_numpy(predicted.copy()), torch.from_numpy(truth.copy())
        board.update(masks[0][None], masks[1][None], index)


def write_runlengths(dataset: Dataset, output: Path, lists: Sequence[ListName]) -> None:
    """Write `predictions/LIST.csv` for `lists`: what `predict_masks` has left, as runs of pixels.

    Raises:
        DataError: a mask is missing or damaged.
    """
    for name in lists:
        files = [
            (Path(sample.image).name, place_mask(output, name, sample))
            for sample in dataset.lists[name]
        ]
        path = output / PREDICTIONS / f"{name}.csv"
        multilabel, size = dataset.task == "multilabel", dataset.runlength_size
        write_csv(path, files, dataset.classes, multilabel, size)


def write_csv(
    path: Path,
    files: Sequence[tuple[str, Path]],
    classes: Sequence[ClassInfo],
    multilabel: bool,
    size: tuple[int, int] | None = None,
) -> None:
    """Write the masks of named images as `train.data.runlength` has them: `IMAGE_CLASS,RUNS`.

    With `size` (height, width), each is scaled to it first.
    """

    def encode(file: tuple[str, Path]) -> list[tuple[str, str]]:
        image, mask = file
        ids = read_mask(mask)
        if size:
            scaled = Image.fromarray(ids).resize(size[::-1], Image.Resampling.NEAREST)
            ids = np.asarray(scaled)
        runs = encode_classes(ids, len(classes), multilabel)
        return [(f"{image}_{info.name}", text) for info, text in zip(classes, runs, strict=True)]

    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(CSV_HEADER)
        for rows in prefetch(encode, files):
            writer.writerows(rows)
    os.replace(partial, path)


def write_samples(predictor: Predictor, dataset: Dataset, folder: Path, output: Path) -> None:
    """Write `samples/ID.png`, the masks of the first few validation images as the model sees them.

    They are looked at, and sent home, while training goes on. Where classes overlap, a set of
    classes has the mean of their colours.
    """
    colors = [info.color for info in dataset.classes]
    if predictor.multilabel:
        colors = mix_colors(colors)
    for sample in dataset.lists["val"][:SAMPLE_COUNT]:
        image = read_image(folder / sample.image)
        mask = label_images(predictor, image[None])[0].cpu().numpy()
        replace_mask(output / SAMPLES / f"{sample.id}.png", mask, colors)


def replace_mask(path: Path, mask: Mask, colors: Sequence[Color]) -> None:
    """Write one mask: a palette PNG or, without colours, a grey one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    if colors:
        write_mask(partial, mask, colors)
    else:
        Image.fromarray(mask).save(partial, format="PNG")
    os.replace(partial, path)


def mix_colors(colors: Sequence[Color]) -> list[Color]:
    """The colour of each set of classes, by its bits: black for none, else the mean of theirs."""
    mixed: list[Color] = [(0, 0, 0)]
    for bits in range(1, 2 ** len(colors)):
        chosen = [color for k, color in enumerate(colors) if bits >> k & 1]
        red, green, blue = (sum(parts) // len(chosen) for parts in zip(*chosen, strict=True))
        mixed.append((red, green, blue))
    return mixed


if __name__ == "__main__":
    from train.files import main

    sys.exit(main(sys.argv[1:]))

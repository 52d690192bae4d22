"""Samples as arrays. What a sample looks like is a pure function of (seed, epoch, index)."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from train.data.dataset import Sample
from train.data.masks import VOID, Mask, read_mask
from train.errors import DataError

_In = TypeVar("_In")
_Out = TypeVar("_Out")


def make_rng(seed: int, epoch: int, index: int) -> np.random.Generator:
    """The random numbers of one sample in one epoch. `index` -1 is the epoch's own."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, epoch, index + 1])))


def order_epoch(count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The order in which an epoch visits its `count` samples."""
    return make_rng(seed, epoch, -1).permutation(count)


def read_image(path: Path) -> NDArray[np.uint8]:
    """The pixels of `path`, H x W x 3, uint8.

    Raises:
        DataError: the file is missing, truncated or no image.
    """
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"), dtype=np.uint8)
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
        raise DataError(
            f"{path}: the image cannot be decoded ({error}).",
            fix="Restore that file in the dataset, separate again and start a new run.",
        ) from error


def read_truth(folder: Path, sample: Sample, ignore_index: int | None) -> Mask:
    """The ids (H x W, void as 255) of a labelled sample."""
    assert sample.mask is not None
    ids = read_mask(folder / sample.mask)
    if ignore_index is not None and ignore_index != VOID:
        ids = np.where(ids == ignore_index, np.uint8(VOID), ids)
    return ids


def read_pair(
    folder: Path, sample: Sample, ignore_index: int | None
) -> tuple[NDArray[np.uint8], Mask]:
    """Image (H x W x 3) and ids of a labelled sample."""
    ids = read_truth(folder, sample, ignore_index)
    return read_image(folder / sample.image), ids


def crop_pair(
    image: NDArray[np.uint8], ids: Mask, side: int, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], Mask]:
    """A random square of `side` pixels, mirrored half of the time.

    Where the image is smaller than the square, the rest is black and void.
    """
    height, width = ids.shape
    top = int(rng.integers(0, max(1, height - side + 1)))
    left = int(rng.integers(0, max(1, width - side + 1)))
    mirrored = bool(rng.integers(0, 2))
    image = image[top : top + side, left : left + side]
    ids = ids[top : top + side, left : left + side]
    if mirrored:
        image, ids = image[:, ::-1], ids[:, ::-1]
    below, right = side - ids.shape[0], side - ids.shape[1]
    if below or right:
        image = np.pad(image, ((0, below), (0, right), (0, 0)))
        ids = np.pad(ids, ((0, below), (0, right)), constant_values=VOID)
    return image, ids


def prefetch(work: Callable[[_In], _Out], items: Iterable[_In], ahead: int = 8) -> Generator[_Out]:
    """`work` of each item, in order, computed by threads up to `ahead` items early."""
    with ThreadPoolExecutor(2) as pool:
        waiting: deque[Future[_Out]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()

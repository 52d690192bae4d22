"""Which samples a step takes and how each is varied: pure functions of (seed, pass, index).

Nothing here needs state that would have to be saved, and nothing depends on who computes it: a
resumed training, another number of ranks or of threads see the same crops in the same order.
"""

import math
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from train.data.dataset import Sample
from train.data.masks import VOID, Mask, read_mask
from train.errors import DataError

_In = TypeVar("_In")
_Out = TypeVar("_Out")

# What Pillow raises for a file that is damaged, no image, or of more pixels than it trusts.
UNDECODABLE = (
    *(OSError, UnidentifiedImageError, SyntaxError, ValueError),
    Image.DecompressionBombError,
)
DRAWS = ("top", "left", "zoom", "flip", "brightness", "contrast", "saturation")
"""What is drawn for a sample in a pass: a number from 0 to 1 (exclusive) each."""


class Batch(NamedTuple):
    """The samples of one optimiser step, in order, and their draws (N x len(DRAWS))."""

    indices: NDArray[np.int64]
    draws: NDArray[np.float64]


@dataclass(frozen=True)
class SampleStream:
    """The endless sequence of samples: pass after pass over `count` of them, each reshuffled.

    A batch may hold the end of one pass and the beginning of the next: all batches are full, and
    no sample is seen twice before every other was seen once.
    """

    count: int
    seed: int

    def batch(self, step: int, size: int) -> Batch:
        """The batch of optimiser step `step` (0-based)."""
        positions = range(step * size, (step + 1) * size)
        rows = [(_shuffle(self, p // self.count), p % self.count) for p in positions]
        indices = np.array([pass_.order[place] for pass_, place in rows], np.int64)
        draws = np.stack([pass_.draws[pass_.order[place]] for pass_, place in rows])
        return Batch(indices, draws)

    def count_steps(self, passes: int, size: int) -> int:
        """The steps after which every sample was seen `passes` times."""
        return math.ceil(passes * self.count / size)


class _Pass(NamedTuple):
    order: NDArray[np.int64]
    draws: NDArray[np.float64]


@lru_cache(maxsize=4)
def _shuffle(stream: SampleStream, number: int) -> _Pass:
    seeds = np.random.SeedSequence([stream.seed, number])
    rng = np.random.Generator(np.random.Philox(seeds))
    return _Pass(rng.permutation(stream.count), rng.random((stream.count, len(DRAWS))))


def draw_seed(seed: int, step: int, rank: int = 0) -> int:
    """The seed of what is drawn while step `step` is computed: dropout."""
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0])


@dataclass(frozen=True)
class Zoom:
    """How large the squares are that are cut out, for crops of `side` pixels.

    What is cut out is scaled to `side`: a zoom of 2 cuts out half of it, one of 0.5 twice as much.
    """

    side: int
    smallest: float = 1.0
    largest: float = 1.0

    @property
    def window(self) -> int:
        """Side of the largest square."""
        return math.ceil(self.side / self.smallest)

    def place(
        self, draws_NK: NDArray[np.float64], sizes_N2: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Top, left and side (N x 3) of the squares in images of those sizes (height, width).

        A square that is larger than its image begins at the image's corner.
        """
        zooms = self.smallest + draws_NK[:, DRAWS.index("zoom")] * (self.largest - self.smallest)
        sides = np.minimum(np.ceil(self.side / zooms), self.window).astype(np.int64)
        room = np.maximum(sizes_N2 - sides[:, None], 0) + 1
        corners = np.floor(draws_NK[:, :2] * room).astype(np.int64)
        return np.concatenate([corners, sides[:, None]], axis=1)


def read_image(path: Path) -> NDArray[np.uint8]:
    """The pixels of `path`, H x W x 3, uint8.

    Raises:
        DataError: the file is missing, truncated or no image.
    """
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"), dtype=np.uint8)
    except UNDECODABLE as error:
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


def prefetch(
    work: Callable[[_In], _Out], items: Iterable[_In], ahead: int = 8, threads: int = 2
) -> Generator[_Out]:
    """`work` of each item, in order, computed by threads up to `ahead` items early."""
    with ThreadPoolExecutor(threads) as pool:
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

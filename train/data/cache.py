"""Decoded images and masks: four bytes a pixel (red, green, blue, truth), mapped into memory.

Each sample is decoded when it is first asked for, and never again: the first step waits for one
batch, not for the whole set. The file has no name in any folder once it is open, so that a killed
training leaves nothing behind; what does not fit on the disk is decoded whenever it is asked for.
"""

import mmap
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from train.data.dataset import Dataset, Sample
from train.data.masks import VOID, Mask
from train.data.samples import read_image, read_truth
from train.errors import DataError

CHANNELS = 4
PADDING = np.array([0, 0, 0, VOID], np.uint8)
"""What lies outside of an image: black, and void."""
# Room that is left to others on the disk, or in the memory.
SPARE_SHARE = 0.5
TMPFS = "tmpfs"
MULTILABEL_CLASSES = 7
"""A bit each; all eight would be void."""


@dataclass(frozen=True)
class Store:
    """Where the pixels lie: memory that may be a file's; `known` of the samples have a place."""

    content: NDArray[np.uint8]
    known: int


class PackedSet:
    """The samples of one list as H x W x 4 arrays. Threads and processes may share it."""

    def __init__(self, dataset: Dataset, folder: Path, samples: Sequence[Sample]) -> None:
        self.samples = samples
        self.sizes_N2 = np.array([(s.height, s.width) for s in samples], np.int64).reshape(-1, 2)
        self._dataset, self._folder = dataset, folder
        areas = self.sizes_N2.prod(axis=1) * CHANNELS
        # In front of the pixels: a byte a sample that says whether they are there.
        self._starts = np.concatenate([[0], np.cumsum(areas)]) + len(samples)
        self._store = Store(np.zeros(0, np.uint8), 0)

    @property
    def size_bytes(self) -> int:
        """What all of it takes."""
        return int(self._starts[-1])

    @property
    def pixels(self) -> int:
        return int(self.sizes_N2.prod(axis=1).sum())

    def keep_in(self, file: int, room_bytes: int) -> int:
        """Keep what is decoded in an open file of its own; how many samples have room in it.

        The file may be another process's PackedSet's of the same list: then they share it.

        Raises:
            OSError: the disk is full.
        """
        known = int(np.searchsorted(self._starts, room_bytes, side="right")) - 1
        if known < 1:
            return 0
        size = int(self._starts[known])
        # Allocated now: writing to a hole of a full disk would end the process.
        os.posix_fallocate(file, 0, size)
        content = np.frombuffer(mmap.mmap(file, size), np.uint8)
        self._store = Store(content, known)
        return known

    def read(self, index: int) -> NDArray[np.uint8]:
        """A sample, H x W x 4; not to be written to.

        Raises:
            DataError: its files cannot be decoded, or do not hold what dataset.json says.
        """
        if index >= self._store.known:
            return self._decode(index)
        content = self._store.content
        start, end = self._starts[index], self._starts[index + 1]
        place = content[start:end].reshape(*self.sizes_N2[index], CHANNELS)
        if not content[index]:
            place[:] = self._decode(index)
            # Behind the pixels: who sees it sees them.
            content[index] = 1
        return place

    def read_pair(self, index: int) -> tuple[NDArray[np.uint8], Mask]:
        """Image (H x W x 3) and truth (H x W) of a sample."""
        pixels = self.read(index)
        return pixels[..., :3], pixels[..., 3]

    def cut(
        self, index: int, top: int, left: int, side: int, window_HWC: NDArray[np.uint8]
    ) -> None:
        """Copy a square of a sample into the upper left of a window; padding where it has none."""
        pixels = self.read(index)[top : top + side, left : left + side]
        height, width = pixels.shape[:2]
        if height < side or width < side:
            window_HWC[:side, :side] = PADDING
        # As one number a pixel: four times as quick as byte by byte.
        window_HWC.view(np.uint32)[:height, :width, 0] = pixels.view(np.uint32)[..., 0]

    def _decode(self, index: int) -> NDArray[np.uint8]:
        sample, dataset = self.samples[index], self._dataset
        image = read_image(self._folder / sample.image)
        truth = read_truth(self._folder, sample, dataset.ignore_index)
        for name, array in ((sample.image, image), (sample.mask, truth)):
            if array.shape[:2] != (sample.height, sample.width):
                raise DataError(
                    f"{self._folder / str(name)} is {array.shape[1]} x {array.shape[0]} pixels; "
                    f"dataset.json says {sample.width} x {sample.height}.",
                    fix="Separate the dataset again, and start a new run.",
                )
        check_truth(truth, dataset, self._folder / str(sample.mask))
        return np.concatenate([image, truth[..., None]], axis=2)


def check_truth(truth: Mask, dataset: Dataset, path: Path) -> None:
    """Refuse ids, or sets of classes, that the dataset does not have.

    Raises:
        DataError: which value, and in which file.
    """
    classes = len(dataset.classes)
    limit = classes if dataset.task == "multiclass" else 2**classes
    found = np.flatnonzero(np.bincount(truth.ravel(), minlength=256)[limit:VOID])
    if len(found):
        raise DataError(
            f"{path}: the mask holds {limit + int(found[0])}; "
            f"{classes} classes end at {limit - 1}.",
            fix="Mend that mask or the list of classes, separate again and start a new run.",
        )


def open_store(wanted: Path | None, fallback: Path, size_bytes: int) -> tuple[int, int]:
    """An open file without a name, for `size_bytes`, and how many bytes it may have.

    In `wanted` where it is given; else in the temporary folder, which is a disk of the node's own
    or its memory, where all of it has room there; else beside the results.
    """
    folders = [wanted] if wanted else [Path(tempfile.gettempdir()), fallback]
    rooms = [(measure_room(folder), folder) for folder in folders]
    fitting = [found for found in rooms if found[0] >= size_bytes]
    room, folder = fitting[0] if fitting else max(rooms, key=lambda found: found[0])
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            return os.dup(file.fileno()), min(room, size_bytes)
    except OSError:
        return -1, 0


def measure_room(folder: Path) -> int:
    """Bytes that may be taken in a folder: half of what its disk, or the memory behind it, has."""
    try:
        info = os.statvfs(folder)
    except OSError:
        return 0
    free = info.f_bavail * info.f_frsize
    if _find_filesystem(folder) == TMPFS:
        free = min(free, measure_memory())
    return int(free * SPARE_SHARE)


def measure_memory() -> int:
    """Bytes of memory that are free to this process, its container's limit included."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    available = next(int(line.split()[1]) * 1024 for line in lines if "MemAvailable" in line)
    limit = _read_number(Path("/sys/fs/cgroup/memory.max"))
    used = _read_number(Path("/sys/fs/cgroup/memory.current"))
    return min(available, limit - used) if limit and used else available


def _read_number(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0


def _find_filesystem(folder: Path) -> str:
    """The kind of file system that a folder lies on."""
    wanted = os.stat(folder).st_dev
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        major, minor = fields[2].split(":")
        if os.makedev(int(major), int(minor)) == wanted:
            return fields[fields.index("-") + 1]
    return ""

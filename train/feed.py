"""Batches on the device: from the packed cache, or from the device's own memory."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from train.config import TrainConfig
from train.data.cache import CHANNELS, MULTILABEL_CLASSES, PADDING, PackedSet, open_store
from train.data.dataset import Dataset, ListName
from train.data.samples import Batch, SampleStream, Zoom, prefetch
from train.errors import DataError, TrainError
from train.ranks import Ranks

LEARNT_FROM: tuple[ListName, ...] = ("train", "val")
BATCHES_AHEAD = 2
MOST_THREADS = 16
# Of the device's free memory, once the model has trained on it: what may hold samples.
RESIDENT_SHARE = 0.6


class Fed(NamedTuple):
    """A batch as `train.augment.augment` takes it."""

    windows_NHWC: Tensor
    draws_NK: Tensor
    sides_N: Tensor


@dataclass
class Feed:
    """The rank's share of each step's batch. Where it comes from changes nothing of what it is."""

    samples: PackedSet
    stream: SampleStream
    config: TrainConfig
    batch: int
    device: torch.device
    rank: int = 0
    ranks: int = 1
    resident: "ResidentSet | None" = None

    def batches(self, first_step: int, end_step: int) -> Iterator[Fed]:
        """The batches of these steps, in order; some are made early, by threads."""
        steps = range(first_step, end_step)
        if self.resident:
            yield from map(self._gather, steps)
            return
        threads = min(MOST_THREADS, os.cpu_count() or 1)
        zoom = self._zoom

        def cut(item: tuple[NDArray[np.uint8], int, NDArray[np.int64]]) -> None:
            window, index, (top, left, side) = item
            self.samples.cut(index, int(top), int(left), int(side), window)

        made: list[tuple[Tensor, Batch, NDArray[np.int64]]] = []

        def plan() -> Iterator[tuple[NDArray[np.uint8], int, NDArray[np.int64]]]:
            for step in steps:
                batch, places = self._plan(step, zoom)
                windows = self._allocate(len(batch.indices), zoom.window)
                made.append((windows, batch, places))
                array = windows.numpy()
                for number, index in enumerate(batch.indices):
                    yield array[number], int(index), places[number]

        ahead = BATCHES_AHEAD * max(1, self.batch // self.ranks)
        cuts = prefetch(cut, plan(), ahead, threads)
        for _ in steps:
            next(cuts)
            windows, batch, places = made.pop(0)
            for _ in batch.indices[1:]:
                next(cuts)
            yield self._send(windows, batch, places)

    @property
    def _zoom(self) -> Zoom:
        return Zoom(self.config.crop, self.config.scale_min, self.config.scale_max)

    def _plan(self, step: int, zoom: Zoom) -> tuple[Batch, NDArray[np.int64]]:
        whole = self.stream.batch(step, self.batch)
        mine = slice(self.rank, None, self.ranks)
        batch = Batch(whole.indices[mine], whole.draws[mine])
        return batch, zoom.place(batch.draws, self.samples.sizes_N2[batch.indices])

    def _allocate(self, count: int, side: int) -> Tensor:
        pinned = self.device.type == "cuda"
        return torch.empty((count, side, side, CHANNELS), dtype=torch.uint8, pin_memory=pinned)

    def _send(self, windows: Tensor, batch: Batch, places: NDArray[np.int64]) -> Fed:
        return Fed(
            windows.to(self.device, non_blocking=True),
            torch.from_numpy(batch.draws.astype(np.float32)).to(self.device),
            torch.from_numpy(places[:, 2]).to(self.device),
        )

    def _gather(self, step: int) -> Fed:
        assert self.resident
        batch, places = self._plan(step, self._zoom)
        windows = self.resident.cut(batch.indices, places, self._zoom.window)
        return self._send(windows, batch, places)


class ResidentSet:
    """A whole list in the device's memory; a pixel is one number, a window one gather."""

    def __init__(self, samples: PackedSet, device: torch.device) -> None:
        arrays = [samples.read(i).reshape(-1).view(np.int32) for i in range(len(samples.samples))]
        areas = samples.sizes_N2.prod(axis=1)
        self._pixels = torch.empty(int(areas.sum()), dtype=torch.int32, device=device)
        starts = np.concatenate([[0], np.cumsum(areas)])
        for array, start in zip(arrays, starts[:-1], strict=True):
            self._pixels[start : start + len(array)] = torch.from_numpy(array.copy()).to(device)
        self._starts_N = torch.from_numpy(starts[:-1]).to(device)
        self._sizes_N2 = torch.from_numpy(samples.sizes_N2).to(device)
        self._padding = int(PADDING.view(np.int32)[0])

    def cut(self, indices: NDArray[np.int64], places_N3: NDArray[np.int64], side: int) -> Tensor:
        """The windows (N x side x side x 4) that `PackedSet.cut` makes of these places."""
        device = self._pixels.device
        chosen_N = torch.from_numpy(indices).to(device)
        top_N, left_N, _ = torch.from_numpy(places_N3).to(device).unbind(1)
        height_N, width_N = self._sizes_N2[chosen_N].unbind(1)
        along = torch.arange(side, device=device)
        rows_NS, columns_NS = top_N[:, None] + along, left_N[:, None] + along
        inside_NSS = (rows_NS < height_N[:, None])[:, :, None] & (columns_NS < width_N[:, None])[
            :, None, :
        ]
        rows_NS = torch.minimum(rows_NS, height_N[:, None] - 1)
        columns_NS = torch.minimum(columns_NS, width_N[:, None] - 1)
        places_NSS = rows_NS[:, :, None] * width_N[:, None, None] + columns_NS[:, None, :]
        places_NSS += self._starts_N[chosen_N][:, None, None]
        windows_NSS = self._pixels[places_NSS].masked_fill_(~inside_NSS, self._padding)
        return windows_NSS.unsqueeze(3).view(torch.uint8)


def find_resident(
    samples: PackedSet, config: TrainConfig, device: torch.device
) -> ResidentSet | None:
    """The list in the device's memory, where it is wanted and has room. Decodes all of it."""
    if config.resident == "off" or (config.resident == "auto" and device.type != "cuda"):
        return None
    if config.resident == "auto":
        free, _ = torch.cuda.mem_get_info(device)
        if samples.size_bytes > RESIDENT_SHARE * free:
            return None
    return ResidentSet(samples, device)


def open_list(dataset: Dataset, config: TrainConfig, name: ListName, ranks: Ranks) -> PackedSet:
    """A list of the dataset, packed; the ranks share what they decode."""
    samples = PackedSet(dataset, config.dataset, dataset.lists[name])
    place, room = -1, 0
    if ranks.is_first:
        place, room = open_store(config.cache, config.output, samples.size_bytes)
    path, room = ranks.share((f"/proc/{os.getpid()}/fd/{place}", room))
    if room <= 0:
        return samples
    file = place if ranks.is_first else os.open(path, os.O_RDWR)
    # Where somebody else has filled the disk, each sample is decoded when it is needed.
    with contextlib.suppress(OSError):
        samples.keep_in(file, room)
    ranks.wait()
    os.close(file)
    return samples


def check_lists(dataset: Dataset, config: TrainConfig) -> None:
    """Refuse a dataset that nothing can be learnt from, or that lacks what it says it has."""
    for name in LEARNT_FROM:
        if not dataset.lists[name]:
            raise DataError(
                f"{config.dataset} has no labelled image in its {name} list.",
                fix="Separate it with another share: segaway separate ... --val 0.2",
            )
    if config.monitor == "image_dice" and dataset.task != "multilabel":
        raise TrainError(
            f"image_dice is a metric of multilabel datasets; {dataset.name} is none.",
            fix="Monitor miou, or another one.",
        )
    if dataset.task == "multilabel" and len(dataset.classes) > MULTILABEL_CLASSES:
        raise DataError(
            f"{dataset.name} has {len(dataset.classes)} classes that overlap: a mask has room for "
            f"{MULTILABEL_CLASSES} of them, a bit each.",
            fix="Leave classes out, or separate it into datasets of fewer classes.",
        )
    absent = [name for name, pixels in dataset.pixels.items() if not pixels]
    if absent and not (config.allow_absent or dataset.fixed_classes):
        raise DataError(
            f"No mask has a pixel of {', '.join(absent)}: a class that never appears cannot be "
            "learnt.",
            fix="Take it out of the dataset's classes, or train all the same: allow_absent=true.",
        )

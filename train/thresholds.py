"""Thresholds and least sizes of classes that overlap, chosen on the validation list.

They are those with the best mean Dice over its images. Of an image, only integers are kept, a few
per class and threshold: neither memory nor the choice depends on sizes and on the images' order.
"""

import math
from collections.abc import Iterable
from itertools import product
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from train.data.dataset import Dataset
from train.data.masks import VOID
from train.data.samples import prefetch, read_pair
from train.postprocess import Postprocess, is_small
from train.tiles import Predictor, predict_bands

THRESHOLDS = tuple(step / 20 for step in range(1, 20))
MIN_AREAS = (0.0, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)
"""Shares of an image."""

Counts = NDArray[np.int64]
"""Images x classes x THRESHOLDS x (hits, false alarms, misses, area, pixels of the image).

Void counts in the last two only: where a mask is predicted, nobody knows what is void.
"""


def count_val(
    predictor: Predictor, dataset: Dataset, folder: Path, shard: tuple[int, int] = (0, 1)
) -> Counts:
    """What each threshold would make of the validation images, and of no others.

    `shard` is (rank, size): the images rank, rank + size, ... are counted. The ranks' counts,
    concatenated in any order, say what one process's do.
    """
    rank, size = shard
    samples = dataset.lists["val"][rank::size]
    pairs = prefetch(lambda sample: read_pair(folder, sample, dataset.ignore_index), samples)
    counted = [
        count_image(predict_bands(predictor, image), torch.from_numpy(truth.copy()))
        for image, truth in pairs
    ]
    shape = (len(counted), len(dataset.classes), len(THRESHOLDS), 5)
    return np.array(counted, np.int64).reshape(shape)


def count_image(bands_CRW: Iterable[Tensor], truth_HW: Tensor) -> Counts:
    """Classes x THRESHOLDS x 5 counts of an image, from the bands of its probabilities."""
    levels_C3L: Counts | int = 0
    top = 0
    for band_CRW in bands_CRW:
        rows_RW = truth_HW[top : top + band_CRW.shape[1]].to(band_CRW.device)
        levels_C3L = levels_C3L + _count_levels(band_CRW, rows_RW)
        top += len(rows_RW)
    # A threshold is reached by the pixels of its level and of all above.
    reached_C3L = np.cumsum(np.flip(levels_C3L, axis=2), axis=2)[..., ::-1]
    false, hits, _ = reached_C3L[..., 1:].transpose(1, 0, 2)
    misses, area = reached_C3L[:, 1, :1] - hits, reached_C3L[..., 1:].sum(axis=1)
    return np.stack([hits, false, misses, area, np.full_like(area, truth_HW.numel())], axis=-1)


def choose_postprocess(counts: Counts) -> Postprocess:
    """The thresholds and least sizes with the best mean Dice over the images, class by class.

    Dice of an image: 2 hits / (2 hits + false alarms + misses); 1 where there is nothing and
    nothing is found. Among equals: the threshold nearest to 0.5, then the smallest size.
    """
    if not len(counts):
        return Postprocess.default(counts.shape[1])
    best = [_choose(counts[:, k]) for k in range(counts.shape[1])]
    return Postprocess([threshold for threshold, _ in best], [share for _, share in best])


def _count_levels(band_CRW: Tensor, truth_RW: Tensor) -> Counts:
    """Pixels per class, truth (without, with, void) and number of thresholds that they reach."""
    grid = torch.tensor(THRESHOLDS, device=band_CRW.device)
    levels = len(grid) + 1
    found = []
    for k, probabilities_RW in enumerate(band_CRW):
        state_RW = torch.where(truth_RW == VOID, 2, truth_RW >> k & 1)
        level_RW = torch.bucketize(probabilities_RW.contiguous(), grid, right=True)
        place_RW = level_RW + levels * state_RW.long()
        found.append(torch.bincount(place_RW.flatten(), minlength=3 * levels).view(3, levels))
    return torch.stack(found).cpu().numpy()


def _choose(counts_NT5: Counts) -> tuple[float, float]:
    def judge(place: tuple[int, float]) -> tuple[float, int, float]:
        number, share = place
        middle = abs(2 * number + 1 - len(THRESHOLDS))
        return _mean_dice(counts_NT5[:, number], share), -middle, -share

    number, share = max(product(range(len(THRESHOLDS)), MIN_AREAS), key=judge)
    return THRESHOLDS[number], share


def _mean_dice(counts_N5: Counts, share: float) -> float:
    hits, false, misses, area, pixels = counts_N5.T
    there = ~is_small(area, share, pixels)
    hits, false, misses = hits * there, false * there, misses + hits * ~there
    union = 2 * hits + false + misses
    dice = np.where(union == 0, 1.0, 2 * hits / np.maximum(union, 1))
    # Rounded once, whatever the order of the images.
    return math.fsum(dice) / len(dice)

"""How good masks are: counts of pixels, filled batch by batch, and what is made of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from train.data.masks import VOID
from train.ranks import Ranks

DEFINITIONS: dict[str, str] = {
    "miou": "Macro mean of the IoU over the classes that truth or prediction has, from the pixels "
    "of all images together, void left out.",
    "pixel_accuracy": "Micro: right pixels among all that are not void (multilabel: right pairs "
    "of pixel and class among all pairs), all images together.",
    "micro_iou": "Micro IoU: intersections of all classes added up, divided by their unions added "
    "up, all images together, void left out.",
    "mean_accuracy": "Macro mean, over the classes that the truth has, of the share of a class's "
    "pixels that are predicted as it, all images together, void left out.",
    "fw_iou": "Mean of the IoU of the classes, each weighed by its number of true pixels, all "
    "images together, void left out.",
    "dice": "Macro mean of the Dice index over the classes that truth or prediction has, from the "
    "pixels of all images together, void left out.",
    "image_dice": "Multilabel: macro mean, over all pairs of image and class, of the Dice index "
    "from one image's pixels, 1 where truth and prediction are both empty, void left out.",
    "iou": "Intersection over union of each class, from the pixels of all images together, void "
    "left out; null for a class in neither truth nor prediction.",
    "class_dice": "Twice the intersection of each class over true plus predicted pixels, from the "
    "pixels of all images together, void left out; null for a class in neither.",
}
"""What each number says, one sentence each, for `metrics.json`."""

_LANES = 16
"""Bins each value has: on a GPU, adds to one and the same number wait for each other."""


@dataclass(frozen=True)
class Scores:
    """What all counts say; `DEFINITIONS` has each number's meaning. 0 where nothing was counted.

    A class in neither truth nor prediction has None; `image_dice` is None unless multilabel.
    """

    miou: float
    pixel_accuracy: float
    micro_iou: float
    mean_accuracy: float
    fw_iou: float
    dice: float
    iou: list[float | None]
    class_dice: list[float | None]
    image_dice: float | None = None

    def as_numbers(self) -> dict[str, float]:
        """The single numbers, always in the same order, none of them None."""
        names = ("miou", "pixel_accuracy", "micro_iou", "mean_accuracy", "fw_iou", "dice")
        numbers: dict[str, float] = {name: getattr(self, name) for name in names}
        return numbers if self.image_dice is None else numbers | {"image_dice": self.image_dice}


class Scoreboard:
    """Counts the pixels of masks on `device`, without waiting for it.

    `counts` are int64 and can be added up over ranks: multiclass (classes + 1) x classes pixels by
    truth (rows, void the last one) and prediction (columns); multilabel classes x 4: true positive,
    false positive, false negative and true negative pixels. `images` has a row an image where
    multilabel, M x (1 + 3 * classes), int64: its index, then true positives, false positives and
    false negatives of all classes; elsewhere it has none.
    """

    def __init__(
        self,
        classes: int,
        task: Literal["multiclass", "multilabel"] = "multiclass",
        device: torch.device | str = "cpu",
    ) -> None:
        self.classes = classes
        self.task = task
        shape = (classes, 4) if task == "multilabel" else (classes + 1, classes)
        self.counts = torch.zeros(shape, dtype=torch.int64, device=device)
        self._images = [torch.zeros((0, 1 + 3 * classes), dtype=torch.int64, device=device)]

    @property
    def images(self) -> Tensor:
        """One row for each image so far, in the order in which they came."""
        return torch.cat(self._images)

    def update(self, predicted_NHW: Tensor, truth_NHW: Tensor, first_index: int = 0) -> None:
        """Add images: uint8, as ids or, where multilabel, as bits; truth 255 is void.

        `first_index` is the place of the first one in its list; the others follow it.
        """
        if self.task == "multilabel":
            self._count_bits(predicted_NHW, truth_NHW, first_index)
        else:
            row_NHW = torch.where(truth_NHW == VOID, self.classes, truth_NHW).int()
            pair_NHW = row_NHW.mul_(self.classes).add_(predicted_NHW)
            self.counts += _count(pair_NHW, self.counts.numel()).view_as(self.counts)

    def merge(self, counts: Tensor, images: Tensor) -> None:
        """Add what another board has counted: its `counts` and `images`, on any device."""
        self.counts += counts.to(self.counts.device)
        self._images.append(images.to(self.counts.device))

    def over_ranks(self, ranks: Ranks) -> "Scoreboard":
        """A board, on the CPU, with what all ranks have counted; the same on each of them."""
        whole = Scoreboard(self.classes, self.task)
        for counts, images in ranks.gather((self.counts.cpu(), self.images.cpu())):
            whole.merge(counts, images)
        return whole

    def scores(self) -> Scores:
        """The metrics of everything counted so far, whatever the order in which it came."""
        counts = self.counts.cpu().numpy()
        if self.task == "multiclass":
            pairs = counts[:-1]
            hit, truth, predicted = pairs.diagonal(), pairs.sum(1), pairs.sum(0)
            return _score(hit, predicted - hit, truth - hit, hit.sum(), pairs.sum())
        hit, extra, missed, rest = counts.T
        images = self.images.cpu().numpy()
        ordered = images[np.argsort(images[:, 0], kind="stable")]
        image_dice = _image_dice(ordered[:, 1:].reshape(-1, 3, self.classes))
        return _score(hit, extra, missed, (hit + rest).sum(), counts.sum(), image_dice)

    def _count_bits(self, predicted_NHW: Tensor, truth_NHW: Tensor, first_index: int) -> None:
        known_NHW = truth_NHW != VOID
        truth_NHW = torch.where(known_NHW, truth_NHW, 0)
        predicted_NHW = torch.where(known_NHW, predicted_NHW, 0)
        both_NHW = truth_NHW & predicted_NHW
        kinds_N3HW = torch.stack([both_NHW, predicted_NHW ^ both_NHW, truth_NHW ^ both_NHW], 1)
        images, device = len(truth_NHW), truth_NHW.device
        index_N = torch.arange(first_index, first_index + images, device=device)
        per_image_N3C = _count_each_bit(kinds_N3HW.flatten(0, 1), self.classes)
        per_image_N3C = per_image_N3C.view(images, 3, self.classes)
        self._images.append(torch.cat([index_N[:, None], per_image_N3C.flatten(1)], 1))
        counts_C3 = per_image_N3C.sum(0).T
        self.counts[:, :3] += counts_C3
        self.counts[:, 3] += known_NHW.sum() - counts_C3.sum(1)


def _count(values: Tensor, bins: int) -> Tensor:
    """How often each number from 0 to `bins` - 1 occurs in `values` (int32), which are used up.

    Unlike bincount it does not wait for the device.
    """
    lines = values.flatten(0, -2)
    lane_L1 = torch.arange(len(lines), dtype=torch.int32, device=values.device).unsqueeze(1)
    place = lines.mul_(_LANES).add_(lane_L1 % _LANES).flatten()
    one = torch.ones((), dtype=torch.int64, device=values.device).expand(len(place))
    found = torch.zeros(bins * _LANES, dtype=torch.int64, device=values.device)
    return found.index_add_(0, place, one).view(bins, _LANES).sum(1)


def _count_each_bit(bytes_MHW: Tensor, bits: int) -> Tensor:
    """In how many pixels of each of M planes each bit is set, M x bits."""
    device, values = bytes_MHW.device, 2**bits
    plane_M11 = torch.arange(len(bytes_MHW), dtype=torch.int32, device=device).view(-1, 1, 1)
    found = _count(bytes_MHW.int() + plane_M11 * values, len(bytes_MHW) * values)
    byte_V1 = torch.arange(values, device=device).unsqueeze(1)
    has_VC = (byte_V1 >> torch.arange(bits, device=device)) & 1
    return (found.view(-1, values, 1) * has_VC).sum(1)


_Counts = NDArray[np.int64]


def _score(
    hit_C: _Counts,
    extra_C: _Counts,
    missed_C: _Counts,
    right: int,
    number: int,
    image_dice: float | None = None,
) -> Scores:
    """The scores from each class's true positives, false positives and false negatives."""
    union_C, truth_C = hit_C + extra_C + missed_C, hit_C + missed_C
    iou = _divide(hit_C, union_C)
    class_dice = _divide(2 * hit_C, union_C + hit_C)
    weighed = np.sum([n * (value or 0.0) for n, value in zip(truth_C, iou, strict=True)])
    return Scores(
        miou=_mean(iou),
        pixel_accuracy=_ratio(right, number),
        micro_iou=_ratio(hit_C.sum(), union_C.sum()),
        mean_accuracy=_mean(_divide(hit_C, truth_C)),
        fw_iou=_ratio(weighed, truth_C.sum()),
        dice=_mean(class_dice),
        iou=iou,
        class_dice=class_dice,
        image_dice=image_dice,
    )


def _image_dice(counts_M3C: _Counts) -> float:
    hit_MC, extra_MC, missed_MC = counts_M3C.transpose(1, 0, 2)
    size_MC = 2 * hit_MC + extra_MC + missed_MC
    dice_MC = np.where(size_MC > 0, 2 * hit_MC / np.maximum(size_MC, 1), 1.0)
    return float(dice_MC.mean()) if dice_MC.size else 0.0


def _divide(parts: _Counts, wholes: _Counts) -> list[float | None]:
    pairs = zip(parts.tolist(), wholes.tolist(), strict=True)
    return [part / whole if whole else None for part, whole in pairs]


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else 0.0


def _mean(values: Sequence[float | None]) -> float:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else 0.0

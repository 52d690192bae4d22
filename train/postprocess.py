"""Classes that overlap: from their probabilities to bits, by a threshold and a least size each."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

ALL_BITS = 255


@dataclass(frozen=True)
class Postprocess:
    """What makes a class present: the least probability, and the least share of the image."""

    thresholds: list[float]
    min_areas: list[float]

    @classmethod
    def default(cls, classes: int) -> "Postprocess":
        """What is as likely as not, or more, however small."""
        return cls([0.5] * classes, [0.0] * classes)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Postprocess":
        """What `as_dict` gave."""
        return cls(
            [float(value) for value in content["thresholds"]],
            [float(value) for value in content["min_areas"]],
        )

    def as_dict(self) -> dict[str, list[float]]:
        """For a checkpoint: numbers and lists only."""
        return asdict(self)

    def apply(self, probabilities_CHW: Tensor) -> Tensor:
        """The bits (H x W, uint8; bit k: class k is there) of a whole image."""
        return self.drop_small(self.threshold(probabilities_CHW))

    def threshold(self, probabilities_CHW: Tensor) -> Tensor:
        """The bits of an image, or of a part of one, however small a class is in it."""
        bits_HW = torch.zeros_like(probabilities_CHW[0], dtype=torch.uint8)
        for k, threshold in enumerate(self.thresholds):
            bits_HW |= (probabilities_CHW[k] >= threshold).to(torch.uint8) << k
        return bits_HW

    def drop_small(self, bits_HW: Tensor) -> Tensor:
        """The bits of a whole image without those of classes that are too small in it."""
        for k, share in enumerate(self.min_areas):
            area = int((bits_HW & 1 << k).count_nonzero()) if share else 0
            if is_small(area, share, bits_HW.numel()):
                bits_HW = bits_HW & (ALL_BITS ^ 1 << k)
        return bits_HW


def is_small(area: Any, share: float, pixels: Any) -> Any:
    """Whether a class with that area, in an image of so many pixels, is taken for absent.

    Takes numbers, or NumPy arrays of them: thresholds are chosen by the rule that they serve.
    """
    return area < share * pixels

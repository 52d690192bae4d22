"""How good the masks are: one confusion matrix, filled batch by batch."""

from dataclasses import dataclass

import torch
from torch import Tensor

from train.data.masks import VOID


@dataclass(frozen=True)
class Scores:
    """What a confusion matrix says. A class in neither truth nor prediction has the IoU None.

    `miou` is the mean of the IoU over the classes that the truth or the prediction has (macro);
    `pixel_accuracy` is the share of right pixels. Void pixels count nowhere.
    """

    miou: float
    pixel_accuracy: float
    iou: list[float | None]


class ConfusionMatrix:
    """Counts pixels by truth (rows) and prediction (columns); void goes into a row of its own."""

    def __init__(self, classes: int, device: torch.device | str = "cpu") -> None:
        self.classes = classes
        self.counts = torch.zeros((classes + 1, classes), dtype=torch.int64, device=device)

    def update(self, predicted: Tensor, truth: Tensor) -> None:
        """Add pixels; integer tensors of one shape, truth 255 for void."""
        row = torch.where(truth == VOID, self.classes, truth).long()
        index = row * self.classes + predicted.long()
        self.counts += torch.bincount(index.flatten(), minlength=self.counts.numel()).view_as(
            self.counts
        )

    def scores(self) -> Scores:
        """The metrics of everything added so far; 0 where nothing was."""
        matrix = self.counts[: self.classes].cpu().double()
        hits = matrix.diag()
        union = matrix.sum(0) + matrix.sum(1) - hits
        iou = [float(h / u) if u > 0 else None for h, u in zip(hits, union, strict=True)]
        seen = [value for value in iou if value is not None]
        total = float(matrix.sum())
        return Scores(
            miou=sum(seen) / len(seen) if seen else 0.0,
            pixel_accuracy=float(hits.sum()) / total if total else 0.0,
            iou=iou,
        )

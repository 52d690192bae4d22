"""What the losses of whole regions share: each class's index from its sums, and their mean."""

from torch import Tensor

SMOOTH = 1.0
"""Pixels added above and below each fraction: a class of few pixels then jumps less."""


def jaccard_index(overlap_3C: Tensor) -> Tensor:
    """Soft Jaccard index per class: (sum p t + 1) / (sum p + sum t - sum p t + 1)."""
    both_C, p_C, truth_C = overlap_3C.view(3, -1)
    index_C: Tensor = (both_C + SMOOTH) / (p_C + truth_C - both_C + SMOOTH)
    return index_C


def dice_index(overlap_3C: Tensor) -> Tensor:
    """Soft Dice index per class: (2 sum p t + 1) / (sum p + sum t + 1)."""
    both_C, p_C, truth_C = overlap_3C.view(3, -1)
    index_C: Tensor = (2 * both_C + SMOOTH) / (p_C + truth_C + SMOOTH)
    return index_C


def mean_present(loss_C: Tensor, overlap_3C: Tensor, weights_C: Tensor) -> Tensor:
    """Weighted mean over the classes that the truth has; 0 where it has none."""
    weight_C = weights_C * (overlap_3C.view(3, -1)[2] > 0)
    return (loss_C * weight_C).sum() / weight_C.sum().clamp(min=1e-12)

"""Binary cross-entropy of each class's sigmoid, mean over classes and pixels that are not void.

Where a pixel has one class, that one is true and all others are false. Class weights weigh the mean
over the classes.
"""

from torch import Tensor
from torch.nn import functional

from train.losses._pixels import Pixels, join, weighted_mean


def measure(pixels: Pixels) -> Tensor:
    """By -log sigmoid(x) = softplus(x) - x, and -log sigmoid(-x) = softplus(x)."""
    softplus_C = pixels.sum_known(functional.softplus(pixels.logits_NCHW))
    return join(softplus_C - pixels.sum_true(pixels.logits_NCHW), pixels.known_C)


def value(sums: Tensor, weights_C: Tensor) -> Tensor:
    return weighted_mean(sums, weights_C)

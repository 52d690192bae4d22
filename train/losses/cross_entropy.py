"""Cross-entropy of the softmax, mean over the pixels that are not void.

With class weights it is the weighted mean: each pixel counts as much as its class weighs.
"""

from torch import Tensor

from train.losses._pixels import Pixels, join, weighted_mean

MULTILABEL = False


def measure(pixels: Pixels) -> Tensor:
    return join(pixels.sum_by_class(-pixels.log_p_true_N1HW), pixels.count_C)


def value(sums: Tensor, weights_C: Tensor) -> Tensor:
    return weighted_mean(sums, weights_C)

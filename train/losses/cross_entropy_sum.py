"""Cross-entropy of the softmax, summed over all pixels of the batch that are not void.

Waggle's trainer used it so (pytorch-fcn's `cross_entropy2d` with `size_average=False`); its
learning rate of 1e-10 belongs to this sum. A model that knows nothing yet begins with ln(classes)
times the pixels: two classes and 360,000 pixels give 249,533.
"""

from torch import Tensor

from train.losses._pixels import Pixels

MULTILABEL = False
SUMMED = True


def measure(pixels: Pixels) -> Tensor:
    return pixels.sum_by_class(-pixels.log_p_true_N1HW)


def value(sums: Tensor, weights_C: Tensor) -> Tensor:
    return (sums * weights_C).sum()

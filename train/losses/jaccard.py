"""One minus the soft Jaccard index (intersection over union), mean over the classes in the truth.

The sums run over all pixels of the batch that are not void, p is the softmax, or the sigmoid where
a pixel may have several classes. A class that the batch's truth lacks counts nowhere.
"""

from torch import Tensor

from train.losses._pixels import Pixels
from train.losses._regions import jaccard_index, mean_present


def measure(pixels: Pixels) -> Tensor:
    return pixels.overlap_3C


def value(sums: Tensor, weights_C: Tensor) -> Tensor:
    return mean_present(1 - jaccard_index(sums), sums, weights_C)

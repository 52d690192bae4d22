"""One minus the soft Dice index, mean over the classes in the truth; sums as for Jaccard.

Reference:
    Milletari et al. 2016, "V-Net", with sums of p where they square it.
"""

from torch import Tensor

from train.losses._pixels import Pixels
from train.losses._regions import dice_index, mean_present


def measure(pixels: Pixels) -> Tensor:
    return pixels.overlap_3C


def value(sums: Tensor, weights_C: Tensor) -> Tensor:
    return mean_present(1 - dice_index(sums), sums, weights_C)

"""Cross-entropy that heeds pixels less the better they are known: each times (1 - p)^2.

p is the probability of what is true: of the pixel's class by the softmax, mean over the pixels that
are not void; or, where a pixel may have several classes, of each class being there or not by the
sigmoid, mean over these pixels and the classes. Class weights weigh the mean.

Reference:
    Lin et al. 2017, "Focal Loss for Dense Object Detection", gamma 2, no alpha.
"""

import torch
from torch import Tensor
from torch.nn import functional

from train.losses._pixels import Pixels, join, weighted_mean


def measure(pixels: Pixels) -> Tensor:
    if pixels.is_multilabel:
        wrong_NCHW = torch.where(pixels.truth_NCHW, -pixels.logits_NCHW, pixels.logits_NCHW)
        loss_NCHW = wrong_NCHW.sigmoid().square() * functional.softplus(wrong_NCHW)
        return join(pixels.sum_known(loss_NCHW), pixels.known_C)
    log_p_N1HW = pixels.log_p_true_N1HW
    return join(pixels.sum_by_class(-(1 - log_p_N1HW.exp()).square() * log_p_N1HW), pixels.count_C)


def value(sums: Tensor, weights_C: Tensor) -> Tensor:
    return weighted_mean(sums, weights_C)

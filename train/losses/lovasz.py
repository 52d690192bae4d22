"""Lovasz's convex extension of the Jaccard loss, per image; mean over the images.

Where a pixel has one class: Lovasz-softmax, mean over the classes that the image's truth has. Where
it may have several: Lovasz-hinge of each class, mean over all classes. Class weights weigh the mean
over the classes; images that are void everywhere count nowhere.

Reference:
    Berman et al. 2018, "The Lovasz-Softmax loss", algorithm 1.
"""

import numpy as np
import torch
from torch import Tensor

from train.losses._pixels import Pixels, join


def measure(pixels: Pixels) -> Tensor:
    truth_NCP = pixels.truth_NCHW.flatten(2)
    errors_NCP = _find_errors(pixels).flatten(2)
    counted_NC = truth_NCP.any(2)
    if pixels.is_multilabel:
        counted_NC = pixels.known_N1HW.flatten(2).any(2).expand_as(counted_NC)
    with torch.no_grad():
        pull_NCP = torch.zeros_like(errors_NCP)
        # Sorting is what takes the time: leave out the classes that an image lacks.
        pull_NCP[counted_NC] = weigh_errors(errors_NCP[counted_NC], truth_NCP[counted_NC])
    loss_NC = (errors_NCP * pull_NCP).sum(2)
    weight_NC = counted_NC * pixels.weights_C
    weight_N = weight_NC.sum(1)
    loss_N = (loss_NC * weight_NC).sum(1) / weight_N.clamp(min=1e-12)
    return join(loss_N.sum(), (weight_N > 0).sum())


def value(sums: Tensor, weights_C: Tensor) -> Tensor:
    """The mean of the images: they have weighed their classes already."""
    return sums[0] / sums[1].clamp(min=1)


def _find_errors(pixels: Pixels) -> Tensor:
    """How wrong each pixel is about each class, at least 0. Void has 0, which counts nothing."""
    truth_NCHW = pixels.truth_NCHW
    if pixels.is_multilabel:
        logits_NCHW = pixels.logits_NCHW
        errors_NCHW = (1 + torch.where(truth_NCHW, -logits_NCHW, logits_NCHW)).relu()
    else:
        p_NCHW = pixels.logits_NCHW.softmax(1)
        errors_NCHW = torch.where(truth_NCHW, 1 - p_NCHW, p_NCHW)
    return errors_NCHW * pixels.known_N1HW


def weigh_errors(errors_RP: Tensor, truth_RP: Tensor) -> Tensor:
    """What each error counts: how much the Jaccard index falls when its pixel goes wrong too.

    Pixels go wrong in the order of their errors, the largest first. A pixel of the class leaves the
    intersection, any other one enters the union.
    """
    order_RP = _sort_down(errors_RP)
    hit_RP = truth_RP.gather(1, order_RP)
    hits_RP = hit_RP.cumsum(1, dtype=torch.int32)
    size_R1 = hits_RP[:, -1:]
    place_P = torch.arange(1, 1 + errors_RP.shape[1], dtype=torch.int32, device=errors_RP.device)
    union_RP = (size_R1 + place_P - hits_RP).to(errors_RP.dtype)
    entered_RP = (size_R1 - hits_RP) / (union_RP * (union_RP - 1).clamp(min=1))
    fall_RP = torch.where(hit_RP, 1 / union_RP, entered_RP)
    # Without a pixel of the class the index falls from 1 to 0 at the first wrong one.
    fall_RP[:, :1] += size_R1 == 0
    return torch.empty_like(errors_RP).scatter_(1, order_RP, fall_RP)


def _sort_down(errors_RP: Tensor) -> Tensor:
    """The places of each row's errors, the largest first."""
    if errors_RP.is_cuda:
        return errors_RP.argsort(1, descending=True)
    # NumPy sorts with the processor's vectors: a third of torch's time.
    return torch.from_numpy(np.argsort(-errors_RP.numpy(), axis=1))

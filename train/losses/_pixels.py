"""A batch of logits beside its truth, and the sums over its pixels that losses are made of.

Each thing is computed once, when a loss first asks for it. Planes (N x C x H x W without gaps, one
class behind the other) are several times faster here than channels_last: a softmax over 11 values
that lie side by side cannot use the processor's vectors. Nothing here makes one-hot copies.
"""

from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from train.data.masks import VOID
from train.losses._softmax import sum_softmax

Task = Literal["multiclass", "multilabel"]


class Pixels:
    """Logits N x C x H x W and truth N x H x W (uint8) of one batch, with the classes' weights."""

    def __init__(self, logits_NCHW: Tensor, truth_NHW: Tensor, task: Task, weights_C: Tensor):
        self.is_multilabel = task == "multilabel"
        self.dtype = torch.float64 if logits_NCHW.dtype == torch.float64 else torch.float32
        self.classes = logits_NCHW.shape[1]
        self.weights_C = weights_C
        self.logits_NCHW = logits_NCHW.to(self.dtype, memory_format=torch.contiguous_format)
        self._truth_N1HW = truth_NHW.unsqueeze(1)

    @cached_property
    def known_N1HW(self) -> Tensor:
        """Which pixels are not void."""
        return self._truth_N1HW != VOID

    @cached_property
    def ids_N1HW(self) -> Tensor:
        """Multiclass: the class of each pixel, as an index; 0 where it is void."""
        return torch.where(self.known_N1HW, self._truth_N1HW, 0).long()

    @cached_property
    def truth_NCHW(self) -> Tensor:
        """Which classes each pixel has; none where it is void."""
        device = self._truth_N1HW.device
        classes_C11 = torch.arange(self.classes, dtype=torch.uint8, device=device).view(-1, 1, 1)
        if self.is_multilabel:
            bits_NCHW = (self._truth_N1HW >> classes_C11) & 1
            return bits_NCHW.bool() & self.known_N1HW
        return self._truth_N1HW == classes_C11

    @cached_property
    def log_p_true_N1HW(self) -> Tensor:
        """Multiclass: logarithm of the probability of the true class; any number where void."""
        return self.logits_NCHW.log_softmax(1).gather(1, self.ids_N1HW)

    @cached_property
    def known_C(self) -> Tensor:
        """Pixels that are not void, the same number for each class."""
        return self.known_N1HW.sum().double().expand(self.classes)

    @cached_property
    def count_C(self) -> Tensor:
        """Pixels that have each class."""
        if self.is_multilabel:
            return self.truth_NCHW.sum((0, 2, 3)).double()
        return self.sum_by_class(torch.ones((), device=self._truth_N1HW.device))

    @cached_property
    def overlap_3C(self) -> Tensor:
        """Per class, over the known pixels: sum of p t, sum of p, sum of t, one after the other."""
        if self.is_multilabel:
            p_NCHW = self.logits_NCHW.sigmoid()
            return join(self.sum_true(p_NCHW), self.sum_known(p_NCHW), self.count_C)
        p_true_N1HW, p_C = sum_softmax(self.logits_NCHW, self.ids_N1HW, self.known_N1HW)
        return join(self.sum_by_class(p_true_N1HW), p_C, self.count_C)

    def sum_known(self, values_NCHW: Tensor) -> Tensor:
        """Sum of the values per class over all pixels that are not void."""
        return (values_NCHW * self.known_N1HW).sum((0, 2, 3))

    def sum_true(self, values_NCHW: Tensor) -> Tensor:
        """Sum of the values per class over the pixels that have this class."""
        if self.is_multilabel:
            return (values_NCHW * self.truth_NCHW).sum((0, 2, 3))
        return self.sum_by_class(values_NCHW.gather(1, self.ids_N1HW))

    def sum_by_class(self, values_N1HW: Tensor) -> Tensor:
        """Multiclass: sum of one value a pixel, over the pixels of each class."""
        values_P = values_N1HW.double().expand_as(self.known_N1HW).flatten()
        bins_B = values_P.new_zeros(self._lines * (self.classes + 1))
        bins_LC = bins_B.index_add(0, self._bin_P, values_P).view(self._lines, -1)
        return bins_LC[:, : self.classes].sum(0)

    @property
    def _lines(self) -> int:
        images, _, height, _ = self._truth_N1HW.shape
        return images * height

    @cached_property
    def _bin_P(self) -> Tensor:
        """Which bin each pixel is added to: those of its line of the image, the last one for void.

        On a GPU, adds to one and the same number wait for each other: a line each keeps them apart.
        """
        bin_N1HW = torch.where(self.known_N1HW, self._truth_N1HW, self.classes).int()
        line_L1 = torch.arange(self._lines, dtype=torch.int32, device=bin_N1HW.device).unsqueeze(1)
        return (bin_N1HW.flatten(0, 2) + line_L1 * (self.classes + 1)).flatten()


def join(*sums: Tensor) -> Tensor:
    """One vector of all `sums`, in float64: to add up ranks then loses nothing."""
    return torch.cat([part.reshape(-1).double() for part in sums])


def weighted_mean(sums_2C: Tensor, weights_C: Tensor) -> Tensor:
    """The mean of values, from their sums per class and behind them their numbers; 0 of none.

    Each value counts as much as its class weighs, as in torch's cross-entropy.
    """
    sum_C, number_C = sums_2C.view(2, -1)
    weight: Tensor = (number_C * weights_C).sum()
    mean: Tensor = (sum_C * weights_C).sum() / torch.where(weight > 0, weight, 1)
    return mean

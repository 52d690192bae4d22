"""The softmax as Jaccard and Dice need it: summed, with a backward pass of its own.

Plain torch keeps and fills four more tensors of the size of the logits, which is half of the time.
"""

from typing import Any, cast

import torch
from torch import Tensor


def sum_softmax(logits_NCHW: Tensor, ids_N1HW: Tensor, known_N1HW: Tensor) -> tuple[Tensor, Tensor]:
    """Probability of each pixel's class (0 where void), and each class's sum over known pixels.

    Shape:
        logits N x C x H x W, ids N x 1 x H x W, int64, known N x 1 x H x W, bool
        -> N x 1 x H x W and C.
    """
    sums = _SumSoftmax.apply(logits_NCHW, ids_N1HW, known_N1HW)
    return cast(tuple[Tensor, Tensor], sums)


class _SumSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits_NCHW: Tensor, ids_N1HW: Tensor, known_N1HW: Tensor
    ) -> tuple[Tensor, Tensor]:
        p_NCHW = logits_NCHW.softmax(1).mul_(known_N1HW)
        p_true_N1HW = p_NCHW.gather(1, ids_N1HW)
        ctx.save_for_backward(p_NCHW, p_true_N1HW, ids_N1HW)
        return p_true_N1HW, p_NCHW.sum((0, 2, 3))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        """With g the gradient by p: p (g - sum of g p over the classes). p is 0 where void."""
        grad_true_N1HW, grad_C = grads
        p_NCHW, p_true_N1HW, ids_N1HW = ctx.saved_tensors
        own_N1HW = grad_true_N1HW * p_true_N1HW
        # The loss may be called under autocast, which would multiply these matrices in bf16.
        with torch.autocast(p_NCHW.device.type, enabled=False):
            mean_NHW = torch.einsum("c,nchw->nhw", grad_C, p_NCHW)
        grad_NCHW = grad_C.view(-1, 1, 1) - (mean_NHW.unsqueeze(1) + own_N1HW)
        return grad_NCHW.mul_(p_NCHW).scatter_add_(1, ids_N1HW, own_N1HW), None, None

"""Doubling an image's sides, with a gradient that is quick on CPUs.

In a decoder the gradient is a slice, of what the concatenation with a skip connection has got, and
torch's own backward of `interpolate` first copies that number by number: of a step of unet/resnet34
it took a tenth.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode


class QuickDoubling(TorchFunctionMode):
    """Within it, `functional.interpolate` to the nearest and to twice the size is `double`."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func is functional.interpolate and _doubles(*args, **kwargs):
            return double(args[0])
        return func(*args, **kwargs)


def double(images_NCHW: Tensor) -> Tensor:
    """Each pixel as two by two, N x C x H x W -> N x C x 2H x 2W."""
    doubled: Tensor = _Double.apply(images_NCHW)
    return doubled


class _Double(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images_NCHW: Tensor) -> Tensor:
        return functional.interpolate(images_NCHW, scale_factor=2, mode="nearest")

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        # The sum of each two by two.
        return functional.avg_pool2d(gradients[0], 2, divisor_override=1)


def _doubles(
    input: Tensor,  # noqa: A002  # torch's name for it
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    *rest: Any,
    **others: Any,
) -> bool:
    if mode != "nearest" or input.ndim != 4 or input.device.type != "cpu":
        return False
    if size is not None:
        return tuple(size) == tuple(2 * side for side in input.shape[2:])
    return scale_factor in (2, (2, 2), [2, 2])

"""Batch normalisation where there is a single value per channel."""

from functools import cache
from typing import Any, cast

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class SingleValues(nn.Module):
    """Comes before a batch normalisation in its class: one value passes by running statistics.

    A value alone has no variance, and torch refuses it. It occurs where a model pools an image to
    one pixel (DeepLab, PAN, UPerNet, ResNeSt) and a batch is one image: an epoch's last may be.
    """

    def forward(self, x: Tensor) -> Tensor:
        alone = self.training and x.numel() == x.shape[1]
        self.training = self.training and not alone
        try:
            return cast(Tensor, super().forward(x))
        finally:
            self.training = self.training or alone


def let_single_values_pass(model: nn.Module) -> None:
    """Make every batch normalisation of `model` take a single value, too; weights stay as named."""
    for module in model.modules():
        if isinstance(module, _BatchNorm) and not isinstance(module, SingleValues):
            kind: Any = type(module)
            module.__class__ = _derive(kind)


@cache
def _derive(norm: Any) -> Any:
    return type(norm.__name__, (SingleValues, norm), {})

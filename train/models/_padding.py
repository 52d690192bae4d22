"""Images made as large as a model needs them."""

from torch import Tensor
from torch.nn import functional


def pad_images(images_NCHW: Tensor, stride: int, smallest: int = 0) -> Tensor:
    """The images with zeros, their mean colour, at the right and at the bottom.

    Both sides become multiples of `stride`, and `smallest` at least.
    """
    height, width = images_NCHW.shape[-2:]
    down, right = _missing(height, stride, smallest), _missing(width, stride, smallest)
    # Padding by nothing would copy them all the same.
    return functional.pad(images_NCHW, (0, right, 0, down)) if down or right else images_NCHW


def _missing(side: int, stride: int, smallest: int) -> int:
    whole = max(side, smallest)
    return whole + -whole % stride - side

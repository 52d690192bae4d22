"""Masks of images of any size: at once, or in overlapping tiles that fade into each other.

The tiles of an image form a grid, all of one size, evenly spread, with a quarter of a tile or more
in common with their neighbours. Each counts by a smooth window that falls to almost nothing at
its rim, where a network sees least of what surrounds a pixel. The weights of all tiles add up to
1 at every pixel; as those of rows and of columns do so by themselves, nothing is ever divided.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from train.augment import to_input
from train.postprocess import Postprocess

BATCH_PIXELS = 2**21
"""Pixels that are computed at a time, where no single image or tile has more."""

Forward = Callable[[Tensor], Tensor]
ImageArray = NDArray[np.uint8]
_Key = TypeVar("_Key")


@dataclass(frozen=True)
class Predictor:
    """How images become masks: class ids or, with `multilabel`, bits (bit k: class k is there).

    `forward` maps model input (N x 3 x H x W floats, made by `prepare` of N x H x W x 3 bytes) to
    logits N x C x H x W; the precision, and that the model is in eval mode, are its affair.
    Without `postprocess`, a class of several is there where it is as likely as not.
    """

    forward: Forward
    device: torch.device
    multilabel: bool = False
    postprocess: Postprocess | None = None
    tile: int = 1024
    flip_average: bool = False
    prepare: Callable[[Tensor], Tensor] = to_input
    batch_pixels: int = BATCH_PIXELS

    def fits(self, height: int, width: int) -> bool:
        """Whether an image of that size is computed at once, and not in tiles."""
        return max(height, width) <= self.tile

    def rule(self, classes: int) -> Postprocess:
        """By what probabilities become bits."""
        return self.postprocess or Postprocess.default(classes)


def label_stream(
    predictor: Predictor,
    images: Iterable[tuple[_Key, ImageArray]],
    check: Callable[[], None] = lambda: None,
) -> Iterator[tuple[_Key, Tensor]]:
    """Masks (H x W, uint8) of images (H x W x 3), each with its key; in another order, maybe.

    Images of one size are computed together. `check` is called before each batch, and may raise.
    """
    for batch in group_sizes(images, predictor.batch_pixels):
        check()
        masks_NHW = label_images(predictor, np.stack([image for _, image in batch]))
        yield from zip([key for key, _ in batch], masks_NHW, strict=True)


def group_sizes(
    images: Iterable[tuple[_Key, ImageArray]], pixels: int
) -> Iterator[list[tuple[_Key, ImageArray]]]:
    """Batches of images of one size: of up to so many pixels, but of one image at least.

    Four times as many pixels may wait for others of their size.
    """
    waiting: dict[tuple[int, ...], list[tuple[_Key, ImageArray]]] = {}
    held = 0
    for key, image in images:
        height, width, _ = shape = image.shape
        waiting.setdefault(shape, []).append((key, image))
        held += height * width
        if (len(waiting[shape]) + 1) * height * width <= pixels:
            if held <= 4 * pixels:
                continue
            shape = max(waiting, key=lambda shape: len(waiting[shape]) * shape[0] * shape[1])
        held -= len(waiting[shape]) * shape[0] * shape[1]
        yield waiting.pop(shape)
    yield from waiting.values()


@torch.inference_mode()
def label_images(predictor: Predictor, images_NHWC: ImageArray) -> Tensor:
    """Masks (N x H x W, uint8) of images of one size, whatever it is."""
    if not predictor.fits(*images_NHWC.shape[1:3]):
        return torch.stack([_label_tiled(predictor, image_HWC) for image_HWC in images_NHWC])
    images = torch.from_numpy(np.require(images_NHWC, requirements=["C", "W"])).to(predictor.device)
    if predictor.multilabel:
        probabilities_NCHW = predict_batch(predictor, images)
        rule = predictor.rule(probabilities_NCHW.shape[1])
        return torch.stack([rule.apply(image_CHW) for image_CHW in probabilities_NCHW])
    if predictor.flip_average:
        return _take_ids(predict_batch(predictor, images), 1)
    # The largest logit has the largest probability, too.
    return _take_ids(predictor.forward(predictor.prepare(images)), 1)


@torch.inference_mode()
def predict_batch(predictor: Predictor, images_NHWC: Tensor) -> Tensor:
    """Probabilities (float32, N x C x H x W) of images of one size, each at once.

    With `flip_average`, the mean of those of the image and of its mirror image, mirrored back.
    """
    images_NHWC = images_NHWC.to(predictor.device)
    probabilities_NCHW = _compute(predictor, images_NHWC)
    if predictor.flip_average:
        mirrored_NCHW = _compute(predictor, images_NHWC.flip(2))
        probabilities_NCHW = (probabilities_NCHW + mirrored_NCHW.flip(3)) / 2
    return probabilities_NCHW


@torch.inference_mode()
def predict_bands(predictor: Predictor, image_HWC: ImageArray) -> Iterator[Tensor]:
    """Probabilities of an image, top to bottom, in bands (float32, C x rows x W).

    A band holds the rows that no further tile touches: the memory is that of one row of tiles,
    however high the image. Each band is the caller's only until it asks for the next.
    """
    height, width = image_HWC.shape[:2]
    if predictor.fits(height, width):
        yield predict_batch(predictor, _stack([image_HWC]))[0]
        return
    tops = place_tiles(height, predictor.tile)
    weights = weigh_tiles(height, predictor.tile).to(predictor.device)
    sums_CRW = torch.zeros(0)
    for row, (top, end) in enumerate(zip(tops, [*tops[1:], height], strict=True)):
        strip_HWC = image_HWC[top : top + predictor.tile]
        for left, tile_CHW in _predict_strip(predictor, strip_HWC, weights[row]):
            if not len(sums_CRW):
                sums_CRW = tile_CHW.new_zeros((len(tile_CHW), len(strip_HWC), width))
            sums_CRW[..., left : left + tile_CHW.shape[-1]] += tile_CHW
        done = end - top
        yield sums_CRW[:, :done]
        rest_CRW = sums_CRW[:, done:].clone()
        sums_CRW[:, : rest_CRW.shape[1]] = rest_CRW
        sums_CRW[:, rest_CRW.shape[1] :] = 0


def place_tiles(length: int, tile: int) -> list[int]:
    """Where the tiles along a side of `length` pixels begin: evenly spread from end to end."""
    if length <= tile:
        return [0]
    steps = -(-(length - tile) // (tile - tile // 4))
    return [round(step * (length - tile) / steps) for step in range(steps + 1)]


def weigh_tiles(length: int, tile: int) -> Tensor:
    """What each tile counts along a side: tiles x pixels of a tile, float32, above 0.

    The weights of the tiles that cover a pixel add up to 1.
    """
    starts = place_tiles(length, tile)
    side = min(length, tile)
    window = np.sin(np.pi * (np.arange(side) + 0.5) / side) ** 2
    sums = np.zeros(length)
    for start in starts:
        sums[start : start + side] += window
    weights = np.stack([window / sums[start : start + side] for start in starts])
    return torch.from_numpy(weights.astype(np.float32))


def _predict_strip(
    predictor: Predictor, strip_HWC: ImageArray, weights_R: Tensor
) -> Iterator[tuple[int, Tensor]]:
    """The tiles of one row of them: left edge and weighted probabilities."""
    rows, width = strip_HWC.shape[:2]
    lefts = place_tiles(width, predictor.tile)
    weights = weigh_tiles(width, predictor.tile).to(predictor.device)
    side = min(width, predictor.tile)
    count = max(1, predictor.batch_pixels // (rows * side))
    for first in range(0, len(lefts), count):
        some = lefts[first : first + count]
        tiles_NHWC = _stack([strip_HWC[:, left : left + side] for left in some])
        probabilities_NCHW = predict_batch(predictor, tiles_NHWC)
        for place, left in enumerate(some):
            yield left, probabilities_NCHW[place] * torch.outer(weights_R, weights[first + place])


def _label_tiled(predictor: Predictor, image_HWC: ImageArray) -> Tensor:
    parts = []
    for band_CRW in predict_bands(predictor, image_HWC):
        rule = predictor.rule(len(band_CRW))
        parts.append(rule.threshold(band_CRW) if predictor.multilabel else _take_ids(band_CRW, 0))
    mask_HW = torch.cat(parts)
    return rule.drop_small(mask_HW) if predictor.multilabel else mask_HW


def _take_ids(values: Tensor, axis: int) -> Tensor:
    # `argmax` says the same, ten times slower where channels come last in memory.
    return values.max(dim=axis).indices.to(torch.uint8)


def _compute(predictor: Predictor, images_NHWC: Tensor) -> Tensor:
    logits_NCHW = predictor.forward(predictor.prepare(images_NHWC)).float()
    return logits_NCHW.sigmoid() if predictor.multilabel else logits_NCHW.softmax(dim=1)


def _stack(images: list[ImageArray]) -> Tensor:
    return torch.from_numpy(np.stack(images))

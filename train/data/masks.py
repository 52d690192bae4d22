"""Masks as files: one byte a pixel, the byte is the class id.

A palette PNG keeps the id in the pixel and the colour in the palette. Pillow's `convert("RGB")`
replaces the first by the second and the ids are lost: nothing here ever converts.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from train.data.dataset import Color
from train.errors import DataError

Mask = NDArray[np.uint8]

VOID = 255
"""The id that counts nowhere, in arrays, whatever a dataset's own ignore_index is."""

VOC_VOID: Color = (224, 224, 192)


def voc_color(index: int) -> Color:
    """Colour of class `index` in the palette of PASCAL VOC (VOCdevkit, `VOClabelcolormap.m`).

    The bits of the index are dealt to red, green and blue in turn, highest colour bit first.
    """
    red = green = blue = 0
    for bit in range(8):
        shift = 7 - bit
        red |= ((index >> 0) & 1) << shift
        green |= ((index >> 1) & 1) << shift
        blue |= ((index >> 2) & 1) << shift
        index >>= 3
    return red, green, blue


def read_mask(path: Path) -> Mask:
    """Class ids of the mask in `path`, H x W, uint8.

    Raises:
        DataError: the file cannot be decoded, or holds colours or 16-bit values instead of ids.
    """
    try:
        with Image.open(path) as image:
            if image.mode not in ("P", "L"):
                raise DataError(
                    f"{path}: the mask's mode is {image.mode}; a mask holds one class id a pixel "
                    "(palette or 8-bit grey).",
                    fix="Save it as a palette PNG or an 8-bit grey PNG whose values are class ids.",
                )
            return np.asarray(image, dtype=np.uint8)
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
        raise DataError(
            f"{path}: the mask cannot be decoded ({error}).",
            fix="Restore that file, or remove it: its image then counts as unlabelled.",
        ) from error


def read_palette(path: Path) -> list[Color]:
    """The colours of a palette image by id; empty for any other image. Decodes no pixel."""
    with Image.open(path) as image:
        flat = image.getpalette() or []
    return [(flat[i], flat[i + 1], flat[i + 2]) for i in range(0, len(flat), 3)]


def write_mask(target: Path | IO[bytes], ids: Mask, colors: Sequence[Color]) -> None:
    """Write `ids` (H x W, uint8) as a palette PNG: one colour a class, VOC's beige for void."""
    palette = [0] * 768
    for index, color in enumerate(colors):
        palette[3 * index : 3 * index + 3] = color
    palette[3 * VOID : 3 * VOID + 3] = VOC_VOID
    image = Image.fromarray(ids)
    image.putpalette(palette)
    image.save(target, format="PNG")


def count_ids(ids: Mask) -> NDArray[np.int64]:
    """How many pixels have each of the 256 values."""
    return np.bincount(ids.ravel(), minlength=256)

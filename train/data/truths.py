"""A mask, as it was published, as values: one byte a pixel.

A file of ids is taken as it is. Others are brought into that form where nothing can be lost by it:
one bit, 16 bits that hold small numbers, grey with an alpha channel, grey as three equal colours,
and colours that a table names.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from train.data.dataset import ClassInfo, Color
from train.data.findings import TURN, Finding
from train.data.formats import Drawn, Source
from train.data.masks import VOC_VOID, VOID, Mask, read_palette
from train.data.samples import UNDECODABLE
from train.errors import DataError

LOSSLESS = ("PNG", "BMP", "TIFF", "GIF", "PPM")
SHOWN_COLORS = 8
TABLE = "Write a table of them beside the folders, class_dict.csv: NAME,RED,GREEN,BLUE a line."
AS_COLORS = {"pairs": TABLE, "segnet": TABLE}
AS_IDS = "Save the masks as 8-bit PNG whose values are class ids."
RESIZE = "Resize the mask with nearest neighbour, or remove the pair."
BLACK, WHITE = (0, 0, 0), (255, 255, 255)
DEEP_WHITE = 2**16 - 1


@dataclass(frozen=True)
class Truth:
    """A mask: the file that holds its values as they are, or None where it has to be written.

    `colors` are those that a palette gives to its values.
    """

    path: Path | None
    findings: list[Finding] = field(default_factory=list)
    colors: Mapping[int, Color] = field(default_factory=dict)


def read_truth_file(
    source: Source, mask: Path | Drawn, height: int, width: int
) -> tuple[Truth, Mask]:
    """A mask, and its values (height x width, uint8).

    Raises:
        DataError: it cannot be decoded or drawn, is of another size, or its values are none that
            one byte has room for.
    """
    if isinstance(mask, Drawn):
        return Truth(None), mask.draw(height, width)
    return _read(source, mask, height, width)


def _read(source: Source, path: Path, height: int, width: int) -> tuple[Truth, Mask]:
    try:
        with Image.open(path) as image:
            frames, mode, kind = getattr(image, "n_frames", 1), image.mode, image.format
            pixels = np.asarray(image)
    except UNDECODABLE as error:
        raise DataError(
            f"{path}: the mask cannot be decoded ({error}).",
            fix="Restore that file, or remove it: its image then counts as unlabelled.",
        ) from error
    if pixels.shape[:2] != (height, width):
        raise DataError(
            f"{path} is {pixels.shape[1]}x{pixels.shape[0]} and its image is {width}x{height}.",
            fix=TURN if pixels.shape[:2] == (width, height) else RESIZE,
        )
    if frames > 1:
        raise DataError(
            f"{path}: the mask has {frames} frames.", fix="Save one of them as a PNG of ids."
        )
    if mode in ("L", "1") and (greys := _list_greys(source)):
        shades = (pixels * (255 if mode == "1" else 1)).astype(np.uint8)
        if {*np.unique(shades).tolist()} <= greys:
            return _convert_colors(source, path, np.repeat(shades[..., None], 3, axis=2))
    colors: Mapping[int, Color] = {}
    if mode == "P":
        palette = read_palette(path)
        if len(source.classes) < 3 and WHITE in palette and {*palette} <= {BLACK, WHITE}:
            # Programs order two colours as they like: what is seen is what was meant.
            whites = [i for i, color in enumerate(palette) if color == WHITE]
            return Truth(None), np.isin(pixels, whites).astype(np.uint8) * np.uint8(VOID)
        colors = {i: palette[i] for i in np.unique(pixels).tolist() if i < len(palette)}
        if source.colors_bind and source.class_source:
            _check_palette(source, path, colors)
    if mode in ("P", "L"):
        # A JPEG is no file of ids, whatever it holds: it is written again as one.
        return Truth(path if kind in LOSSLESS else None, colors=colors), pixels
    return _convert(source, path, mode, pixels)


def _convert(
    source: Source, path: Path, mode: str, pixels: NDArray[np.generic]
) -> tuple[Truth, Mask]:
    """Values of a mask that is no file of one byte a pixel."""
    if mode == "1":
        return Truth(None), pixels.astype(np.uint8)
    if mode in ("LA", "PA"):
        message = f"{path} has an alpha channel: it is left out."
        return Truth(None, [Finding("alpha", "note", message, files=(str(path),))]), pixels[
            ..., 0
        ].astype(np.uint8)
    if pixels.ndim == 2:
        values = pixels.astype(np.int64)
        if DEEP_WHITE in values and {*np.unique(values)} <= {0, DEEP_WHITE}:
            values = np.minimum(values, VOID)
        if values.min() < 0 or values.max() > VOID or mode == "F":
            raise DataError(
                f"{path}: the mask has values from {values.min()} to {values.max()} ({mode}); ids "
                "go from 0 to 255.",
                fix="Save it as an 8-bit PNG whose values are class ids.",
            )
        message = f"{path} has {mode} pixels with values up to {values.max()}: taken as 8 bits."
        return Truth(
            None, [Finding("deep_mask", "note", message, files=(str(path),))]
        ), values.astype(np.uint8)
    if mode == "RGBA" and np.ptp(pixels[..., 3]) and not np.ptp(pixels[..., :3], axis=(0, 1)).any():
        raise DataError(
            f"{path}: the mask has one colour, and its shapes in the alpha channel.",
            fix="Save it as an 8-bit PNG whose values are class ids.",
        )
    return _convert_colors(source, path, pixels[..., :3].astype(np.uint8))


def _list_greys(source: Source) -> set[int]:
    """The greys that a table gives to the classes; none where it gives other colours."""
    colors = [info.color for info in source.classes] if source.colors_bind else []
    return {color[0] for color in colors} if all(len({*c}) == 1 for c in colors) else set()


def _convert_colors(
    source: Source, path: Path, pixels_HWC: NDArray[np.uint8]
) -> tuple[Truth, Mask]:
    if source.colors_bind:
        return Truth(None), decode_colors(path, pixels_HWC, source.classes, source.class_source)
    if (pixels_HWC == pixels_HWC[..., :1]).all():
        return Truth(None), np.ascontiguousarray(pixels_HWC[..., 0])
    colors, counts = np.unique(_pack(pixels_HWC), return_counts=True)
    found = [_show(int(colors[i])) for i in np.argsort(-counts)[:SHOWN_COLORS]]
    raise DataError(
        f"{path}: the mask holds {len(colors)} colours, not ids: {', '.join(found)}"
        f"{' ...' if len(colors) > SHOWN_COLORS else ''}.",
        fix=AS_COLORS.get(source.layout, AS_IDS),
    )


def decode_colors(
    path: Path, pixels_HWC: NDArray[np.uint8], classes: Sequence[ClassInfo], named: Path | None
) -> Mask:
    """Ids of a picture in the classes' colours; VOC's beige is void, where no class has it.

    Raises:
        DataError: a colour is none of theirs.
    """
    packed = _pack(pixels_HWC)
    known = {_pack_color(VOC_VOID): VOID}
    known |= {_pack_color(info.color): i for i, info in enumerate(classes)}
    colors, places = np.unique(packed, return_inverse=True)
    unknown = [int(color) for color in colors if int(color) not in known]
    if unknown:
        raise DataError(
            f"{path}: {named.name if named else 'no class'} has no class of the colour "
            f"{', '.join(_show(color) for color in unknown[:SHOWN_COLORS])}.",
            fix="Add a line for it to that file, or mend the mask; a mask saved as JPEG has lost "
            "its colours.",
        )
    ids = np.array([known[int(color)] for color in colors], np.uint8)
    return ids[places.reshape(packed.shape)]


def _check_palette(source: Source, path: Path, colors: Mapping[int, Color]) -> None:
    """A class list in another order than the masks' ids would train under wrong names."""
    for i, color in colors.items():
        if i < len(source.classes) and color != source.classes[i].color:
            info = source.classes[i]
            raise DataError(
                f"{path} colours the id {i} {color}, but {source.class_source} says that "
                f"class {i} is {info.name} with the colour {info.color}.",
                fix="Put the classes there in the order of the ids, or mend the colours.",
            )


def _pack(pixels_HWC: NDArray[np.uint8]) -> NDArray[np.uint32]:
    packed = pixels_HWC[..., 0].astype(np.uint32)
    for channel in (1, 2):
        packed <<= np.uint32(8)
        packed |= pixels_HWC[..., channel]
    return packed


def _pack_color(color: tuple[int, int, int]) -> int:
    return color[0] << 16 | color[1] << 8 | color[2]


def _show(color: int) -> str:
    return f"#{color:06x}"

"""A contact sheet: images of a dataset with their masks over them, and the classes' colours."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from train.data.dataset import ClassInfo
from train.data.masks import VOID, Mask
from train.data.samples import read_image
from train.data.survey import Survey
from train.data.truths import read_truth_file
from train.data.values import apply_values
from train.errors import DataError

TILE = 240
COLUMNS = 4
IMAGES = 12
CAPTION = 14
OVERLAY = 0.5
INK, PAPER = (30, 30, 30), (250, 250, 250)


def draw_sheet(survey: Survey, path: Path) -> list[str]:
    """Write the sheet of a surveyed dataset as a PNG; the keys of the images that are on it.

    Raises:
        DataError: no image has a mask that can be used, or the file cannot be written.
    """
    keys = choose_images(survey, IMAGES)
    if not keys:
        raise DataError(
            f"No image of {survey.source.layout} has a mask: there is nothing to show.",
            fix="Leave --sheet out.",
        )
    tiles = [draw_tile(survey, key) for key in keys]
    rows = -(-len(tiles) // COLUMNS)
    height = max(tile.height for tile in tiles) + CAPTION
    legend = -(-len(survey.source.classes) // COLUMNS) * CAPTION
    width = min(len(tiles), COLUMNS) * TILE
    sheet = Image.new("RGB", (max(width, 2 * TILE), rows * height + legend), PAPER)
    pen = ImageDraw.Draw(sheet)
    for number, (key, tile) in enumerate(zip(keys, tiles, strict=True)):
        left, top = number % COLUMNS * TILE, number // COLUMNS * height
        sheet.paste(tile, (left, top))
        pen.text((left + 2, top + height - CAPTION), key[:38], INK)
    for number, info in enumerate(survey.source.classes):
        left = number % COLUMNS * (sheet.width // COLUMNS)
        top = rows * height + number // COLUMNS * CAPTION
        pen.rectangle((left + 2, top + 2, left + 12, top + 12), info.color, INK)
        pen.text((left + 16, top), f"{number} {info.name}"[:36], INK)
    try:
        sheet.save(path, format="PNG")
    except OSError as error:
        raise DataError(
            f"{path}: {error.strerror or error}.", fix="Give another path with --sheet."
        ) from error
    return keys


def choose_images(survey: Survey, count: int) -> list[str]:
    """Labelled images in which, as far as that goes, each class is seen; rare ones first."""
    usable = sorted(key for key, each in survey.checked.items() if each.truth)
    classes = len(survey.source.classes)
    pixels = {key: survey.count(key)[:classes] for key in usable}
    order = np.argsort(survey.pixels[:classes], kind="stable").tolist()
    chosen: list[str] = []
    for class_id in order:
        best = max(usable, key=lambda key: int(pixels[key][class_id]), default=None)
        if best and pixels[best][class_id] and best not in chosen and len(chosen) < count:
            chosen.append(best)
    rest = [key for key in usable if key not in chosen]
    step = max(1, len(rest) // max(1, count - len(chosen)))
    return sorted([*chosen, *rest[::step][: count - len(chosen)]])


def draw_tile(survey: Survey, key: str) -> Image.Image:
    """An image with its mask over it, as wide as a tile."""
    source, checked = survey.source, survey.checked[key]
    size = (TILE, max(1, round(TILE * checked.height / checked.width)))
    image = Image.fromarray(read_image(source.images[key])).resize(size)
    _, values = read_truth_file(source, source.masks[key], checked.height, checked.width)
    small = Image.fromarray(apply_values(source, values)).resize(size, Image.Resampling.NEAREST)
    multilabel = source.task == "multilabel"
    colors, shown = paint(np.asarray(small), source.classes, multilabel)
    pixels = np.asarray(image, dtype=np.float64)
    mixed = np.where(shown[..., None], (1 - OVERLAY) * pixels + OVERLAY * colors, pixels)
    return Image.fromarray(mixed.astype(np.uint8))


def paint(
    ids: Mask, classes: Sequence[ClassInfo], multilabel: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Colours (H x W x 3) of a mask, and where it has one; of several classes the mean."""
    colors = np.zeros((*ids.shape, 3))
    count = np.zeros(ids.shape)
    for number, info in enumerate(classes):
        there = (ids >> number & 1 > 0) & (ids != VOID) if multilabel else ids == number
        colors[there] += info.color
        count[there] += 1
    return colors / np.maximum(count, 1)[..., None], count > 0

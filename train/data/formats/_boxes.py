"""A table with a box or a class a row, as VoTT and others write it.

Rows are `IMAGE,X,Y,WIDTH,HEIGHT,CLASS`, `IMAGE,X1,Y1,X2,Y2,CLASS` or `IMAGE,CLASS`; a first line of
column names says which, else the numbers do.
"""

import csv
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from train.data.formats import IMAGE_SUFFIXES
from train.data.formats._drawings import Labelled, read_rows
from train.data.samples import UNDECODABLE
from train.data.shapes import Point, Shape
from train.errors import DataError

CORNERS = ("xmin", "ymin", "xmax", "ymax")
OTHER_CORNERS = ("x1", "y1", "x2", "y2")
SIZES = ("x", "y", "width", "height")
HEADERS = (CORNERS, OTHER_CORNERS, SIZES)
IMAGE_COLUMNS = ("image", "url", "filename", "file", "path")
CLASS_COLUMNS = ("label", "class", "tag")
WIDTHS = (2, 6)
SHOWN = 80
# A whole image, however large it is.
FAR = 1e6

Find = Callable[[str], Path | None]
"""Gives the file of an image that a table names, where it is there."""


@dataclass(frozen=True)
class Row:
    """A line: its image, four numbers or none, and the class."""

    line: int
    image: str
    numbers: tuple[float, ...]
    label: str

    def find_corners(self, are_sizes: bool) -> tuple[Point, Point]:
        """Upper left and lower right; those of any image, where there is no box."""
        if not self.numbers:
            return (0.0, 0.0), (FAR, FAR)
        x, y, right, bottom = self.numbers
        return (x, y), (x + right, y + bottom) if are_sizes else (right, bottom)

    def __str__(self) -> str:
        return (
            f"line {self.line}: the box {', '.join(f'{n:g}' for n in self.numbers)} of {self.image}"
        )


def begins_with_box(path: Path) -> bool:
    """Whether the first line has a box, or the names of its columns, or a URL and a class."""
    words = read_first(path)
    if len(words) == max(WIDTHS):
        return tuple(words[1:5]) in HEADERS or all(map(_is_number, words[1:5]))
    return len(words) == min(WIDTHS) and "://" in words[0]


def is_table(path: Path) -> bool:
    """Whether the first line begins with an image, or with the name of such a column."""
    words = read_first(path)
    if not words or begins_with_box(path):
        return bool(words)
    return words[0] in IMAGE_COLUMNS or "://" in words[0] or words[0].endswith(IMAGE_SUFFIXES)


def read_first(path: Path) -> list[str]:
    """The words of a table's first line, in lower case; none where it cannot be read."""
    try:
        with path.open("rb") as file:
            line = file.readline(4096).decode("utf-8-sig", "replace")
        return [word.strip().lower() for word in next(csv.reader([line]), [])]
    except (OSError, csv.Error):
        return []


def read_table(path: Path, find: Find) -> dict[str, list[Labelled]]:
    """What is drawn on each image; `find` gives its file, where it is there.

    Raises:
        DataError: a line is none; the numbers could be corners or sizes, or fit neither way.
    """
    lines = list(read_rows(path))
    header = [name.strip().lower() for name in lines[0][1]] if lines else []
    named = next((h for h in HEADERS if tuple(header[1:5]) == h), None)
    skipped = int(named is not None or _is_header(header))
    rows = [_parse_row(path, number, row) for number, row in lines[skipped:]]
    if not rows:
        raise DataError(f"{path} has no rows.", fix="Export the project again.")
    boxes = [row for row in rows if row.numbers]
    are_sizes = named == SIZES if named else bool(boxes) and _tell_sizes(path, boxes, find)
    drawn: dict[str, list[Labelled]] = {}
    for row in rows:
        shape = Shape("rectangle", row.find_corners(are_sizes))
        drawn.setdefault(row.image, []).append((row.label, shape))
    return drawn


def _is_header(words: Sequence[str]) -> bool:
    return len(words) == 2 and words[0] in IMAGE_COLUMNS and words[1] in CLASS_COLUMNS


def _is_number(word: str) -> bool:
    return re.fullmatch(r"-?\d+(\.\d*)?", word) is not None


def _parse_row(path: Path, number: int, row: Sequence[str]) -> Row:
    words = [word.strip() for word in row]
    try:
        if len(words) not in WIDTHS or not words[0] or not words[-1]:
            raise ValueError
        numbers = tuple(float(word) for word in words[1:-1])
        if any(not abs(value) < FAR for value in numbers):
            raise ValueError
        return Row(number, words[0], numbers, words[-1])
    except ValueError:
        raise DataError(
            f"{path}: line {number} is no IMAGE,CLASS and no IMAGE, four numbers, CLASS: "
            f"{','.join(row)[:SHOWN]!r}.",
            fix="Mend that line.",
        ) from None


def _tell_sizes(path: Path, boxes: Sequence[Row], find: Find) -> bool:
    """Whether the last two numbers are width and height, and not another corner.

    Raises:
        DataError: they could be either, or neither.
    """
    sizes = _measure({row.image for row in boxes}, find)

    def fits(row: Row, are_sizes: bool) -> bool:
        (left, top), (right, bottom) = row.find_corners(are_sizes)
        width, height = sizes.get(row.image, (FAR, FAR))
        return 0 <= left < right <= width and 0 <= top < bottom <= height

    may_be = {way: all(fits(row, way) for row in boxes) for way in (False, True)}
    if may_be[True] != may_be[False]:
        return may_be[True]
    if may_be[True]:
        raise DataError(
            f"{path}: the numbers may be x,y,width,height or x1,y1,x2,y2; all boxes fit their "
            "images either way.",
            fix="Say which in a first line: image,x,y,width,height,class or "
            "image,xmin,ymin,xmax,ymax,class.",
        )
    unfit = [row for row in boxes if not (fits(row, True) or fits(row, False))]
    if unfit:
        raise DataError(
            f"{path}: {unfit[0]} does not fit its image, neither as x,y,width,height nor as "
            "x1,y1,x2,y2.",
            fix="Mend that line; or say in a first line what the columns are.",
        )
    corners, with_sizes = (
        next(row for row in boxes if not fits(row, way)) for way in (True, False)
    )
    raise DataError(
        f"{path}: {corners} fits its image as x1,y1,x2,y2 alone, and {with_sizes} as "
        "x,y,width,height alone.",
        fix="Write all lines the same way.",
    )


def _measure(images: set[str], find: Find) -> Mapping[str, tuple[float, float]]:
    """Width and height of the images that are here and can be read."""
    sizes: dict[str, tuple[float, float]] = {}
    for image in images:
        if place := find(image):
            try:
                with Image.open(place) as picture:
                    sizes[image] = picture.size
            except UNDECODABLE:
                continue
    return sizes

"""What people draw around things, as pixels: polygons, boxes, ellipses, lines and points."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from PIL import Image, ImageDraw

from train.data.masks import Mask
from train.data.runlength import Bits
from train.errors import DataError

Point = tuple[float, float]
Kind = Literal["polygon", "rectangle", "ellipse", "line", "point"]
LINE_PX = 3
"""How thick lines and points are drawn: they have no area of their own."""
FARTHEST = 20
"""As many times the image's longer side a shape may reach: beyond is no drawing but a mistake."""


class Drawable(Protocol):
    """Something that covers pixels of an image."""

    def place(self, height: int, width: int) -> "Patch":
        """The pixels of an image of that size; raises DataError where it does not fit."""
        ...


@dataclass(frozen=True)
class Patch:
    """Pixels of an image, from its row `top` and its column `left` on. May be empty."""

    top: int
    left: int
    bits: Bits

    def place(self, height: int, width: int) -> "Patch":
        """What of it is in the image.

        Raises:
            DataError: nothing is.
        """
        rows = slice(max(0, -self.top), max(0, height - self.top))
        columns = slice(max(0, -self.left), max(0, width - self.left))
        inside = self.bits[rows, columns]
        if self.bits.size and not inside.size:
            raise DataError(
                f"A mask of {self.bits.shape[1]} x {self.bits.shape[0]} at {self.left}, {self.top} "
                f"lies outside of the image, which is {width} x {height}.",
                fix="Mend it, or remove it.",
            )
        return Patch(max(0, self.top), max(0, self.left), inside)


@dataclass(frozen=True)
class Shape:
    """Something drawn, by its points in pixels (x, y).

    A polygon has its corners, a rectangle two opposite ones, an ellipse those of its box.
    """

    kind: Kind
    points: tuple[Point, ...]

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom."""
        xs, ys = [x for x, _ in self.points], [y for _, y in self.points]
        return min(xs), min(ys), max(xs), max(ys)

    def place(self, height: int, width: int) -> Patch:
        """The pixels of the shape in an image of that size; what leaves it is cut off.

        Raises:
            DataError: it lies outside of the image, or has too few points.
        """
        _check(self, height, width)
        box = self.box
        left, top = (max(0, int(side) - LINE_PX) for side in box[:2])
        right = min(width, int(min(box[2], width)) + LINE_PX + 1)
        bottom = min(height, int(min(box[3], height)) + LINE_PX + 1)
        size = (max(0, right - left), max(0, bottom - top))
        if not all(size):
            return Patch(0, 0, np.zeros((0, 0), np.bool_))
        image = Image.new("1", size)
        _draw(ImageDraw.Draw(image), self, left, top, height, width)
        return Patch(top, left, np.asarray(image, dtype=np.bool_))


def draw_shapes(shapes: Sequence[tuple[int, Drawable]], height: int, width: int) -> Mask:
    """Ids of the shapes, the later over the earlier, on 0.

    Raises:
        DataError: one of them does not fit the image.
    """
    mask = np.zeros((height, width), np.uint8)
    for class_id, shape in shapes:
        patch = shape.place(height, width)
        rows, columns = patch.bits.shape
        mask[patch.top : patch.top + rows, patch.left : patch.left + columns][patch.bits] = class_id
    return mask


def _draw(
    pen: ImageDraw.ImageDraw, shape: Shape, left: int, top: int, height: int, width: int
) -> None:
    """Draw it where the pen's picture begins at that column and row of the image."""
    points = [(x - left, y - top) for x, y in shape.points]
    if shape.kind == "polygon":
        pen.polygon(points, fill=1, outline=1)
    elif shape.kind == "rectangle":
        x0, y0, x1, y1 = shape.box
        x0, y0 = round(max(x0, -1)), round(max(y0, -1))
        # The right and lower edges are those of the last pixels inside.
        x1, y1 = max(x0, round(min(x1, width)) - 1), max(y0, round(min(y1, height)) - 1)
        pen.rectangle((x0 - left, y0 - top, x1 - left, y1 - top), fill=1)
    elif shape.kind == "ellipse":
        x0, y0, x1, y1 = shape.box
        pen.ellipse((x0 - left, y0 - top, x1 - left, y1 - top), fill=1)
    elif shape.kind == "line":
        pen.line(points, fill=1, width=LINE_PX)
    else:
        reach = LINE_PX // 2
        for x, y in points:
            pen.rectangle((x - reach, y - reach, x + reach, y + reach), fill=1)


LEAST: dict[Kind, int] = {"polygon": 3, "rectangle": 2, "ellipse": 2, "line": 2, "point": 1}


def _check(shape: Shape, height: int, width: int) -> None:
    if len(shape.points) < LEAST[shape.kind]:
        raise DataError(
            f"A {shape.kind} has {len(shape.points)} points: {list(shape.points)[:4]}.",
            fix=f"A {shape.kind} takes {LEAST[shape.kind]} points or more, in pixels.",
        )
    if not np.isfinite(shape.points).all():
        raise DataError(
            f"A {shape.kind} has a point that is no pair of numbers: {list(shape.points)[:4]}.",
            fix="Mend it, or remove it.",
        )
    left, top, right, bottom = shape.box
    reach = FARTHEST * max(height, width)
    is_far = shape.kind != "rectangle" and max(-left, -top, right, bottom) > reach
    if is_far or right < 0 or bottom < 0 or left > width or top > height:
        where = "reaches far" if is_far else "lies"
        raise DataError(
            f"A {shape.kind} at {left:g}, {top:g} to {right:g}, {bottom:g} {where} outside of the "
            f"image, which is {width} x {height}.",
            fix="Mend it, or remove it.",
        )

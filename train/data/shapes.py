"""What people draw around things, as pixels: polygons, boxes, ellipses, lines and points."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw

from train.data.masks import Mask
from train.data.runlength import Bits
from train.errors import DataError

Point = tuple[float, float]
Kind = Literal["polygon", "rectangle", "ellipse", "line", "point"]
LINE_PX = 3
"""How thick lines and points are drawn: they have no area of their own."""


@dataclass(frozen=True)
class Shape:
    """Something drawn, of the class with that id, by its points in pixels (x, y).

    A polygon has its corners, a rectangle two opposite ones, an ellipse those of its box.
    """

    class_id: int
    kind: Kind
    points: tuple[Point, ...]

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom."""
        xs, ys = [x for x, _ in self.points], [y for _, y in self.points]
        return min(xs), min(ys), max(xs), max(ys)


def draw_shapes(shapes: Sequence[Shape], height: int, width: int, multilabel: bool = False) -> Mask:
    """Ids of the shapes, the later over the earlier, on 0; with `multilabel` bits, on none.

    What leaves the image is cut off.

    Raises:
        DataError: a shape lies outside of the image, or is none.
    """
    mask = np.zeros((height, width), np.uint8)
    for shape in shapes:
        bits = draw_shape(shape, height, width)
        if multilabel:
            mask[bits] |= 1 << shape.class_id
        else:
            mask[bits] = shape.class_id
    return mask


def draw_shape(shape: Shape, height: int, width: int) -> Bits:
    """The pixels of one shape.

    Raises:
        DataError: it lies outside of the image, or has too few points.
    """
    _check(shape, height, width)
    image = Image.new("1", (width, height))
    pen = ImageDraw.Draw(image)
    if shape.kind == "polygon":
        pen.polygon(list(shape.points), fill=1, outline=1)
    elif shape.kind == "rectangle":
        left, top, right, bottom = shape.box
        # The right and lower edges are those of the last pixels inside.
        pen.rectangle(
            (
                round(left),
                round(top),
                max(round(left), round(right) - 1),
                max(round(top), round(bottom) - 1),
            ),
            fill=1,
        )
    elif shape.kind == "ellipse":
        pen.ellipse(shape.box, fill=1)
    elif shape.kind == "line":
        pen.line(list(shape.points), fill=1, width=LINE_PX)
    else:
        x, y = shape.points[0]
        reach = LINE_PX // 2
        pen.rectangle((x - reach, y - reach, x + reach, y + reach), fill=1)
    return np.asarray(image, dtype=np.bool_)


LEAST: dict[Kind, int] = {"polygon": 3, "rectangle": 2, "ellipse": 2, "line": 2, "point": 1}


def _check(shape: Shape, height: int, width: int) -> None:
    if len(shape.points) < LEAST[shape.kind] or not np.isfinite(shape.points).all():
        raise DataError(
            f"A {shape.kind} has {len(shape.points)} points: {list(shape.points)[:4]}.",
            fix=f"A {shape.kind} takes {LEAST[shape.kind]} points or more, in pixels.",
        )
    left, top, right, bottom = shape.box
    if right < 0 or bottom < 0 or left >= width or top >= height:
        raise DataError(
            f"A {shape.kind} at {left:g}, {top:g} to {right:g}, {bottom:g} lies outside of the "
            f"image, which is {width} x {height}.",
            fix="Mend it, or remove it.",
        )

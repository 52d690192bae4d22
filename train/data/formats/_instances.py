"""COCO's annotations as runs of pixels: polygons, boxes, plain and compressed runs.

Source: cocodataset.org, "Data format"; polygons and runs are rasterised by its own pycocotools.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from train.data.shapes import FARTHEST


class Part(BaseModel):
    """What all parts of a document share: ids are numbers or texts, and what is more is left."""

    model_config = ConfigDict(coerce_numbers_to_str=True, frozen=True)


class Annotation(Part):
    """An instance: its outline (or runs) where it has one, else its box."""

    id: str = "?"
    image_id: str
    category_id: str
    segmentation: Any = None
    bbox: list[float] | None = None


@dataclass(frozen=True)
class Instance:
    """Compressed runs, of the part of an image that begins at that row and column."""

    runs: Any
    top: int = 0
    left: int = 0


def has_outline(annotation: Annotation) -> bool:
    """Whether it has runs, or a part with an area: COCO itself has some of two points."""
    given = annotation.segmentation
    if not isinstance(given, list):
        return bool(given)
    return any(not isinstance(part, list) or len(part) > 5 for part in given)


def find_runs(annotation: Annotation, height: int, width: int) -> Instance:
    """An annotation as compressed runs, which take far less room than a mask.

    Raises:
        ValueError: it is none, or not of an image of that size.
    """
    from pycocotools import mask as coco

    given = annotation.segmentation
    if not has_outline(annotation):
        if annotation.bbox is None or len(annotation.bbox) != 4:
            raise ValueError("it has neither an outline nor a box")
        x, y, w, h = annotation.bbox
        given = [[x, y, x + w, y, x + w, y + h, x, y + h]]
    if isinstance(given, list):
        with_area = [part for part in given if not isinstance(part, list) or len(part) > 5]
        return _rasterise_parts(
            [_check_part(part, height, width) for part in with_area], height, width
        )
    if not isinstance(given, dict) or not {"counts", "size"} <= given.keys():
        raise ValueError("its segmentation is neither a list of points nor runs")
    if list(given["size"]) != [height, width]:
        raise ValueError(f"its runs are of {given['size']}")
    counts = given["counts"]
    plain = [int(c) for c in counts] if isinstance(counts, list) else _expand(str(counts))
    # What runs leave out pycocotools fills with whatever lies in memory.
    if min(plain, default=-1) < 0 or sum(plain) != height * width:
        raise ValueError(f"its runs have {sum(plain)} of {height * width} pixels")
    runs: Any = {"counts": plain, "size": [height, width]}
    return Instance(coco.frPyObjects(runs, height, width))


def _rasterise_parts(parts: list[list[float]], height: int, width: int) -> Instance:
    """Polygons, in the part of the image that they cover: a small one costs what it has of pixels.

    pycocotools rounds to fifths of a pixel: moved by whole pixels, a polygon is the same.
    """
    from pycocotools import mask as coco

    xs, ys = ([v for part in parts for v in part[first::2]] for first in (0, 1))
    left, top = (max(0, int(min(values)) - 1) for values in (xs, ys))
    right, bottom = (
        min(side, int(max(values)) + 2) for values, side in ((xs, width), (ys, height))
    )
    moved: Any = [
        # 16.9 - 5 is 11.899999999999999, which rounds to another fifth than 11.9.
        [round(v - (top if i % 2 else left), 9) for i, v in enumerate(part)]
        for part in parts
    ]
    size = (max(1, bottom - top), max(1, right - left))
    return Instance(coco.merge(coco.frPyObjects(moved, *size)), top, left)


def _check_part(part: Any, height: int, width: int) -> list[float]:
    """The points of a polygon: x, y, x, y ..."""
    if not isinstance(part, list) or not all(isinstance(v, int | float) for v in part):
        raise ValueError(f"a part of it is no list of numbers: {str(part)[:40]}")
    values = np.asarray(part, np.float64)
    if len(values) % 2:
        raise ValueError(f"a part has {len(values)} numbers, which are no points")
    if not np.isfinite(values).all():
        raise ValueError("a part has a point that is no pair of numbers")
    if not (np.abs(values) <= FARTHEST * max(height, width)).all():
        raise ValueError("a part reaches far outside of the image")
    xs, ys = values[::2], values[1::2]
    if xs.max() < 0 or ys.max() < 0 or xs.min() > width or ys.min() > height:
        raise ValueError("a part lies outside of the image")
    if values.max() <= 1 and min(height, width) > 1:
        raise ValueError("its points are fractions of the image; COCO's are pixels")
    return [float(value) for value in values]


def _expand(text: str) -> list[int]:
    """The runs in COCO's compressed form: six bits a character, each run less the one but one.

    Source: cocoapi, `maskApi.c`, `rleFrString`.
    """
    counts: list[int] = []
    value = shift = 0
    for character in text.encode("ascii"):
        bits = character - 48
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("its runs end in the middle")
    return counts

"""LabelMe: beside each image a JSON with `shapes`, each with label, type and points.

Both may lie below `train/`, `val/` and `test/`, and the documents in a folder of their own, such as
`annotations/` beside `images/`. Classes: `labels.txt` where it lies there (LabelMe's own has
`__ignore__` and `_background_` in front), else all labels that occur, sorted, behind the
background. Later shapes cover earlier ones.
Source: github.com/wkentaro/labelme, format of version 5.
"""

import base64
import binascii
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from train.data.dataset import ClassInfo, ListName
from train.data.formats import (
    Drawn,
    Source,
    index_by_stem,
    list_names,
    read_class_names,
    read_text,
)
from train.data.formats._drawings import name_classes, name_origin
from train.data.formats._folders import MASKS, PARTS, Place, find_places, index_folders
from train.data.masks import Mask
from train.data.runlength import Bits
from train.data.samples import UNDECODABLE
from train.data.shapes import Kind, Shape, draw_shape
from train.errors import DataError

DOCUMENTS = (*MASKS, "json", "jsons", "labelme")
LABELS = "labels.txt"
IGNORED = "__ignore__"
KINDS: dict[str, Kind] = {
    "polygon": "polygon",
    "rectangle": "rectangle",
    "line": "line",
    "linestrip": "line",
    "point": "point",
    "points": "point",
}


def recognise(folder: Path) -> bool:
    """A JSON and an image have the same name."""
    return bool(_find_places(folder))


def read(folder: Path) -> Source:
    """The images of the folder; those with a JSON are labelled."""
    images: dict[str, Path] = {}
    documents: dict[str, Path] = {}
    lists: dict[ListName, list[str]] = {}
    for part, shown, drawn in _find_places(folder):
        found, written = index_by_stem(shown), index_by_stem(drawn, (".json",))
        prefix = f"{part}_" if found.keys() & images.keys() else ""
        images |= {f"{prefix}{key}": path for key, path in found.items()}
        documents |= {f"{prefix}{key}": path for key, path in written.items()}
        if part:
            lists[part] = [f"{prefix}{key}" for key in found if key in written]
    content = {key: read_document(path) for key, path in documents.items()}
    listed = folder / LABELS
    classes = _list_classes(listed if listed.exists() else None, content)
    return Source(
        layout="labelme",
        classes=classes,
        ignore_index=None,
        images=images,
        masks={
            key: Drawn(path, name_origin(path, _Drawing(classes, content[key])))
            for key, path in documents.items()
        },
        lists=lists if lists.get("train") and lists.get("val") else {},
        class_source=listed if listed.exists() else None,
    )


def _find_places(folder: Path) -> list[Place]:
    """Folders of images, and those of their documents, which may be the same."""
    named = index_folders(folder)
    beside: list[Place] = [(PARTS[low], named[low], named[low]) for low in PARTS if low in named]
    here: list[Place] = [(None, folder, folder)]
    for places in (here, [*find_places(folder, DOCUMENTS)], beside):
        if any(_belong(shown, drawn) for _, shown, drawn in places):
            return places
    return []


def _belong(shown: Path, drawn: Path) -> bool:
    documents = {stem for stem, ending in _split_names(drawn) if ending == ".json"}
    return any(stem in documents for stem, ending in _split_names(shown) if ending != ".json")


def _split_names(folder: Path) -> Iterator[tuple[str, str]]:
    for name in list_names(folder):
        stem, ending = os.path.splitext(name)
        yield stem, ending.lower()


def read_document(path: Path) -> dict[str, Any]:
    """A JSON of LabelMe.

    Raises:
        DataError: it is none.
    """
    try:
        content = json.loads(read_text(path))
        for shape in content["shapes"]:
            shape["label"], shape["points"]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is no JSON of LabelMe ({error}).", fix="Save it again, or take it away."
        ) from error
    return dict(content)


def _list_classes(path: Path | None, documents: dict[str, Any]) -> list[ClassInfo]:
    used = {str(shape["label"]) for each in documents.values() for shape in each["shapes"]}
    if path is None:
        return name_classes(sorted(used))
    names = [name for name in read_class_names(path) if name != IGNORED]
    if unknown := sorted(used - {*names, IGNORED}):
        raise DataError(
            f"{path} has no {', '.join(unknown)}, which shapes are labelled with.",
            fix=f"Add a line for each to {path.name}.",
        )
    return name_classes(names)


class _Drawing:
    """Draws the mask of an image from its JSON."""

    def __init__(self, classes: list[ClassInfo], document: dict[str, Any]) -> None:
        self._ids = {info.name: i for i, info in enumerate(classes)}
        self._document = document

    def __call__(self, height: int, width: int) -> Mask:
        said = (self._document.get("imageHeight"), self._document.get("imageWidth"))
        if said not in ((None, None), (height, width)):
            raise DataError(
                f"It is of an image of {said[1]} x {said[0]}; this one is {width} x {height}.",
                fix="Label the image as it is now, or restore the one that was labelled.",
            )
        mask = np.zeros((height, width), np.uint8)
        for shape in self._document["shapes"]:
            if shape["label"] != IGNORED:
                mask[_draw(shape, height, width)] = self._ids[str(shape["label"])]
        return mask


def _draw(shape: dict[str, Any], height: int, width: int) -> Bits:
    kind = shape.get("shape_type") or "polygon"
    try:
        points = tuple((float(x), float(y)) for x, y in shape["points"])
    except (TypeError, ValueError) as error:
        raise DataError(
            f"The points of a {kind} are no pairs of numbers ({error}).", fix="Mend that shape."
        ) from error
    if kind == "mask":
        return _paste(shape, points, height, width)
    if kind == "circle" and len(points) > 1:
        (x, y), (edge_x, edge_y) = points[:2]
        reach = float(np.hypot(edge_x - x, edge_y - y))
        corners = ((x - reach, y - reach), (x + reach, y + reach))
        return draw_shape(Shape(0, "ellipse", corners), height, width)
    if kind not in KINDS:
        raise DataError(
            f"A shape is a {kind}, which has no area that is known.",
            fix=f"Draw it as one of {', '.join(sorted({*KINDS, 'circle', 'mask'}))}.",
        )
    return draw_shape(Shape(0, KINDS[kind], points), height, width)


def _paste(
    shape: dict[str, Any], points: tuple[tuple[float, float], ...], height: int, width: int
) -> Bits:
    """A shape that is a picture of its own, from its upper left corner on."""
    try:
        content = base64.b64decode(shape["mask"], validate=True)
        with Image.open(io.BytesIO(content)) as image:
            picture = np.asarray(image.convert("L")) > 0
        left, top = (round(value) for value in points[0])
    except (KeyError, IndexError, binascii.Error, *UNDECODABLE) as error:
        raise DataError(f"A mask cannot be decoded ({error}).", fix="Draw it again.") from error
    bits = np.zeros((height, width), np.bool_)
    place = bits[max(0, top) : top + picture.shape[0], max(0, left) : left + picture.shape[1]]
    place[:] = picture[max(0, -top) :, max(0, -left) :][: place.shape[0], : place.shape[1]]
    return bits

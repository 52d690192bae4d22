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
import os
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from train.data.dataset import ClassInfo
from train.data.findings import Finding, name_some
from train.data.formats import (
    IMAGE_SUFFIXES,
    Gathering,
    Source,
    index_by_stem,
    list_names,
    read_class_names,
)
from train.data.formats._classes import IGNORED
from train.data.formats._drawings import (
    Labelled,
    draw_labelled,
    name_classes,
    parse_label,
    read_json,
)
from train.data.formats._folders import MASKS, PARTS, Place, find_places, index_folders
from train.data.masks import VOID
from train.data.samples import UNDECODABLE
from train.data.shapes import Kind, Patch, Shape
from train.errors import DataError

DOCUMENTS = (*MASKS, "json", "jsons", "labelme")
LABELS = "labels.txt"
FIX = "Save it again with LabelMe, or take it away."
KINDS: dict[str, Kind] = {
    "polygon": "polygon",
    "oriented_rectangle": "polygon",
    "rotation": "polygon",
    "rectangle": "rectangle",
    "line": "line",
    "linestrip": "line",
    "point": "point",
    "points": "point",
}
Document = Mapping[str, Any]


def recognise(folder: Path) -> bool:
    """A JSON and an image have the same name."""
    return bool(_find_places(folder))


def read(folder: Path) -> Source:
    """The images of the folder; those with a JSON are labelled."""
    found = Gathering()
    for part, shown, drawn in _find_places(folder):
        documents = index_by_stem(drawn, (".json",)) if drawn else {}
        found.add(part or shown.name, part, index_by_stem(shown), documents)
    content = {key: _read(path, key in found.images) for key, path in found.masks.items()}
    listed_in = next((p / LABELS for p in (folder, folder.parent) if (p / LABELS).exists()), None)
    classes = _list_classes(listed_in, content)
    ignored = any(label == IGNORED for label in _list_labels(content))
    foreign = [str(found.masks[key]) for key, document in content.items() if document is None]
    return Source(
        layout="labelme",
        classes=classes,
        ignore_index=VOID if ignored else None,
        images=found.images,
        masks={
            key: draw_labelled(
                found.masks[key],
                classes,
                partial(_list_shapes, document),
                said=_read_size(found.masks[key], document),
                ignored={IGNORED: VOID},
            )
            for key, document in content.items()
            if document is not None
        },
        lists=found.lists,
        class_source=listed_in,
        findings=_tell_foreign(foreign),
    )


def _find_places(folder: Path) -> list[Place]:
    """Folders of images, and those of their documents, which may be the same."""
    named = index_folders(folder)
    here: list[Place] = [(None, folder, folder)]
    beside: list[Place] = [(PARTS[low], named[low], named[low]) for low in PARTS if low in named]
    for places in (here, [*find_places(folder, DOCUMENTS, (".json",))], beside):
        if any(drawn and _belong(shown, drawn) for _, shown, drawn in places):
            return places
    return []


def _belong(shown: Path, drawn: Path) -> bool:
    documents = {stem for stem, ending in _split_names(drawn) if ending == ".json"}
    pictures = (stem for stem, ending in _split_names(shown) if ending in IMAGE_SUFFIXES)
    return bool(documents) and any(stem in documents for stem in pictures)


def _split_names(folder: Path) -> Iterator[tuple[str, str]]:
    for name in list_names(folder):
        stem, ending = os.path.splitext(name)
        yield stem, ending.lower()


def _read(path: Path, has_image: bool) -> Document | None:
    """A document without the picture in it; None for a JSON of something else.

    Raises:
        DataError: it is that of an image, and none of LabelMe.
    """
    try:
        content = read_json(path, "JSON of LabelMe", FIX)
        shapes = content.get("shapes")
        if not isinstance(shapes, list) or not all(isinstance(shape, dict) for shape in shapes):
            raise DataError(f"{path} is no JSON of LabelMe: it has no list of shapes.", fix=FIX)
        for shape in shapes:
            parse_label(shape.get("label"))
    except DataError as error:
        if has_image:
            named = str(error) if str(path) in str(error) else f"{path}: {error}"
            raise DataError(named, fix=error.fix) from error
        return None
    return {key: value for key, value in content.items() if key != "imageData"}


def _tell_foreign(paths: list[str]) -> list[Finding]:
    if not paths:
        return []
    message = f"{len(paths)} files are no JSON of LabelMe and of no image: {name_some(paths)}."
    return [Finding("foreign_document", "note", message, files=tuple(paths))]


def _list_labels(content: Mapping[str, Document | None]) -> Iterator[str]:
    for document in content.values():
        for shape in (document or {"shapes": []})["shapes"]:
            yield shape["label"]


def _list_classes(path: Path | None, content: Mapping[str, Document | None]) -> list[ClassInfo]:
    used = {*_list_labels(content)} - {IGNORED}
    if path is None:
        return name_classes(sorted(used))
    names = [name for name in read_class_names(path) if name != IGNORED]
    if unknown := sorted(used - {*names}):
        raise DataError(
            f"{path} has no {', '.join(unknown)}, which shapes are labelled with.",
            fix=f"Add a line for each to {path.name}.",
        )
    return name_classes(names)


def _read_size(path: Path, document: Document) -> tuple[int, int] | None:
    """Height and width, where the document says them."""
    said = (document.get("imageHeight"), document.get("imageWidth"))
    if None in said:
        return None
    try:
        return int(str(said[0])), int(str(said[1]))
    except ValueError as error:
        raise DataError(
            f"{path}: the size of its image is {said[1]} x {said[0]}, which are no numbers.",
            fix=FIX,
        ) from error


def _list_shapes(document: Document) -> Iterator[Labelled]:
    for shape in document["shapes"]:
        try:
            yield shape["label"], _describe(shape)
        except (TypeError, ValueError, OverflowError, KeyError, IndexError) as error:
            raise DataError(
                f"a shape of {shape['label']} cannot be read ({error!r}).", fix="Draw it again."
            ) from error


def _describe(shape: Mapping[str, Any]) -> Patch | Shape:
    kind = shape.get("shape_type") or "polygon"
    points = tuple((float(x), float(y)) for x, y in shape["points"])
    if kind == "mask":
        return _paste(str(shape["mask"]), points)
    if kind == "circle":
        (x, y), (edge_x, edge_y) = points[:2]
        reach = float(np.hypot(edge_x - x, edge_y - y))
        return Shape("ellipse", ((x - reach, y - reach), (x + reach, y + reach)))
    if kind not in KINDS:
        raise DataError(
            f"a shape is a {kind}, which has no area that is known.",
            fix=f"Draw it as one of {', '.join(sorted({*KINDS, 'circle', 'mask'}))}.",
        )
    return Shape(KINDS[kind], points)


def _paste(text: str, points: tuple[tuple[float, float], ...]) -> Patch:
    """A shape that is a picture of its own, from its upper left corner on."""
    try:
        content = base64.b64decode(text, validate=True)
        with Image.open(io.BytesIO(content)) as image:
            bits = np.asarray(image.convert("L")) > 0
    except (binascii.Error, *UNDECODABLE) as error:
        raise DataError(f"a mask cannot be decoded ({error}).", fix="Draw it again.") from error
    left, top = (round(value) for value in points[0])
    return Patch(top, left, bits)

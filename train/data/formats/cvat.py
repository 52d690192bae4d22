"""CVAT for images 1.1: `annotations.xml`, and its images beside it or in `images/`.

The images of a project lie in `images/SUBSET/`; its subsets Train, Validation and Test are lists.

Labels and colours stand in the task's `labels`. Shapes are drawn by `z_order`, then as they come.
Source: CVAT's documentation, "CVAT for images".
"""

import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from xml.etree.ElementTree import Element

import numpy as np

from train.data.dataset import ClassInfo, ListName
from train.data.findings import Finding
from train.data.formats import Drawn, Source, add_file, normalise
from train.data.formats._drawings import (
    Labelled,
    Wanted,
    draw_labelled,
    find_pictures,
    find_unlisted,
    name_classes,
    parse_color,
    parse_label,
    tell_absent,
)
from train.data.formats._folders import PARTS
from train.data.shapes import Kind, Patch, Point, Shape
from train.errors import DataError

DOCUMENT = "annotations.xml"
KINDS: dict[str, Kind] = {"polygon": "polygon", "polyline": "line", "points": "point"}
OUTLINE_POINTS = 64
MOST_PIXELS = 2**30
DRAWN = ("box", "ellipse", "mask", *KINDS)


def recognise(folder: Path) -> bool:
    """The document is there."""
    return (folder / DOCUMENT).is_file()


def read(folder: Path) -> Source:
    """The images that the document names; those without a shape are labelled as background."""
    path = folder / DOCUMENT
    root = _parse(path)
    described = root.findall("image")
    if not described:
        raise DataError(
            f"{path} describes no image.", fix="Export the task as CVAT for images 1.1."
        )
    classes = _read_classes(root, described)
    images: dict[str, Path] = {}
    masks: dict[str, Path | Drawn] = {}
    lists: dict[ListName, list[str]] = {}
    absent: list[str] = []
    found = find_pictures(folder, dict(enumerate(map(_locate, described))))
    for number, element in enumerate(described):
        name, subset = element.get("name", ""), element.get("subset", "")
        if number not in found:
            absent.append(name)
            continue
        key = normalise(PurePosixPath(name).with_suffix("").as_posix().replace("/", "_"))
        key = f"{subset}_{key}" if key in images and subset else key
        add_file(images, key, found[number])
        shapes = partial(_list_shapes, element)
        masks[key] = draw_labelled(path, classes, shapes, _read_size(path, element), name)
        if part := PARTS.get(subset.lower()):
            lists.setdefault(part, []).append(key)
    fix = "Export the task with its images, or put them into images/."
    return Source(
        layout="cvat",
        classes=classes,
        ignore_index=None,
        images=images | find_unlisted(folder, images),
        masks=masks,
        lists={name: sorted(keys) for name, keys in lists.items()},
        class_source=path,
        findings=[*tell_absent(absent, DOCUMENT, fix), *_tell_undrawn(described)],
    )


def _locate(image: Element) -> Wanted:
    return Wanted(image.get("name", ""), (f"images/{image.get('subset', '')}", "images"))


def _parse(path: Path) -> Element:
    try:
        return ElementTree.fromstring(path.read_bytes())
    except (ElementTree.ParseError, LookupError, ValueError, OSError) as error:
        raise DataError(
            f"{path} is no whole XML document ({error}).", fix="Export the task again."
        ) from error


def _tell_undrawn(images: Iterable[Element]) -> list[Finding]:
    """What has no area of its own, and what nobody would draw the same way."""
    left = Counter(shape.tag for image in images for shape in image if shape.tag not in DRAWN)
    if not left:
        return []
    counts = ", ".join(f"{count} x {tag}" for tag, count in sorted(left.items()))
    message = f"{DOCUMENT} has {counts}, which are not drawn."
    fix = "Draw polygons or masks in CVAT where they are to count."
    return [Finding("undrawn_shape", "warning", message, fix, (DOCUMENT,))]


def _read_classes(root: Element, images: list[Element]) -> list[ClassInfo]:
    # The points of a skeleton are labels, too: they have a parent.
    labels = [each for each in root.findall(".//labels/label") if each.find("parent") is None]
    colors = {
        label.findtext("name", ""): parse_color(label.findtext("color", "")) for label in labels
    }
    used = {shape.get("label", "") for image in images for shape in image if shape.tag in DRAWN}
    unknown = sorted(used - colors.keys())
    known = {name: color for name, color in colors.items() if color}
    return name_classes([*colors, *(name for name in unknown if name.strip())], known)


def _read_size(path: Path, element: Element) -> tuple[int, int] | None:
    said = (element.get("height"), element.get("width"))
    if said[0] is None or said[1] is None:
        return None
    try:
        return int(float(said[0])), int(float(said[1]))
    except (ValueError, OverflowError) as error:
        raise DataError(
            f"{path}: {element.get('name')} is said to be {said[1]} x {said[0]}.",
            fix="Export the task again.",
        ) from error


def _list_shapes(image: Element) -> Iterator[Labelled]:
    shapes = [shape for shape in image if shape.tag in DRAWN]
    try:
        for shape in sorted(shapes, key=lambda shape: int(shape.get("z_order", "0"))):
            yield parse_label(shape.get("label")), _describe(shape)
    except (KeyError, ValueError, OverflowError) as error:
        raise DataError(
            f"A shape cannot be read ({error}).", fix="Mend it, or remove it."
        ) from error


def _describe(shape: Element) -> Patch | Shape:
    def number(name: str) -> float:
        return float(shape.attrib[name])

    if shape.tag == "mask":
        return _paste(shape)
    if shape.tag in KINDS:
        return Shape(KINDS[shape.tag], _parse_points(shape))
    if shape.tag == "box":
        kind: Kind = "rectangle"
        left, top, right, bottom = (number(name) for name in ("xtl", "ytl", "xbr", "ybr"))
    else:
        kind = "ellipse"
        x, y, rx, ry = (number(name) for name in ("cx", "cy", "rx", "ry"))
        left, top, right, bottom = x - rx, y - ry, x + rx, y + ry
    if turn := float(shape.get("rotation", "0")):
        return Shape("polygon", _turn(kind, (left, top, right, bottom), np.deg2rad(turn)))
    return Shape(kind, ((left, top), (right, bottom)))


def _turn(kind: Kind, box: tuple[float, float, float, float], turn: float) -> tuple[Point, ...]:
    """The outline of a box, or of the ellipse in it, turned clockwise around its middle."""
    left, top, right, bottom = box
    x, y, rx, ry = (left + right) / 2, (top + bottom) / 2, (right - left) / 2, (bottom - top) / 2
    if kind == "rectangle":
        outline = np.array([(-rx, -ry), (rx, -ry), (rx, ry), (-rx, ry)])
    else:
        angles = np.linspace(0, 2 * np.pi, OUTLINE_POINTS, endpoint=False)
        outline = np.stack([rx * np.cos(angles), ry * np.sin(angles)], axis=1)
    cos, sin = np.cos(turn), np.sin(turn)
    turned = outline @ np.array([[cos, sin], [-sin, cos]]) + (x, y)
    return tuple((float(px), float(py)) for px, py in turned)


def _parse_points(shape: Element) -> tuple[Point, ...]:
    pairs = [pair.split(",") for pair in shape.attrib["points"].split(";")]
    return tuple((float(x), float(y)) for x, y in pairs)


def _paste(shape: Element) -> Patch:
    """Row by row: how many pixels are out, then how many are in, and so on."""
    counts = [int(count) for count in shape.attrib["rle"].split(",")]
    rows, columns = int(shape.attrib["height"]), int(shape.attrib["width"])
    top, left = int(shape.attrib["top"]), int(shape.attrib["left"])
    is_whole = min(counts, default=-1) >= 0 and sum(counts) == rows * columns <= MOST_PIXELS
    if not is_whole or min(rows, columns) < 0:
        raise DataError(
            f"The runs of a mask are {sum(counts)} pixels; it is {columns} x {rows} at "
            f"{left}, {top}.",
            fix="Export it again, or remove it.",
        )
    inside = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return Patch(top, left, inside.reshape(rows, columns))

"""CVAT for images 1.1: `annotations.xml`, and its images beside it or in `images/`.

Labels and colours stand in the task's `labels`. Shapes are drawn by `z_order`, then as they come.
Source: CVAT's documentation, "CVAT for images".
"""

import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from xml.etree.ElementTree import Element

import numpy as np

from train.data.dataset import ClassInfo
from train.data.findings import Finding
from train.data.formats import Drawn, Source, add_file, read_text
from train.data.formats._drawings import (
    find_unlisted,
    name_classes,
    name_origin,
    parse_color,
    tell_absent,
)
from train.data.masks import Mask
from train.data.runlength import Bits
from train.data.shapes import Kind, Point, Shape, draw_shape
from train.errors import DataError

DOCUMENT = "annotations.xml"
KINDS: dict[str, Kind] = {"polygon": "polygon", "polyline": "line", "points": "point"}
OUTLINE_POINTS = 64
DRAWN = ("box", "ellipse", "mask", *KINDS)


def recognise(folder: Path) -> bool:
    """The document is there."""
    return (folder / DOCUMENT).is_file()


def read(folder: Path) -> Source:
    """The images that the document names; those without a shape are labelled as background."""
    path = folder / DOCUMENT
    try:
        root = ElementTree.fromstring(read_text(path).encode())
    except ElementTree.ParseError as error:
        raise DataError(
            f"{path} is no whole XML document ({error}).", fix="Export the task again."
        ) from error
    described = root.findall("image")
    if not described:
        raise DataError(
            f"{path} describes no image.", fix="Export the task as CVAT for images 1.1."
        )
    classes = _read_classes(root, described)
    images: dict[str, Path] = {}
    masks: dict[str, Path | Drawn] = {}
    absent: list[str] = []
    for element in described:
        name = element.get("name", "")
        place = _find(folder, name)
        if place is None:
            absent.append(name)
            continue
        key = PurePosixPath(name).with_suffix("").as_posix().replace("/", "_")
        add_file(images, key, place)
        masks[key] = Drawn(path, name_origin(path, _Drawing(classes, element)))
    fix = "Export the task with its images, or put them into images/."
    return Source(
        layout="cvat",
        classes=classes,
        ignore_index=None,
        images=images | find_unlisted(images),
        masks=masks,
        class_source=path,
        findings=[*tell_absent(absent, DOCUMENT, fix), *_tell_undrawn(described)],
    )


def _tell_undrawn(images: Iterable[Element]) -> list[Finding]:
    """What has no area of its own, and what nobody would draw the same way."""
    left = Counter(shape.tag for image in images for shape in image if shape.tag not in DRAWN)
    if not left:
        return []
    counts = ", ".join(f"{count} x {tag}" for tag, count in sorted(left.items()))
    message = f"{DOCUMENT} has {counts}, which are not drawn."
    fix = "Draw polygons or masks in CVAT where they are to count."
    return [Finding("undrawn_shape", "warning", message, fix, (DOCUMENT,))]


def _find(folder: Path, name: str) -> Path | None:
    places = (folder / "images" / name, folder / name, folder / "images" / Path(name).name)
    return next((place for place in places if place.is_file()), None)


def _read_classes(root: Element, images: list[Element]) -> list[ClassInfo]:
    labels = root.findall(".//labels/label")
    colors = {
        label.findtext("name", ""): parse_color(label.findtext("color", "")) for label in labels
    }
    used = {shape.get("label", "") for image in images for shape in image if shape.tag in DRAWN}
    unknown = sorted(used - colors.keys()) if colors else sorted(used)
    known = {name: color for name, color in colors.items() if color}
    return name_classes([*colors, *unknown], known)


class _Drawing:
    """Draws the mask of an image from its element."""

    def __init__(self, classes: list[ClassInfo], element: Element) -> None:
        self._ids = {info.name: i for i, info in enumerate(classes)}
        self._element = element

    def __call__(self, height: int, width: int) -> Mask:
        name = self._element.get("name")
        said = (self._element.get("width"), self._element.get("height"))
        if said not in ((None, None), (str(width), str(height))):
            raise DataError(
                f"{name} is {width} x {height}; the shapes are of {said[0]} x {said[1]}.",
                fix="Restore the image that was labelled.",
            )
        mask = np.zeros((height, width), np.uint8)
        shapes = [shape for shape in self._element if shape.tag in DRAWN]
        try:
            for shape in sorted(shapes, key=lambda shape: int(shape.get("z_order", "0"))):
                mask[_draw(shape, height, width)] = self._ids[shape.get("label", "")]
        except (KeyError, ValueError) as error:
            raise DataError(
                f"A shape of {name} cannot be read ({error}).", fix="Mend it, or remove it."
            ) from error
        except DataError as error:
            raise DataError(f"{name}: {error}", fix=error.fix) from error
        return mask


def _draw(shape: Element, height: int, width: int) -> Bits:
    def number(name: str) -> float:
        return float(shape.attrib[name])

    if shape.tag == "mask":
        return _paste(shape, height, width)
    if shape.tag in KINDS:
        return draw_shape(Shape(0, KINDS[shape.tag], _parse_points(shape)), height, width)
    if shape.tag == "box":
        kind: Kind = "rectangle"
        left, top, right, bottom = (number(name) for name in ("xtl", "ytl", "xbr", "ybr"))
    else:
        kind = "ellipse"
        x, y, rx, ry = (number(name) for name in ("cx", "cy", "rx", "ry"))
        left, top, right, bottom = x - rx, y - ry, x + rx, y + ry
    if turn := float(shape.get("rotation", "0")):
        corners = _turn(kind, (left, top, right, bottom), np.deg2rad(turn))
        return draw_shape(Shape(0, "polygon", corners), height, width)
    return draw_shape(Shape(0, kind, ((left, top), (right, bottom))), height, width)


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


def _paste(shape: Element, height: int, width: int) -> Bits:
    """Row by row: how many pixels are out, then how many are in, and so on."""
    counts = np.array([int(count) for count in shape.attrib["rle"].split(",")], np.int64)
    rows, columns = int(shape.attrib["height"]), int(shape.attrib["width"])
    top, left = int(shape.attrib["top"]), int(shape.attrib["left"])
    fits = 0 <= top <= height - rows and 0 <= left <= width - columns
    if (counts < 0).any() or counts.sum() != rows * columns or not fits:
        raise DataError(
            f"The runs of a mask are {counts.sum()} pixels; it is {columns} x {rows} at "
            f"{left}, {top} of {width} x {height}.",
            fix="Export it again, or remove it.",
        )
    bits = np.zeros((height, width), np.bool_)
    inside = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    bits[top : top + rows, left : left + columns] = inside.reshape(rows, columns)
    return bits

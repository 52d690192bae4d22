"""VoTT: its JSON export, or a CSV with a box or a class a row.

CSV rows are `IMAGE,X,Y,WIDTH,HEIGHT,CLASS`, `IMAGE,X1,Y1,X2,Y2,CLASS` or `IMAGE,CLASS`; a first
line of column names says which, else the numbers do. Images are paths, or file and http(s) URLs.
Boxes and polygons are drawn as masks, later ones over earlier ones; a class without a box is the
whole image's.
Source: github.com/microsoft/VoTT, "Export" (vott-json-export, vott-csv-export).
"""

import csv
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from PIL import Image

from train.data.dataset import Color
from train.data.formats import Drawn, Source, add_file, list_names, read_text
from train.data.formats._drawings import (
    Labelled,
    draw_labelled,
    find_unlisted,
    name_classes,
    parse_color,
    tell_absent,
)
from train.data.formats._folders import hold_masks
from train.data.samples import UNDECODABLE
from train.data.shapes import Kind, Point
from train.errors import DataError

EXPORTS = ("vott-csv-export", "vott-json-export")
CORNERS = ("xmin", "ymin", "xmax", "ymax")
OTHER_CORNERS = ("x1", "y1", "x2", "y2")
SIZES = ("x", "y", "width", "height")
HEADERS = (CORNERS, OTHER_CORNERS, SIZES)
WIDTHS = (2, 6)
SHOWN = 80
MOST_OPENED = 20
# A whole image, however large it is.
FAR = 1e6

Shapes = dict[str, list[Labelled]]
Row = tuple[int, str, tuple[float, ...], str]
"""Line number, image, numbers (none or four) and class."""


def recognise(folder: Path) -> bool:
    """A table or document of VoTT is there."""
    return _find_export(folder) is not None


def read(folder: Path) -> Source:
    """The images that the export names."""
    path = _find_export(folder)
    assert path is not None
    colors: dict[str, Color] = {}
    if path.suffix.lower() == ".json":
        shapes, names, colors = _read_document(path)
    else:
        shapes = _read_table(folder, path)
        names = sorted({each.label for listed in shapes.values() for each in listed})
    classes = name_classes(names, colors)
    images: dict[str, Path] = {}
    urls: dict[str, str] = {}
    masks: dict[str, Path | Drawn] = {}
    absent: list[str] = []
    for image, listed in shapes.items():
        key = Path(unquote(urlsplit(image).path)).stem if "://" in image else Path(image).stem
        if image.startswith(("http://", "https://")):
            if key in urls or key in images:
                raise DataError(
                    f"{path}: two images are called {key}.", fix="Give them different names."
                )
            urls[key] = image
        elif place := _find_image(folder, image):
            add_file(images, key, place)
        else:
            absent.append(image)
            continue
        masks[key] = draw_labelled(path, classes, listed)
    fix = "Put them beside the table, or mend their paths."
    return Source(
        layout="vott",
        classes=classes,
        ignore_index=None,
        images=images | find_unlisted(images),
        masks=masks,
        class_source=path,
        urls=urls,
        findings=tell_absent(absent, path.name, fix),
    )


def _find_export(folder: Path) -> Path | None:
    """The export: in VoTT's own folder, or named as VoTT names it, or a table that begins so."""
    inside = folder.name in EXPORTS
    names = [name for name in list_names(folder) if name.lower().endswith((".json", ".csv"))]
    for name in names:
        low = name.lower()
        if inside or "vott" in low or low.endswith(("-export.json", "-export.csv")):
            return folder / name
    tables = [folder / name for name in names if name.lower().endswith(".csv")]
    if len(tables) > MOST_OPENED or hold_masks(folder):
        return None
    return next((path for path in tables if _begins_so(path)), None)


def _begins_so(path: Path) -> bool:
    """Whether the first line has a box, or the names of its columns, or a URL and a class."""
    try:
        with path.open("rb") as file:
            line = file.readline(4096).decode("utf-8-sig", "replace")
        words = [word.strip().lower() for word in next(csv.reader([line]), [])]
    except (OSError, csv.Error):
        return False
    if len(words) == max(WIDTHS):
        return tuple(words[1:5]) in HEADERS or all(map(_is_number, words[1:5]))
    return len(words) == min(WIDTHS) and "://" in words[0]


def _is_number(word: str) -> bool:
    return re.fullmatch(r"-?\d+(\.\d*)?", word) is not None


def _find_image(folder: Path, image: str) -> Path | None:
    path = unquote(image.removeprefix("file://")) if image.startswith("file:") else image
    name = path.replace("\\", "/")
    places = (
        Path(name),
        folder / name,
        folder / Path(name).name,
        folder / "images" / Path(name).name,
        folder.parent / Path(name).name,
    )
    return next((place for place in places if place.is_file()), None)


def _read_document(path: Path) -> tuple[Shapes, list[str], dict[str, Color]]:
    """Shapes by image, the tags in order, and their colours."""
    try:
        content = json.loads(read_text(path))
        tags = [(str(tag["name"]), str(tag.get("color", ""))) for tag in content.get("tags", [])]
        shapes: Shapes = {}
        for entry in content["assets"].values():
            asset = entry["asset"]
            image = str(asset.get("path") or asset["name"])
            found = shapes.setdefault(image, [])
            for region in entry["regions"]:
                points = tuple((float(p["x"]), float(p["y"])) for p in region["points"])
                is_box = region["type"] == "RECTANGLE"
                kind: Kind = "rectangle" if is_box else "polygon"
                found += [Labelled(str(tag), kind, points) for tag in region["tags"][:1]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} is no JSON export of VoTT ({error!r}).", fix="Export the project again."
        ) from error
    if not shapes:
        raise DataError(f"{path} has no assets.", fix="Tag some images, and export again.")
    names = [name for name, _ in tags]
    names += sorted({e.label for listed in shapes.values() for e in listed} - {*names})
    return shapes, names, {name: color for name, text in tags if (color := parse_color(text))}


def _read_table(folder: Path, path: Path) -> Shapes:
    lines = list(csv.reader(read_text(path).splitlines()))
    header = [name.strip().lower() for name in lines[0]] if lines else []
    named = next((h for h in HEADERS if tuple(header[1:5]) == h), None)
    is_header = named is not None or header in (["image", "label"], ["url", "class"])
    rows = [
        _parse_row(path, number, row)
        for number, row in enumerate(lines, start=1)
        if row and not (is_header and number == 1)
    ]
    if not rows:
        raise DataError(f"{path} has no rows.", fix="Export the project again.")
    boxes = [row for row in rows if row[2]]
    are_sizes = named == SIZES if named else bool(boxes) and _tell_sizes(folder, path, boxes)
    shapes: Shapes = {}
    for _, image, numbers, label in rows:
        shapes.setdefault(image, []).append(
            Labelled(label, "rectangle", _find_corners(numbers, are_sizes))
        )
    return shapes


def _parse_row(path: Path, number: int, row: Sequence[str]) -> Row:
    words = [word.strip() for word in row]
    try:
        if len(words) not in WIDTHS or not words[0] or not words[-1]:
            raise ValueError
        return number, words[0], tuple(float(word) for word in words[1:-1]), words[-1]
    except ValueError:
        raise DataError(
            f"{path}: line {number} is no IMAGE,CLASS and no IMAGE, four numbers, CLASS: "
            f"{','.join(row)[:SHOWN]!r}.",
            fix="Mend that line.",
        ) from None


def _find_corners(numbers: tuple[float, ...], are_sizes: bool) -> tuple[Point, Point]:
    if not numbers:
        return (0.0, 0.0), (FAR, FAR)
    x, y, right, bottom = numbers
    return (x, y), (x + right, y + bottom) if are_sizes else (right, bottom)


def _tell_sizes(folder: Path, path: Path, boxes: Sequence[Row]) -> bool:
    """Whether the last two numbers are width and height, and not another corner.

    Raises:
        DataError: they could be either, or neither.
    """
    sizes = _measure(folder, boxes)

    def fits(row: Row, are_sizes: bool) -> bool:
        (left, top), (right, bottom) = _find_corners(row[2], are_sizes)
        width, height = sizes.get(row[1], (FAR, FAR))
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
            f"{path}: {_show(unfit[0])} does not fit its image, neither as x,y,width,height nor as "
            "x1,y1,x2,y2.",
            fix="Mend that line; or say in a first line what the columns are.",
        )
    corners, with_sizes = (next(r for r in boxes if not fits(r, way)) for way in (True, False))
    raise DataError(
        f"{path}: {_show(corners)} fits its image as x1,y1,x2,y2 alone, and {_show(with_sizes)} as "
        "x,y,width,height alone.",
        fix="Write all lines the same way.",
    )


def _show(row: Row) -> str:
    number, image, numbers, _ = row
    return f"line {number}: the box {', '.join(f'{n:g}' for n in numbers)} of {image}"


def _measure(folder: Path, boxes: Sequence[Row]) -> Mapping[str, tuple[float, float]]:
    """Width and height of the images that are here and can be read."""
    sizes: dict[str, tuple[float, float]] = {}
    for image in {row[1] for row in boxes}:
        if place := _find_image(folder, image):
            try:
                with Image.open(place) as picture:
                    sizes[image] = picture.size
            except UNDECODABLE:
                continue
    return sizes

"""JetCar's ImageSegmenter: `DataSet/{Img,Mask}/{Train,Val,Test}/Img_NAME.jpg` and `Mask_NAME.png`.

The masks are 8-bit ids. Classes come from the settings XML of the tool (`segm_class_defs`: id,
name, drawing colour as ARGB in hex), else they are the tool's 22 defaults, with colours from a
colour map (CSV rows of B,G,R,A) where one lies there.
Source: the settings class and the notebooks of that project (github.com/StefansAI/JetCar).
"""

import csv
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from train.data.dataset import ClassInfo, Color, ListName
from train.data.formats import (
    IMAGE_SUFFIXES,
    Gathering,
    Source,
    add_file,
    list_names,
    normalise,
    read_text,
)
from train.errors import DataError

PREFIXES = ("Img_", "Mask_")
PARTS: dict[ListName, str] = {"train": "Train", "val": "Val", "test": "Test"}
SETTINGS_DEPTH = 3
CLASSES: dict[str, Color] = {
    "nothing": (0x00, 0x00, 0x00),
    "white_solid_line": (0xE7, 0x0E, 0x13),
    "white_dashed_line": (0xF7, 0x66, 0x0F),
    "yellow_solid_line": (0xBE, 0x1E, 0xFB),
    "yellow_dashed_line": (0xA2, 0x5E, 0xFD),
    "lane_my_dir": (0x00, 0xFF, 0x00),
    "lane_wrong_dir": (0x8A, 0x00, 0x00),
    "lane_left_turn": (0x8B, 0xB8, 0x03),
    "lane_right_turn": (0x00, 0x80, 0x40),
    "yield_sign": (0xFF, 0x80, 0x00),
    "stop_sign": (0xFF, 0x00, 0x00),
    "wait_line": (0x00, 0xA6, 0xA6),
    "arrow_straight": (0xD7, 0xAC, 0x00),
    "arrow_straight_left": (0xDF, 0x68, 0x62),
    "arrow_straight_right": (0xC0, 0x00, 0x80),
    "arrow_left_straight_right": (0xC0, 0x80, 0xC0),
    "arrow_left_only": (0x82, 0xBF, 0x00),
    "arrow_right_only": (0x00, 0xC0, 0x80),
    "arrow_left_right": (0x80, 0x00, 0x80),
    "arrow_roundabout": (0x00, 0xC1, 0x00),
    "merge_left": (0xFF, 0x40, 0x00),
    "lane_limit": (0xD7, 0xD7, 0x00),
}


def recognise(folder: Path) -> bool:
    """Both trees are there, and one has a folder to train on."""
    return (folder / "Img" / "Train").is_dir() and (folder / "Mask" / "Train").is_dir()


def read(folder: Path) -> Source:
    """The pairs of a `DataSet` folder; each part's are its list."""
    gathered = Gathering()
    for name, part in PARTS.items():
        found = _index(folder / "Img" / part, PREFIXES[0])
        gathered.add(name, name, found, _index(folder / "Mask" / part, PREFIXES[1]))
    classes, source = _read_classes(folder)
    return Source(
        layout="jetcar",
        classes=classes,
        ignore_index=None,
        images=gathered.images,
        masks=gathered.masks,
        lists=gathered.lists,
        class_source=source,
        fixed_classes=True,
    )


def _index(folder: Path, prefix: str) -> dict[str, Path]:
    """Pictures by name without the prefix, which those for tests do not have."""
    found: dict[str, Path] = {}
    for name in list_names(folder):
        path = folder / name
        if path.suffix.lower() in IMAGE_SUFFIXES:
            add_file(found, normalise(path.stem).removeprefix(prefix), path)
    return found


def _read_classes(folder: Path) -> tuple[list[ClassInfo], Path | None]:
    """The classes and the file that names them: beside the pictures, or in a folder above."""
    places = [folder, *folder.parents[: SETTINGS_DEPTH - 1]]
    for place in places:
        for name in list_names(place):
            if name.lower().endswith(".xml") and (classes := _read_settings(place / name)):
                return classes, place / name
    for place in places:
        for name in list_names(place):
            if name.lower().endswith("colormap.csv"):
                colors = _read_colors(place / name)
                return _name_classes(colors[: len(CLASSES)]), place / name
    return _name_classes(list(CLASSES.values())), None


def _name_classes(colors: list[Color]) -> list[ClassInfo]:
    names = [*CLASSES][: len(colors)]
    return [ClassInfo(name=n, color=color) for n, color in zip(names, colors, strict=True)]


def _read_settings(path: Path) -> list[ClassInfo]:
    """The classes of a settings file; none where it is an XML of something else."""
    try:
        text = read_text(path)
    except DataError:
        return []
    if "<segm_class_defs" not in text:
        return []
    try:
        items = ElementTree.fromstring(text.encode()).findall("./segm_class_defs/item")
        found = {
            int(item.attrib["id"]): (
                (item.text or "").strip(),
                int(item.attrib["draw_color"], 16),
            )
            for item in items
        }
    except (ElementTree.ParseError, KeyError, ValueError) as error:
        raise DataError(
            f"{path} is no settings file of ImageSegmenter ({error}).",
            fix="Mend its segm_class_defs, or take it out of that folder.",
        ) from error
    if sorted(found) != list(range(len(found))):
        raise DataError(
            f"{path}: the ids of its classes are {sorted(found)}; they have to be 0, 1, 2 ...",
            fix="Number the classes without a gap.",
        )
    return [
        ClassInfo(name=name or f"class_{i}", color=(argb >> 16 & 255, argb >> 8 & 255, argb & 255))
        for i, (name, argb) in sorted(found.items())
    ]


def _read_colors(path: Path) -> list[Color]:
    """Rows of B, G, R, A; the row's number is the id."""
    try:
        rows = [[int(value) for value in row] for row in csv.reader(read_text(path).splitlines())]
        return [(red, green, blue) for blue, green, red, *_ in rows]
    except ValueError as error:
        raise DataError(
            f"{path} is no colour map ({error}).", fix="Give each class a row: B,G,R,A."
        ) from error

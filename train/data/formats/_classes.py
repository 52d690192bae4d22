"""What names classes, beside pictures of any layout: lists of names, tables of colours or ids."""

import re
from dataclasses import dataclass
from pathlib import Path

from train.data.dataset import ClassInfo, Color
from train.data.formats import list_names, read_class_names, read_lines
from train.data.masks import voc_color
from train.errors import DataError

NAMES = ("class_names.list", "class_names.txt", "classes.txt", "labels.txt", "names.txt")
TABLES = ("class_dict.csv", "label_colors.txt", "labelmap.txt", "colors.csv", "classes.csv")
IDS = "_classes.csv"
IGNORED = "__ignore__"
"""LabelMe's name of what is no class."""
NUMBER = re.compile(r"(?<![\w.])\d+(?![\w.])")


@dataclass(frozen=True)
class Classes:
    """Classes, the file that names them, and whether it has the masks' colours."""

    classes: list[ClassInfo]
    path: Path | None = None
    have_colors: bool = False


def read_classes(folder: Path, *below: Path) -> Classes:
    """The classes that a file in `folder` names, or in one of those below, or in the one above.

    None where none is there.

    Raises:
        DataError: it cannot be read.
    """
    for place in (folder, *below, folder.parent):
        there = {name.lower(): place / name for name in list_names(place)}
        if IDS in there:
            return Classes(name_all(_read_ids(there[IDS])), there[IDS])
        for name in TABLES:
            if name in there:
                return Classes(read_table(there[name]), there[name], have_colors=True)
        for name in NAMES:
            if name in there:
                return Classes(name_all(read_class_names(there[name])), there[name])
    return Classes([])


def name_all(names: list[str]) -> list[ClassInfo]:
    """Classes of these names, in VOC's colours."""
    return [ClassInfo(name=name, color=voc_color(i)) for i, name in enumerate(names)]


def _read_ids(path: Path) -> list[str]:
    """Names in the order of their ids, from `ID, NAME` a line, as Roboflow writes them."""
    rows = [line.partition(",") for line in read_lines(path)]
    named = {int(i): name.strip() for i, _, name in rows if i.strip().isdigit()}
    if sorted(named) != list(range(len(named))) or not all(named.values()):
        raise DataError(
            f"{path} names the ids {sorted(named)}; they have to be 0, 1, 2 ...",
            fix="Write a line ID, NAME for each.",
        )
    return [named[i] for i in sorted(named)]


def read_table(path: Path) -> list[ClassInfo]:
    """A line is a name and three numbers, in either order, with whatever stands between them.

    Raises:
        DataError: a line is none, or repeats a name or a colour.
    """
    classes: list[ClassInfo] = []
    for number, line in enumerate(read_lines(path), start=1):
        parsed = _parse_line(line)
        if line.startswith("#") or (number == 1 and not NUMBER.search(line)):
            continue
        if not parsed:
            raise DataError(
                f"{path}: line {number} is no name and colour: {line!r}.",
                fix="Write NAME,RED,GREEN,BLUE, each 0 to 255.",
            )
        name, color = parsed
        if any(info.color == color or info.name == name for info in classes):
            raise DataError(
                f"{path}: line {number} repeats a name or a colour: {line!r}.",
                fix="Give each class a name and a colour of its own.",
            )
        classes.append(ClassInfo(name=name, color=color))
    if not classes:
        raise DataError(f"{path} names no class.", fix="Write NAME,RED,GREEN,BLUE a line.")
    return classes


def _parse_line(line: str) -> tuple[str, Color] | None:
    """Name and colour; with four fields the name may hold numbers, too."""
    fields = [field.strip(" \"'") for field in re.split(r"[,;\t]", line)]
    if len(fields) == 4 and all(field.isdigit() for field in fields[1:]):
        numbers, name = fields[1:], fields[0]
    elif len(fields) == 4 and all(field.isdigit() for field in fields[:3]):
        numbers, name = fields[:3], fields[3]
    else:
        numbers = NUMBER.findall(line)[:3]
        name = NUMBER.sub(" ", line).strip(" \t,;:\"'")
        name = re.sub(r"[\s,;:]+", " ", name)
    if len(numbers) < 3 or not name or any(int(value) > 255 for value in numbers):
        return None
    red, green, blue = (int(value) for value in numbers)
    return name, (red, green, blue)

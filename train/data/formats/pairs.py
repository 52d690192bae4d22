"""Images and masks in two parallel folders, or side by side, with names that match.

`images/` and `masks/` (or what else such folders are called), each for itself or below `train/`,
`val/` and `test/`, or with these below them; `train/` and `trainannot/`; or `NAME.jpg` beside
`NAME_mask.png`. A mask's name may end in `_mask`, `_gt`, `_L` and the like, and files may have no
ending: then their first bytes say what they are. Classes come from a list of names, or a table of
names and colours, where one lies there; else they are the values that the masks hold.
"""

import re
from pathlib import Path

from train.data.dataset import ClassInfo, Color, ListName
from train.data.formats import (
    IMAGE_SUFFIXES,
    Source,
    add_file,
    list_names,
    read_class_names,
    read_lines,
)
from train.data.formats._folders import find_places
from train.data.masks import VOID, voc_color
from train.errors import DataError

FALLBACK = True
ENDINGS = re.compile(
    r"[_-](mask|masks|gt|l|label|labels|seg|segmentation|groundtruth|annotation|annot)$", re.I
)
NAMES = ("class_names.list", "class_names.txt", "classes.txt", "labels.txt", "names.txt")
TABLES = ("class_dict.csv", "label_colors.txt", "labelmap.txt", "colors.csv", "classes.csv")
SIGNATURES = (
    b"\x89PNG",
    b"\xff\xd8\xff",
    b"BM",
    b"GIF8",
    b"II*\0",
    b"MM\0*",
    b"RIFF",
    b"P5",
    b"P6",
)


def recognise(folder: Path) -> bool:
    """A pair of folders, or of files, has such names."""
    return next(find_places(folder), None) is not None or bool(_find_beside(folder))


def read(folder: Path) -> Source:
    """The pairs in all folders that belong together."""
    images: dict[str, Path] = {}
    masks: dict[str, Path] = {}
    lists: dict[ListName, list[str]] = {}
    places = list(find_places(folder))
    for part, shown, drawn in places:
        found = _index(shown)
        truths = _match(_index(drawn), found)
        prefix = f"{part}_" if any(key in images for key in found) else ""
        images |= {f"{prefix}{key}": path for key, path in found.items()}
        masks |= {f"{prefix}{key}": path for key, path in truths.items()}
        if part:
            keys = [f"{prefix}{key}" for key in found if key in truths]
            lists[part] = [*lists.get(part, []), *sorted(keys)]
    if not places:
        masks = _find_beside(folder)
        taken = {*masks.values()}
        images = {key: path for key, path in _index(folder).items() if path not in taken}
    classes, source, colors_bind = _read_classes(folder)
    return Source(
        layout="pairs",
        classes=classes,
        ignore_index=VOID,
        images=images,
        masks=masks,
        lists=lists if lists.get("train") and lists.get("val") else {},
        class_source=source,
        colors_bind=colors_bind,
    )


def _index(folder: Path) -> dict[str, Path]:
    """Pictures by stem; a file without an ending is judged by its first bytes."""
    found: dict[str, Path] = {}
    for name in list_names(folder):
        path = folder / name
        if path.suffix.lower() in IMAGE_SUFFIXES or (not path.suffix and _is_picture(path)):
            add_file(found, path.stem, path)
    return found


def _is_picture(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(8).startswith(SIGNATURES)
    except OSError:
        return False


def _match(drawn: dict[str, Path], shown: dict[str, Path]) -> dict[str, Path]:
    """Masks by the name of their image, where one has it; else by their own."""
    found: dict[str, Path] = {}
    for key, path in drawn.items():
        bare = ENDINGS.sub("", key)
        add_file(found, bare if key not in shown and bare in shown else key, path)
    return found


def _find_beside(folder: Path) -> dict[str, Path]:
    """Masks that lie beside their images, by the name of these."""
    found = {
        Path(name).stem: folder / name
        for name in list_names(folder)
        if Path(name).suffix.lower() in IMAGE_SUFFIXES
    }
    return {
        bare: path
        for key, path in found.items()
        if (bare := ENDINGS.sub("", key)) != key and bare in found
    }


def _read_classes(folder: Path) -> tuple[list[ClassInfo], Path | None, bool]:
    """The classes, the file that names them, and whether it has the masks' colours."""
    for place in (folder, folder.parent):
        there = {name.lower(): place / name for name in list_names(place)}
        for name in TABLES:
            if name in there:
                return _read_table(there[name]), there[name], True
        for name in NAMES:
            if name in there:
                names = read_class_names(there[name])
                infos = [ClassInfo(name=n, color=voc_color(i)) for i, n in enumerate(names)]
                return infos, there[name], False
    return [], None, False


def _read_table(path: Path) -> list[ClassInfo]:
    """A line is a name and three numbers, in either order, with whatever stands between them."""
    classes: list[ClassInfo] = []
    for number, line in enumerate(read_lines(path), start=1):
        numbers = re.findall(r"(?<![\w.])\d+(?![\w.])", line)
        name = re.sub(r"(?<![\w.])\d+(?![\w.])", " ", line).strip(" \t,;:\"'")
        name = re.sub(r"[\s,;:]+", " ", name)
        if line.startswith("#") or (number == 1 and not numbers):
            continue
        if len(numbers) < 3 or not name or any(int(value) > 255 for value in numbers[:3]):
            raise DataError(
                f"{path}: line {number} is no name and colour: {line!r}.",
                fix="Write NAME,RED,GREEN,BLUE, each 0 to 255.",
            )
        red, green, blue = (int(value) for value in numbers[:3])
        color: Color = (red, green, blue)
        if any(info.color == color or info.name == name for info in classes):
            raise DataError(
                f"{path}: line {number} repeats a name or a colour: {line!r}.",
                fix="Give each class a name and a colour of its own.",
            )
        classes.append(ClassInfo(name=name, color=color))
    if not classes:
        raise DataError(f"{path} names no class.", fix="Write NAME,RED,GREEN,BLUE a line.")
    return classes

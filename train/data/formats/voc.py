"""PASCAL VOC 2012: JPEGImages, SegmentationClass (palette PNG, 255 = void), ImageSets lists.

Source of the layout: the VOC 2012 development kit, section "Segmentation". `labelmap.txt`, which
CVAT writes beside the folders (`name:r,g,b:parts:actions`), replaces VOC's own 21 classes.
"""

from pathlib import Path

from train.data.dataset import ClassInfo, Color, ListName
from train.data.formats import Source, index_by_stem, read_lines
from train.data.masks import VOID, voc_color
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
LISTS: tuple[ListName, ...] = ("train", "val", "test")


def recognise(folder: Path) -> bool:
    """Both picture folders are there."""
    return (folder / "JPEGImages").is_dir() and (folder / "SegmentationClass").is_dir()


def read(folder: Path) -> Source:
    """The pairs and the published lists of a `VOC2012` folder."""
    labelmap = folder / "labelmap.txt"
    named = labelmap.exists()
    images = index_by_stem(folder / "JPEGImages", (".jpg", ".jpeg", ".png"))
    return Source(
        layout="voc",
        classes=_read_labelmap(labelmap) if named else _default_classes(),
        ignore_index=VOID,
        images=images,
        masks=index_by_stem(folder / "SegmentationClass", (".png",)),
        lists=_read_lists(folder / "ImageSets" / "Segmentation"),
        class_source=labelmap if named else None,
        colors_bind=named,
    )


def _default_classes() -> list[ClassInfo]:
    return [ClassInfo(name=name, color=voc_color(i)) for i, name in enumerate(CLASSES)]


def _read_lists(folder: Path) -> dict[ListName, list[str]]:
    paths = {name: folder / f"{name}.txt" for name in LISTS}
    return {name: read_lines(path) for name, path in paths.items() if path.exists()}


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

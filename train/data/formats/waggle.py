"""Waggle's training container: `image/`, `gt_image/` (grey ids) and `class_names.list`.

The layout has neither split nor void; `config.list`, which may lie beside it, is the trainer's.
"""

from pathlib import Path

from train.data.dataset import ClassInfo
from train.data.formats import Source, index_by_stem, read_lines
from train.data.masks import voc_color
from train.errors import DataError

NAMES = "class_names.list"


def recognise(folder: Path) -> bool:
    """Both picture folders are there."""
    return (folder / "image").is_dir() and (folder / "gt_image").is_dir()


def read(folder: Path) -> Source:
    """The pairs of a storage folder."""
    path = folder / NAMES
    if not path.exists():
        raise DataError(
            f"{folder} has image/ and gt_image/ but no {NAMES}.",
            fix=f"Write {path}: one class name a line, class 0 first.",
        )
    names = read_lines(path)
    if not names or len(set(names)) < len(names):
        raise DataError(
            f"{path} names no class, or one class twice.", fix="Give each class one line."
        )
    return Source(
        layout="waggle",
        classes=[ClassInfo(name=name, color=voc_color(i + 1)) for i, name in enumerate(names)],
        ignore_index=None,
        images=index_by_stem(folder / "image", (".jpg", ".jpeg", ".png")),
        masks=index_by_stem(folder / "gt_image", (".png",)),
        class_source=path,
    )

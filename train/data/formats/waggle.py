"""Waggle's training containers: grey masks of ids, and `class_names.list`, in three generations.

`image/` and `gt_image/`; `train/images/` and `train/labels/`; `images/` and `labels/`. None has a
split or void, but for `test/`, `val/` or `valid/` beside the second's `train/`. `config.list` may
lie beside them: it is the trainer's. Masks that were saved as JPEG have greys that are no ids any
more: they are told apart by how bright they are (`train.data.values.split_greys`).
"""

from pathlib import Path

from train.data.dataset import ClassInfo, ListName
from train.data.formats import (
    IMAGE_SUFFIXES,
    Gathering,
    Source,
    index_by_stem,
    read_class_names,
)
from train.data.formats._folders import holds
from train.data.masks import voc_color
from train.errors import DataError

NAMES = "class_names.list"
GENERATIONS = (("image", "gt_image"), ("train/images", "train/labels"), ("images", "labels"))
PARTS: dict[str, ListName] = {"train": "train", "val": "val", "valid": "val", "test": "test"}


def recognise(folder: Path) -> bool:
    """A pair of picture folders is there, and what only Waggle has beside it."""
    pair = _find_pair(folder)
    if pair is None:
        return False
    return pair == GENERATIONS[0] or (folder / NAMES).exists() or (folder / "config.list").exists()


def read(folder: Path) -> Source:
    """The pairs of a storage folder."""
    path = folder / NAMES
    if not path.exists():
        raise DataError(
            f"{folder} has Waggle's folders but no {NAMES}.",
            fix=f"Write {path}: one class name a line, class 0 first.",
        )
    pair = _find_pair(folder)
    assert pair is not None
    found = Gathering()
    for part in PARTS if pair == GENERATIONS[1] else ["train"]:
        shown, drawn = (folder / name.replace("train/", f"{part}/") for name in pair)
        found.add(part, PARTS[part], index_by_stem(shown), index_by_stem(drawn))
    return Source(
        layout="waggle",
        classes=[
            ClassInfo(name=name, color=voc_color(i + 1))
            for i, name in enumerate(read_class_names(path))
        ],
        ignore_index=None,
        images=found.images,
        masks=found.masks,
        lists=found.lists if len(found.lists) > 1 else {},
        class_source=path,
    )


def _find_pair(folder: Path) -> tuple[str, str] | None:
    """Two folders with pictures in them, not in folders further down."""
    return next(
        (
            pair
            for pair in GENERATIONS
            if all(holds(folder / name, IMAGE_SUFFIXES, depth=0) for name in pair)
        ),
        None,
    )

"""Waggle's training containers: grey masks of ids, and `class_names.list`, in three generations.

`image/` and `gt_image/`; `train/images/` and `train/labels/`; `images/` and `labels/`. None has a
split or void, but for `test/` or `val/` beside the second's `train/`. `config.list`, which may lie
beside them, is the trainer's. Masks that were saved as JPEG have greys that are no ids any more:
they are told apart by how bright they are (`train.data.survey.split_greys`).
"""

from pathlib import Path

from train.data.dataset import ClassInfo, ListName
from train.data.formats import Source, index_by_stem, read_class_names
from train.data.masks import voc_color
from train.errors import DataError

NAMES = "class_names.list"
GENERATIONS = (("image", "gt_image"), ("train/images", "train/labels"), ("images", "labels"))
PARTS: tuple[ListName, ...] = ("train", "val", "test")


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
    images: dict[str, Path] = {}
    masks: dict[str, Path] = {}
    lists: dict[ListName, list[str]] = {}
    for part in PARTS if pair == GENERATIONS[1] else PARTS[:1]:
        places = [folder / name.replace("train/", f"{part}/") for name in pair]
        if places[0].is_dir():
            images |= index_by_stem(places[0])
            masks |= index_by_stem(places[1])
            lists[part] = sorted(index_by_stem(places[0]).keys() & index_by_stem(places[1]).keys())
    names = read_class_names(path)
    return Source(
        layout="waggle",
        classes=[ClassInfo(name=name, color=voc_color(i + 1)) for i, name in enumerate(names)],
        ignore_index=None,
        images=images,
        masks=masks,
        lists=lists if len(lists) > 1 else {},
        class_source=path,
    )


def _find_pair(folder: Path) -> tuple[str, str] | None:
    return next(
        (pair for pair in GENERATIONS if all((folder / name).is_dir() for name in pair)), None
    )

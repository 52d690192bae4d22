"""Folders that belong together, by what people call them: images, and what is drawn of them."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from train.data.dataset import ListName
from train.data.formats import IMAGE_SUFFIXES, list_folders, list_names

IMAGES = (
    *("images", "image", "imgs", "img", "jpegimages", "rgb", "frames", "photos", "pictures"),
    *("inputs", "input", "raw", "original", "originals", "x"),
)
MASKS = (
    *("masks", "mask", "labels", "label", "annotations", "annotation", "gt", "truth", "annots"),
    *("ground_truth", "groundtruth", "segmentation", "segmentations", "seg", "targets", "target"),
    *("gt_images", "gt_image", "labelled", "y"),
)
PARTS: dict[str, ListName] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
BESIDE = ("annot", "_annot", "_labels", "_label", "_masks", "_mask", "_gt", "-masks", "-labels")
Place = tuple[ListName | None, Path, Path]
"""The list that the pictures of two folders are, where one is named; images and masks."""


def find_places(folder: Path, drawn_names: Sequence[str] = MASKS) -> Iterator[Place]:
    """Folders that belong together; the names decide, in any case."""
    named = index_folders(folder)
    if pair := _pick(named, drawn_names):
        yield from _split(*pair)
        return
    for low, part in PARTS.items():
        if low not in named:
            continue
        if pair := _pick(index_folders(named[low]), drawn_names):
            yield part, *pair
        elif drawn := next((named[low + end] for end in BESIDE if low + end in named), None):
            yield part, named[low], drawn


def hold_masks(folder: Path) -> bool:
    """Whether there are pictures where masks belong."""
    return any(
        name.lower().endswith(IMAGE_SUFFIXES)
        for _, _, drawn in find_places(folder)
        for name in list_names(drawn)
    )


def index_folders(folder: Path) -> dict[str, Path]:
    """The folders in `folder`, by their names in lower case."""
    return {name.lower(): folder / name for name in list_folders(folder)}


def _pick(named: dict[str, Path], drawn_names: Sequence[str]) -> tuple[Path, Path] | None:
    shown = next((named[name] for name in IMAGES if name in named), None)
    drawn = next((named[name] for name in drawn_names if name in named), None)
    return (shown, drawn) if shown and drawn else None


def _split(shown: Path, drawn: Path) -> Iterator[Place]:
    """A pair of folders, or their parts below them; one without masks is unlabelled."""
    drawn_parts = index_folders(drawn)
    parts = index_folders(shown)
    if not parts.keys() & drawn_parts.keys():
        parts = {}
    for low, part in parts.items():
        yield PARTS.get(low), part, drawn_parts.get(low, drawn / part.name)
    if not parts or list_names(shown):
        yield None, shown, drawn

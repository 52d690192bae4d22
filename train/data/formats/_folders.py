"""Folders that belong together, by what people call them: images, and what is drawn of them."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from train.data.dataset import ListName
from train.data.formats import IMAGE_SUFFIXES, list_folders, list_names

IMAGES = (
    *("images", "image", "imgs", "img", "jpegimages", "rgb", "frames", "photos", "pictures"),
    *("inputs", "input", "raw", "original", "originals", "x", "sat", "image_2", "data"),
    *("701_stillsraw",),
)
MASKS = (
    *("masks", "mask", "labels", "label", "annotations", "annotation", "gt", "truth", "annots"),
    *("ground_truth", "groundtruth", "segmentation", "segmentations", "seg", "targets", "target"),
    *("gt_images", "gt_image", "labelled", "y", "ann", "anns", "semantic", "masks_machine"),
    *("labeledapproved", "trimaps"),
)
# They are the truth even where a folder called `mask` is there, too: that is the field of view.
MANUAL = ("1st_manual", "manual1", "manual")
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
SHOWN_BESIDE = ("", "_images", "_image", "_img", "_imgs", "-images")
KIND = re.compile(r"[ _-](png|jpe?g|tiff?|full|dir|raw)s?$")
Place = tuple[ListName | None, Path, Path | None]
"""The list that the pictures of two folders are, where one is named; images and masks, if any."""


def find_places(
    folder: Path, drawn_names: Sequence[str] = MASKS, endings: Sequence[str] = IMAGE_SUFFIXES
) -> Iterator[Place]:
    """Folders that belong together, some files with these `endings` in one; the names decide.

    Parts without masks follow those with some: their pictures are unlabelled.
    """
    named = index_folders(folder)
    if pair := _pick(named, drawn_names, endings):
        yield from _split(*pair)
        found = {*pair}
    else:
        places = [*_find_parts(named, drawn_names, endings)]
        yield from places
        found = {path for _, *paths in places for path in paths if path}
    if not found:
        return
    for low, part in PARTS.items():
        shown = next((named[low + end] for end in SHOWN_BESIDE if low + end in named), None)
        if shown and not any(path == shown or shown in path.parents for path in found):
            inner = index_folders(shown)
            shown = next((inner[name] for name in IMAGES if name in inner), shown)
            if holds(shown, IMAGE_SUFFIXES):
                yield part, shown, None


def hold_masks(folder: Path) -> bool:
    """Whether there are pictures where masks belong."""
    return next(find_places(folder), None) is not None


def index_folders(folder: Path) -> dict[str, Path]:
    """The folders in `folder`, by their names in lower case."""
    return {name.lower(): folder / name for name in list_folders(folder)}


def holds(folder: Path, endings: Sequence[str], depth: int = 2) -> bool:
    """Whether a file with one of these endings, or with none, is in `folder` or not far below."""
    names = list_names(folder)
    if any("." not in name or name.lower().endswith(tuple(endings)) for name in names):
        return True
    return depth > 0 and any(
        holds(folder / name, endings, depth - 1) for name in list_folders(folder)
    )


def _find_parts(
    named: dict[str, Path], drawn_names: Sequence[str], endings: Sequence[str]
) -> Iterator[Place]:
    for low, part in PARTS.items():
        if low in named and (pair := _pick(index_folders(named[low]), drawn_names, endings)):
            yield part, *pair
            continue
        shown = next((named[low + end] for end in SHOWN_BESIDE if low + end in named), None)
        drawn = next((named[low + end] for end in BESIDE if low + end in named), None)
        if shown and drawn and holds(drawn, endings):
            yield part, shown, drawn


def _pick(
    named: dict[str, Path], drawn_names: Sequence[str], endings: Sequence[str]
) -> tuple[Path, Path] | None:
    bare = {KIND.sub("", name): path for name, path in named.items()} | named
    shown = next((bare[n] for n in IMAGES if n in bare and holds(bare[n], IMAGE_SUFFIXES)), None)
    drawn = (bare[n] for n in (*MANUAL, *drawn_names) if n in bare and holds(bare[n], endings))
    masks = next((path for path in drawn if path != shown), None)
    return (shown, masks) if shown and masks else None


def _split(shown: Path, drawn: Path) -> Iterator[Place]:
    """A pair of folders, or their parts below them; one without masks is unlabelled."""
    drawn_parts, parts = index_folders(drawn), index_folders(shown)
    if not parts.keys() & drawn_parts.keys() & PARTS.keys():
        yield None, shown, drawn
        return
    for low, part in parts.items():
        yield PARTS.get(low), part, drawn_parts.get(low)
    if list_names(shown):
        yield None, shown, drawn

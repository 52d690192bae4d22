"""Labelled from unlabelled, train from val from test -> a `Dataset` on disk.

Images and masks are linked into the dataset's folder (copied across disks), never re-encoded. All
is checked before anything is written, and the folder appears whole or not at all.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from train.data.dataset import (
    LISTS,
    MANIFEST,
    Dataset,
    FileInfo,
    ListName,
    Sample,
    fingerprint,
    load_dataset,
    save_dataset,
)
from train.data.formats import Source, read_source
from train.data.masks import VOID, count_ids, read_mask, read_palette
from train.errors import DataError

Progress = Callable[[int, int], None]
"""Called with images done and images in all."""

_In = TypeVar("_In")
_Out = TypeVar("_Out")


@dataclass(frozen=True)
class SplitSettings:
    """Shares of the labelled images where no list was published; 0 to 1."""

    val: float = 0.2
    test: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class Separation:
    """A dataset that was, or would be, written. `notes` are sentences for people."""

    folder: Path
    dataset: Dataset
    notes: list[str]
    done_before: bool


@dataclass(frozen=True)
class _Checked:
    sample: Sample
    files: dict[str, FileInfo]
    pixels: NDArray[np.int64]


def plan_separation(
    source: Source, split: SplitSettings
) -> tuple[dict[ListName, list[str]], list[str]]:
    """Which image goes to which list, and what a person should know of it. Opens no image.

    Raises:
        DataError: nothing is labelled, a published list names an image or mask that is not there,
            or no image is left to train or to validate on.
    """
    _check_split(split)
    if len(source.classes) > VOID:
        raise DataError(
            f"{source.class_source} names {len(source.classes)} classes; a mask of one byte a "
            f"pixel has room for {VOID}.",
            fix="Join classes.",
        )
    labelled = sorted(source.images.keys() & source.masks.keys())
    if not labelled:
        raise DataError(
            f"No image of the {source.layout} dataset has a mask.",
            fix="Check that images and masks have the same names but for the ending.",
        )
    lists: dict[ListName, list[str]]
    if source.lists.get("train") and source.lists.get("val"):
        lists, notes = _published_lists(source, labelled)
    else:
        lists, notes = _seeded_lists(labelled, split), []
    lists["unlabelled"] = sorted(source.images.keys() - source.masks.keys())
    orphans = sorted(source.masks.keys() - source.images.keys())
    if orphans:
        notes.append(f"{len(orphans)} masks have no image and are left out: {_some(orphans)}.")
    _check_lists(lists, split)
    return lists, notes


def separate_dataset(
    folder: Path,
    target: Path,
    split: SplitSettings | None = None,
    name: str | None = None,
    progress: Progress = lambda _done, _total: None,
) -> Separation:
    """Write the dataset found in `folder` to `target`. Safe to repeat.

    Raises:
        DataError: the layout is unknown; an image or mask is unreadable, or they do not fit each
            other or the classes; the target holds something else.
    """
    split = split or SplitSettings()
    if folder.name.endswith(".partial"):
        raise DataError(
            f"{folder} is an extraction that was interrupted.", fix="Repeat segaway extract first."
        )
    source = read_source(folder)
    lists, notes = plan_separation(source, split)
    dataset = _check_all(source, lists, name or folder.name, progress)
    if (target / MANIFEST).exists():
        there = load_dataset(target)
        if there.fingerprint == dataset.fingerprint:
            return Separation(target, there, notes, done_before=True)
    if target.exists() and any(target.iterdir()):
        raise DataError(
            f"{target} exists and holds something else.", fix="Give another --to, or remove it."
        )
    _write(source, dataset, target)
    return Separation(target, dataset, notes, done_before=False)


def _check_split(split: SplitSettings) -> None:
    if not (0 < split.val < 1 and 0 <= split.test < 1 and split.val + split.test < 1):
        raise DataError(
            f"--val {split.val} and --test {split.test} leave too little to train on.",
            fix="Give shares of the labelled images, such as --val 0.2 --test 0.1.",
        )


def _check_lists(lists: dict[ListName, list[str]], split: SplitSettings) -> None:
    for name in ("train", "val"):
        if not lists[name]:
            raise DataError(
                f"The {name} list is empty: {sum(map(len, lists.values()))} images are too few "
                f"for --val {split.val} --test {split.test}.",
                fix="Label more images or change --val and --test.",
            )


def _published_lists(
    source: Source, labelled: list[str]
) -> tuple[dict[ListName, list[str]], list[str]]:
    """The lists as published: every id must have an image, and outside test a mask."""
    known = set(labelled)
    lists: dict[ListName, list[str]] = {name: source.lists.get(name, []) for name in LISTS}
    for name, ids in lists.items():
        _check_published(source, name, ids)
    lists["test"] = [key for key in lists["test"] if key in known]
    listed = {key for ids in lists.values() for key in ids}
    unlisted = [key for key in labelled if key not in listed]
    notes = (
        [f"{len(unlisted)} labelled images are in no list and are left out: {_some(unlisted)}."]
        if unlisted
        else []
    )
    return lists, notes


def _check_published(source: Source, name: str, ids: list[str]) -> None:
    if len(set(ids)) < len(ids):
        twice = sorted({key for key in ids if ids.count(key) > 1})
        raise DataError(f"The {name} list names {_some(twice)} twice.", fix="Remove the second.")
    for key in ids:
        if key not in source.images:
            raise DataError(
                f"The {name} list names {key}, which has no image.",
                fix=f"Restore the image, or remove {key} from the {name} list.",
            )
        if key not in source.masks and name != "test":
            raise DataError(
                f"{source.images[key]} is in the {name} list and has no mask.",
                fix=f"Restore the mask of {key}, or remove it from the {name} list.",
            )


def _seeded_lists(labelled: list[str], split: SplitSettings) -> dict[ListName, list[str]]:
    """A split that depends on the seed and the names alone: the same on every machine."""

    def rank(key: str) -> bytes:
        return hashlib.sha256(f"{split.seed}:{key}".encode()).digest()

    order = sorted(labelled, key=rank)
    val = max(1, round(split.val * len(order)))
    test = round(split.test * len(order))
    return {
        "val": sorted(order[:val]),
        "test": sorted(order[val : val + test]),
        "train": sorted(order[val + test :]),
        "unlabelled": [],
    }


def _check_all(
    source: Source, lists: dict[ListName, list[str]], name: str, progress: Progress
) -> Dataset:
    """Open every image and mask of `lists` and describe them."""
    keys = [key for ids in lists.values() for key in ids]
    checked = dict(
        zip(
            keys,
            _map_parallel(lambda key: _check_pair(source, key), keys, progress),
            strict=True,
        )
    )
    samples = {part: [checked[key].sample for key in lists[part]] for part in LISTS}
    files = {path: info for item in checked.values() for path, info in item.files.items()}
    pixels = sum((item.pixels for item in checked.values()), np.zeros(256, np.int64))
    return Dataset(
        name=name,
        layout=source.layout,
        classes=source.classes,
        ignore_index=source.ignore_index,
        fingerprint=fingerprint(source.classes, source.ignore_index, samples, files),
        pixels={info.name: int(pixels[i]) for i, info in enumerate(source.classes)},
        lists=samples,
        files=dict(sorted(files.items())),
    )


def _map_parallel(
    work: Callable[[_In], _Out], items: list[_In], progress: Progress
) -> Iterable[_Out]:
    # Threads are enough: Pillow, hashlib and NumPy release the interpreter lock where time goes.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done, result in enumerate(pool.map(work, items), start=1):
            progress(done, len(items))
            yield result


def _check_pair(source: Source, key: str) -> _Checked:
    image, mask = source.images[key], source.masks.get(key)
    width, height = _image_size(image)
    pixels = np.zeros(256, np.int64)
    image_path = f"images/{image.name}"
    files = {image_path: _describe(image)}
    mask_path = None
    if mask:
        pixels = _check_mask(source, image, (width, height), mask)
        mask_path = f"masks/{mask.name}"
        files[mask_path] = _describe(mask)
    sample = Sample(id=key, image=image_path, mask=mask_path, width=width, height=height)
    return _Checked(sample, files, pixels)


def _image_size(path: Path) -> tuple[int, int]:
    """Width and height as stored; the header is read, not the pixels."""
    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
        raise DataError(
            f"{path}: the image cannot be read ({error}).",
            fix="Restore that file, or remove it and its mask.",
        ) from error


def _check_mask(
    source: Source, image: Path, size: tuple[int, int], mask: Path
) -> NDArray[np.int64]:
    ids = read_mask(mask)
    if ids.shape != (size[1], size[0]):
        raise DataError(
            f"{mask} is {ids.shape[1]}x{ids.shape[0]} and its image {image.name} is "
            f"{size[0]}x{size[1]}.",
            fix="Resize the mask with nearest neighbour, or remove the pair.",
        )
    pixels = count_ids(ids)
    present = np.flatnonzero(pixels).tolist()
    beyond = [i for i in present if i >= len(source.classes) and i != source.ignore_index]
    if beyond:
        named = source.class_source or f"the {source.layout} layout"
        raise DataError(
            f"{mask} has the ids {_some(map(str, beyond))}; {named} names "
            f"{len(source.classes)} classes, 0 to {len(source.classes) - 1}.",
            fix="Name every class there, or correct the mask.",
        )
    if source.colors_bind:
        _check_colors(source, mask, pixels)
    return pixels


def _check_colors(source: Source, mask: Path, pixels: NDArray[np.int64]) -> None:
    """A class list in another order than the masks' ids would train under wrong names."""
    palette = read_palette(mask)
    for i, info in enumerate(source.classes):
        if pixels[i] and i < len(palette) and palette[i] != info.color:
            raise DataError(
                f"{mask} colours the id {i} {palette[i]}, but {source.class_source} says that "
                f"class {i} is {info.name} with the colour {info.color}.",
                fix="Put the classes there in the order of the ids, or mend the colours.",
            )


def _describe(path: Path) -> FileInfo:
    with path.open("rb") as reader:
        digest = hashlib.file_digest(reader, "sha256").hexdigest()
    return FileInfo(size=path.stat().st_size, sha256=digest)


def _write(source: Source, dataset: Dataset, target: Path) -> None:
    partial = target.with_name(target.name + ".partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        for folder in ("images", "masks"):
            (partial / folder).mkdir(parents=True)
        for sample in (sample for ids in dataset.lists.values() for sample in ids):
            _link(source.images[sample.id], partial / sample.image)
            if sample.mask:
                _link(source.masks[sample.id], partial / sample.mask)
        save_dataset(dataset, partial)
        partial.rename(target)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise DataError(
            f"{error.filename or target}: {error.strerror}; nothing was written.",
            fix="Mend that, or give a --to on another disk, and repeat the command.",
        ) from error


def _link(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source.resolve())
    except OSError:
        shutil.copy2(source, target)


def _some(names: Iterable[str]) -> str:
    """The first few of `names`."""
    listed = list(names)
    return ", ".join(listed[:3]) + (f" and {len(listed) - 3} more" if len(listed) > 3 else "")

"""segaway's own: what `segaway separate` writes, with `dataset.json`."""

import os
from pathlib import Path

from train.data.dataset import LISTS, MANIFEST, ListName, Sample, load_dataset
from train.data.formats import Source
from train.errors import DataError


def recognise(folder: Path) -> bool:
    """The manifest and the pictures are there."""
    return (folder / MANIFEST).is_file() and (folder / "images").is_dir()


def read(folder: Path) -> Source:
    """The dataset as it was separated: its classes, its lists and its images."""
    made = load_dataset(folder)
    samples = [sample for name in LISTS for sample in made.lists[name]]
    for sample in samples:
        _check(folder, sample)
    lists: dict[ListName, list[str]] = {
        name: [sample.id for sample in made.lists[name]]
        for name in LISTS
        if name != "unlabelled" and made.lists[name]
    }
    return Source(
        layout="segaway",
        classes=made.classes,
        ignore_index=made.ignore_index,
        images={sample.id: folder / sample.image for sample in samples},
        masks={sample.id: folder / sample.mask for sample in samples if sample.mask},
        lists=lists,
        class_source=folder / MANIFEST,
        fixed_classes=made.fixed_classes,
        task=made.task,
        runlength_size=made.runlength_size,
    )


def _check(folder: Path, sample: Sample) -> None:
    """Refuse what would be read, or written, outside of the dataset."""
    paths = [sample.image, *([sample.mask] if sample.mask else [])]
    inside = all(Path(os.path.normpath(folder / path)).is_relative_to(folder) for path in paths)
    if not inside or sample.id in ("", ".", "..") or {"/", "\\"} & {*sample.id}:
        raise DataError(
            f"{folder / MANIFEST}: the sample {sample.id!r} is not inside of the dataset.",
            fix="Do not trust that manifest; separate the data as they were published.",
        )

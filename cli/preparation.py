"""DATASET -> a separated dataset on this machine, extracted and separated where it is not yet."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.config import Settings
from cli.console import Console, format_size
from train.data.dataset import MANIFEST, ClassInfo, Dataset, load_dataset
from train.data.extract import extract_archive, survey_archive
from train.data.formats import Source, read_source
from train.data.separate import separate_dataset
from train.data.split import SplitSettings
from train.errors import DataError

SUFFIXES = (".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tar", ".zip")


@dataclass(frozen=True)
class Preparation:
    """Where the parts of a dataset are, or will be. `folder` is the separated dataset."""

    source: Path
    name: str
    extracted: Path | None
    folder: Path
    split: SplitSettings
    layout: str = ""

    @property
    def is_done(self) -> bool:
        return (self.folder / MANIFEST).exists()


def plan_preparation(source: Path, settings: Settings, home: Path) -> Preparation:
    """Where the dataset of `source` belongs. Reads names and times alone.

    Raises:
        DataError: there is nothing at `source`.
    """
    source = source.absolute()
    split, layout = read_split(settings), settings.layout
    if not source.exists():
        raise DataError(f"{source} does not exist.", fix="Give an archive or a folder.")
    if (source / MANIFEST).exists():
        return Preparation(source, load_dataset(source).name, None, source, split)
    chosen = _digest(f"{split} {layout}")
    name = next((source.name[: -len(s)] for s in SUFFIXES if source.name.endswith(s)), source.name)
    place = home / "datasets" / f"{name}-{_digest(_identify(source))}"
    extracted = None if source.is_dir() else place / "extracted"
    return Preparation(source, name, extracted, place / f"separated-{chosen}", split, layout)


def read_split(settings: Settings) -> SplitSettings:
    """How lists are made where none are published."""
    return SplitSettings(settings.val, settings.test, settings.split_seed, settings.group_by)


def prepare_dataset(preparation: Preparation, console: Console) -> Dataset:
    """Extract and separate what is not yet; the dataset. Safe to repeat."""
    if preparation.is_done:
        return load_dataset(preparation.folder)
    folder = preparation.source
    if preparation.extracted:
        folder = preparation.extracted
        with console.count(f"extract {preparation.source.name}") as update:
            found = extract_archive(
                preparation.source, folder, lambda files, _bytes: update(files, 0)
            )
        console.say(f"Extracted {found.files} files, {format_size(found.size_bytes)}.")
    with console.count("separate") as update:
        made = separate_dataset(
            *(folder, preparation.folder, preparation.split, preparation.name),
            progress=update,
            layout=preparation.layout,
        )
    for note in made.notes:
        console.say(f"Note: {note}")
    show_dataset(made.dataset, console)
    return made.dataset


def describe_preparation(preparation: Preparation) -> tuple[list[str], int]:
    """What preparing would do, in lines, and the bytes of the data. Reads; writes nothing."""
    if preparation.is_done:
        dataset = load_dataset(preparation.folder)
        return [f"use {preparation.folder} ({_count(dataset.counts)})"], dataset.size_bytes
    if preparation.extracted:
        files, size = survey_archive(preparation.source)
        return [
            f"extract {preparation.source}: {files} files, {format_size(size)}, "
            f"to {preparation.extracted}",
            f"separate {preparation.extracted} to {preparation.folder}",
        ], size
    found = read_source(preparation.source, preparation.layout)
    size = sum(p.stat().st_size for p in preparation.source.rglob("*") if p.is_file())
    line = f"separate {preparation.source} to {preparation.folder} ({summarise_source(found)})"
    return [line], size


def summarise_source(source: Source) -> str:
    """The layout, and how many pairs it has by their names."""
    labelled = len(source.images.keys() & source.masks.keys())
    return (
        f"{source.layout}: {labelled} images with a mask, {len(source.images) - labelled} without"
    )


def show_dataset(dataset: Dataset, console: Console) -> None:
    """Name, counts, and a table of the classes."""
    console.say(f"{dataset.name}: {dataset.layout} layout, {_count(dataset.counts)}.")
    show_classes(dataset.classes, dataset.pixel_share, console)


def show_classes(
    classes: Sequence[ClassInfo], share: Mapping[str, float], console: Console
) -> None:
    """A table of classes, with their colours and shares of the pixels."""
    rows = [
        [str(i), info.name, "#{:02x}{:02x}{:02x}".format(*info.color), f"{share[info.name]:.2%}"]
        for i, info in enumerate(classes)
    ]
    console.table(["id", "class", "colour", "% of pixels"], rows)


def summarise_dataset(dataset: Dataset) -> dict[str, object]:
    """What the run's record and --json say of a dataset."""
    return {
        "name": dataset.name,
        "layout": dataset.layout,
        "classes": dataset.class_names,
        "counts": dataset.counts,
    }


def _count(counts: Mapping[Any, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def _identify(source: Path) -> str:
    """Changes when the archive or anything in the folder does; opens no file."""
    paths = [source] if source.is_file() else sorted(p for p in source.rglob("*") if p.is_file())
    parts = [f"{p}:{p.stat().st_size}:{p.stat().st_mtime_ns}" for p in paths]
    return os.linesep.join([str(source), *parts])


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]

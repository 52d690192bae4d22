"""Labelled from unlabelled, train from val from test -> a `Dataset` on disk.

Images and masks are linked into the dataset's folder (copied across disks), never re-encoded; a
mask that is no file of ids is written as one. All is checked before anything is written, and the
folder appears whole or not at all.
"""

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from train.data.dataset import (
    LISTS,
    MANIFEST,
    Dataset,
    FileInfo,
    Sample,
    fingerprint,
    load_dataset,
    save_dataset,
)
from train.data.downloads import open_source
from train.data.findings import Finding, refuse_errors
from train.data.masks import write_mask
from train.data.split import Lists, SplitSettings, check_split, choose_lists
from train.data.survey import Progress, Survey, hash_file, survey_source
from train.data.truths import read_truth_file
from train.data.values import apply_values
from train.errors import DataError


@dataclass(frozen=True)
class Separation:
    """A dataset that was written, or found to be there. `notes` are sentences for people."""

    folder: Path
    dataset: Dataset
    notes: list[str]
    done_before: bool


@contextmanager
def plan_separation(
    folder: Path,
    split: SplitSettings,
    layout: str | None = None,
    progress: Progress = lambda _done, _total: None,
) -> Iterator[tuple[Survey, Lists, list[Finding]]]:
    """The dataset in `folder` as it would be separated. Looks at every picture; writes nothing.

    Raises:
        DataError: the layout is unknown; an image or mask is unreadable, or they do not fit each
            other or the classes; no list can be made.
    """
    if folder.name.endswith(".partial"):
        raise DataError(
            f"{folder} is an extraction that was interrupted.", fix="Repeat segaway extract first."
        )
    check_split(split)
    with open_source(folder, layout) as source:
        survey = survey_source(source, progress)
        refuse_errors(survey.findings)
        lists, findings = choose_lists(survey, split)
        yield survey, lists, [*survey.findings, *findings]


def separate_dataset(
    folder: Path,
    target: Path,
    split: SplitSettings | None = None,
    name: str | None = None,
    progress: Progress = lambda _done, _total: None,
    layout: str | None = None,
) -> Separation:
    """Write the dataset found in `folder` to `target`. Safe to repeat.

    Raises:
        DataError: as `plan_separation`; or the target holds something else.
    """
    partial = target.with_name(target.name + ".partial")
    planned = plan_separation(folder, split or SplitSettings(), layout, progress)
    with planned as (survey, lists, findings), _no_remains(partial, target):
        notes = [f"{each.message} {each.fix}".strip() for each in findings]
        dataset = _write(survey, lists, name or folder.name, partial)
        if (target / MANIFEST).exists():
            there = load_dataset(target)
            if there.fingerprint == dataset.fingerprint:
                return Separation(target, there, notes, done_before=True)
        if target.exists() and any(target.iterdir()):
            raise DataError(
                f"{target} exists and holds something else.", fix="Give another --to, or remove it."
            )
        partial.rename(target)
    return Separation(target, dataset, notes, done_before=False)


@contextmanager
def _no_remains(partial: Path, target: Path) -> Iterator[None]:
    """Whatever happens, nothing half-written is left."""
    try:
        shutil.rmtree(partial, ignore_errors=True)
        yield
    except OSError as error:
        raise DataError(
            f"{error.filename or target}: {error.strerror}; nothing was written.",
            fix="Mend that, or give a --to on another disk, and repeat the command.",
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write(survey: Survey, lists: Lists, name: str, folder: Path) -> Dataset:
    """The whole dataset, with its manifest."""
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    files: dict[str, FileInfo] = {}
    digests: dict[str, str] = {}
    samples = {
        part: [_write_sample(survey, key, folder, files, digests) for key in lists[part]]
        for part in LISTS
    }
    source, pixels = survey.source, survey.pixels
    ignored = source.ignore_index
    dataset = Dataset(
        name=name,
        layout=source.layout,
        task=source.task,
        classes=source.classes,
        fixed_classes=source.fixed_classes,
        ignore_index=ignored,
        runlength_size=source.runlength_size,
        fingerprint=fingerprint(source.classes, ignored, samples, digests),
        pixels={info.name: int(pixels[i]) for i, info in enumerate(source.classes)},
        lists=samples,
        files=dict(sorted(files.items())),
    )
    save_dataset(dataset, folder)
    return dataset


def _write_sample(
    survey: Survey, key: str, folder: Path, files: dict[str, FileInfo], digests: dict[str, str]
) -> Sample:
    """Link an image and link or write its mask; adds to files, and to what their content is."""
    checked = survey.checked[key]
    image = f"images/{key}{checked.suffix}"
    _link(survey.source.images[key], folder / image)
    files[image] = checked.image
    digests[image] = checked.image.sha256
    mask = None
    if checked.truth:
        mask, digest = _write_truth(survey, key, folder)
        files[mask] = hash_file(folder / mask)
        digests[mask] = digest or files[mask].sha256
    return Sample(id=key, image=image, mask=mask, width=checked.width, height=checked.height)


def _write_truth(survey: Survey, key: str, folder: Path) -> tuple[str, str]:
    """The mask's path, and, where it was written here, a hash of its ids: not of their encoding."""
    source, checked = survey.source, survey.checked[key]
    assert checked.truth
    if checked.truth.path and not source.values:
        mask = f"masks/{key}{checked.truth.path.suffix.lower() or '.png'}"
        _link(checked.truth.path, folder / mask)
        return mask, ""
    mask = f"masks/{key}.png"
    _, values = read_truth_file(source, source.masks[key], checked.height, checked.width)
    ids = apply_values(source, values)
    if source.task == "multilabel":
        Image.fromarray(ids).save(folder / mask, format="PNG")
    else:
        write_mask(folder / mask, ids, [info.color for info in source.classes])
    return mask, hashlib.sha256(repr(ids.shape).encode() + ids.tobytes()).hexdigest()


def _link(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source.resolve())
    except FileExistsError:
        raise
    except OSError:
        shutil.copy2(source, target)

"""Every picture of a dataset looked at, before anything is paid for: what it holds, what is wrong.

What the masks' values stand for is judged when all have been read (`train.data.values`).
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from train.data.dataset import Color, FileInfo
from train.data.findings import TURN, Finding, Severity, name_some
from train.data.formats import Drawn, Source
from train.data.masks import VOID, count_ids
from train.data.samples import UNDECODABLE
from train.data.truths import Truth, read_truth_file
from train.data.values import Counts, count_classes, settle_values
from train.errors import DataError

Progress = Callable[[int, int], None]
"""Called with images done and images in all."""

ORIENTATION = 274
"""The EXIF tag that says how an image is to be turned before it is shown."""
TURNED = (5, 6, 7, 8)
# Decoded at an eighth of its size: all bytes are read, and most of the time is saved.
GLANCE = 8
DEEP_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")
RARE_SHARE = 1e-4

_In = TypeVar("_In")
_Out = TypeVar("_Out")


@dataclass(frozen=True)
class Checked:
    """What was found in one image and its mask. `counts` are pixels by value, as they are there.

    `truth` is None where the image has no mask; `is_broken` where one of the two cannot be used.
    """

    key: str
    width: int
    height: int
    image: FileInfo
    suffix: str
    truth: Truth | None
    counts: Counts
    findings: list[Finding]
    is_broken: bool = False


@dataclass(frozen=True)
class Survey:
    """A dataset as it was found. `source` has the classes, and what the masks' values stand for."""

    source: Source
    checked: dict[str, Checked]
    findings: list[Finding] = field(default_factory=list)

    @property
    def pixels(self) -> Counts:
        """Pixels by class id (and void), over all masks."""
        found = [self.count(key) for key in self.checked]
        return np.sum(found, axis=0, dtype=np.int64) if found else np.zeros(256, np.int64)

    def count(self, key: str) -> Counts:
        """Pixels by class id of one mask; of several classes each where they overlap."""
        return count_classes(self.source, self.checked[key].counts)


def survey_source(source: Source, progress: Progress = lambda _done, _total: None) -> Survey:
    """Look at every image and at its mask. Opens all; writes nothing.

    Raises:
        DataError: there are more classes than a mask has room for, or a name that is no text.
    """
    _check_classes(source)
    _check_names(source)
    wanted = sorted(source.images)
    found = _map_parallel(lambda key: _check(source, key), wanted, progress)
    checked = dict(zip(wanted, found, strict=True))
    counts = {key: each.counts for key, each in checked.items() if each.truth}
    settled, findings = settle_values(source, counts)
    findings = [
        *source.findings,
        *_find_orphans(source),
        *_join(finding for each in checked.values() for finding in each.findings),
        *_compare_palettes(source, checked),
        *findings,
    ]
    survey = Survey(settled, checked, findings)
    return replace(survey, findings=[*findings, *_judge_classes(survey), *_judge_sizes(survey)])


def _check_classes(source: Source) -> None:
    if len(source.classes) > VOID:
        raise DataError(
            f"{source.class_source} names {len(source.classes)} classes; a mask of one byte a "
            f"pixel has room for {VOID}.",
            fix="Join classes.",
        )


def _check_names(source: Source) -> None:
    """Names of older systems cannot be written into a manifest."""
    for key, path in source.images.items():
        if not key.isascii() and any("\ud800" <= character <= "\udfff" for character in key):
            raise DataError(
                f"{os.fsencode(path)!r} has a name that is no UTF-8.",
                fix="Rename it; convmv -r -f latin1 -t utf8 --notest FOLDER does so for all.",
            )


def _join(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Errors one by one; of what else files have in common the first, and how many there are."""
    same: dict[tuple[str, Severity], list[Finding]] = {}
    for finding in findings:
        if finding.severity == "error":
            yield finding
        else:
            same.setdefault((finding.kind, finding.severity), []).append(finding)
    for first, *rest in same.values():
        more = f" {len(rest)} more are like it." if rest else ""
        files = tuple(path for each in (first, *rest) for path in each.files)
        yield replace(first, message=first.message + more, files=files)


def _compare_palettes(source: Source, checked: Mapping[str, Checked]) -> list[Finding]:
    """Masks whose ids have several colours: they may stand for several things."""
    known: dict[int, tuple[Color, str]] = {}
    for key, each in checked.items():
        for number, color in (each.truth.colors if each.truth else {}).items():
            first, of = known.setdefault(number, (color, key))
            if first != color:
                files = tuple(str(source.masks[name]) for name in (of, key))
                message = (
                    f"{number} is coloured {first} in {files[0]} and {color} in {files[1]}: it is "
                    "taken for the same class."
                )
                fix = "Look at --sheet; save the masks with one palette if they are not alike."
                return [Finding("palettes_differ", "warning", message, fix, files)]
    return []


def _check(source: Source, key: str) -> Checked:
    path, mask = source.images[key], source.masks.get(key)
    findings: list[Finding] = []
    try:
        image, size, suffix = _check_image(path, mask, findings)
    except (DataError, OSError) as error:
        findings.append(_describe("unreadable_image", error, path))
        return _break(key, findings)
    checked = Checked(key, *size, image, suffix, None, np.zeros(256, np.int64), findings)
    if mask is None:
        return checked
    try:
        truth, ids = read_truth_file(source, mask, size[1], size[0])
    except DataError as error:
        findings.append(_describe("bad_mask", error, path if isinstance(mask, Drawn) else mask))
        return replace(checked, is_broken=True)
    findings += truth.findings
    return replace(checked, truth=truth, counts=count_ids(ids))


def _check_image(
    path: Path, mask: Path | Drawn | None, findings: list[Finding]
) -> tuple[FileInfo, tuple[int, int], str]:
    """Size, hash and ending of an image whose last byte was read."""
    try:
        with Image.open(path) as image:
            size, mode, kind = image.size, image.mode, (image.format or "").lower()
            frames = getattr(image, "n_frames", 1)
            turn = image.getexif().get(ORIENTATION, 1)
            image.draft(None, (max(1, size[0] // GLANCE), max(1, size[1] // GLANCE)))
            image.load()
    except UNDECODABLE as error:
        raise DataError(
            f"{path}: the image cannot be decoded ({error}).",
            fix="Restore that file, or remove it and its mask.",
        ) from error
    if frames > 1:
        findings.append(_note("animated", f"{path} has {frames} frames: the first is taken.", path))
    if mode in DEEP_MODES:
        raise DataError(
            f"{path}: the image has more than 8 bits a channel ({mode}).",
            fix="Scale it to 8 bits, as it should be seen, and save it again.",
        )
    if mode in ("RGBA", "LA", "PA") or (mode == "P" and "transparency" in image.info):
        findings.append(_note("alpha", f"{path} has an alpha channel: it is left out.", path))
    if mode == "CMYK":
        findings.append(_note("cmyk", f"{path} is CMYK: it is converted to RGB.", path))
    if turn in TURNED or turn == 3:
        findings.append(_judge_turn(path, mask, size, turn))
    return hash_file(path), size, path.suffix.lower() or f".{kind}"


def _judge_turn(path: Path, mask: Path | Drawn | None, size: tuple[int, int], turn: int) -> Finding:
    """An image that is shown turned: its mask may be of what was seen, or of what is stored."""
    message = f"{path} is stored turned (EXIF orientation {turn})"
    seen = size[::-1] if turn in TURNED else size
    if isinstance(mask, Path):
        try:
            with Image.open(mask) as drawn:
                if drawn.size == size and seen != size:
                    return _note(
                        "turned", f"{message}, and its mask is, too: taken as stored.", path
                    )
        except UNDECODABLE:
            pass
    return Finding("turned", "warning", f"{message}: it is taken as stored.", TURN, (str(path),))


def hash_file(path: Path) -> FileInfo:
    """Size and SHA-256 of a file."""
    with path.open("rb") as reader:
        digest = hashlib.file_digest(reader, "sha256").hexdigest()
    return FileInfo(size=path.stat().st_size, sha256=digest)


def _break(key: str, findings: list[Finding]) -> Checked:
    nothing = FileInfo(size=0, sha256="")
    return Checked(key, 0, 0, nothing, "", None, np.zeros(256, np.int64), findings, is_broken=True)


def _note(kind: str, message: str, path: Path) -> Finding:
    return Finding(kind, "note", message, files=(str(path),))


def _describe(kind: str, error: DataError | OSError, path: Path) -> Finding:
    if isinstance(error, DataError):
        return Finding(kind, "error", str(error), error.fix, (str(path),))
    message = f"{path}: {error.strerror or error}."
    return Finding(kind, "error", message, "Restore that file, or remove it.", (str(path),))


def _find_orphans(source: Source) -> list[Finding]:
    """Masks whose image is nowhere, and images that have no mask."""
    findings = []
    alone = sorted(source.images.keys() - source.masks.keys())
    if alone:
        files = tuple(str(source.images[key]) for key in alone)
        message = f"{len(alone)} images have no mask: they are unlabelled: {name_some(alone)}."
        findings.append(Finding("image_without_mask", "note", message, files=files))
    orphans = sorted(source.masks.keys() - source.images.keys() - source.urls.keys())
    if not orphans:
        return findings
    masks = [source.masks[key] for key in orphans]
    files = tuple(str(m.origin if isinstance(m, Drawn) else m) for m in masks)
    message = f"{len(orphans)} masks have no image and are left out: {name_some(files)}."
    fix = "Restore their images."
    return [*findings, Finding("mask_without_image", "warning", message, fix, files)]


def _judge_classes(survey: Survey) -> list[Finding]:
    """Classes that never appear, or hardly do."""
    pixels, classes = survey.pixels, survey.source.classes
    total = int(pixels[: len(classes)].sum())
    if not total:
        if not classes or not pixels[VOID]:
            return []
        message = "All pixels of all masks are void: there is nothing to learn."
        return [Finding("no_pixels", "error", message, "Check what the masks' values stand for.")]
    findings: list[Finding] = []
    absent = [info.name for i, info in enumerate(classes) if not pixels[i]]
    if absent:
        message = f"No mask has a pixel of {', '.join(absent)}: {len(classes) - len(absent)} of "
        message += f"{len(classes)} classes are there."
        fix = "Take them out of the classes, or train with --set allow_absent=true."
        fixed = survey.source.fixed_classes
        severity: Severity = "note" if fixed else "warning"
        findings.append(Finding("absent_class", severity, message, "" if fixed else fix))
    rare = [i for i in range(len(classes)) if 0 < pixels[i] < RARE_SHARE * total]
    for i in rare:
        share = pixels[i] / total
        message = f"{classes[i].name} has {share:.4%} of the pixels: extreme imbalance."
        fix = "--set class_weights=balanced counts rare classes more."
        findings.append(Finding("imbalance", "warning", message, fix))
    return findings


def _judge_sizes(survey: Survey) -> list[Finding]:
    sizes = {(c.width, c.height) for c in survey.checked.values() if not c.is_broken}
    if len(sizes) < 2:
        return []
    least, most = min(sizes, key=np.prod), max(sizes, key=np.prod)
    ends = f"from {least[0]} x {least[1]} to {most[0]} x {most[1]}"
    message = f"The images have {len(sizes)} sizes, {ends}."
    return [Finding("sizes", "note", message)]


def _map_parallel(
    work: Callable[[_In], _Out], items: list[_In], progress: Progress
) -> Iterable[_Out]:
    # Threads are enough: Pillow, hashlib and NumPy release the interpreter lock where time goes.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done, result in enumerate(pool.map(work, items), start=1):
            progress(done, len(items))
            yield result

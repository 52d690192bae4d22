"""Every picture of a dataset looked at, before anything is paid for: what it holds, what is wrong.

Nothing is decided file by file that is true of the whole: what a mask's values stand for is judged
by all masks together (`settle_values`).
"""

import hashlib
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from train.data.dataset import ClassInfo, FileInfo
from train.data.findings import Finding, Severity, name_some
from train.data.formats import Drawn, Source
from train.data.masks import VOID, Mask, count_ids, voc_color
from train.data.samples import UNDECODABLE
from train.data.truths import Truth, read_truth_file
from train.errors import DataError

Progress = Callable[[int, int], None]
"""Called with images done and images in all."""
Counts = NDArray[np.int64]

ORIENTATION = 274
"""The EXIF tag that says how an image is to be turned before it is shown."""
TURNED = (5, 6, 7, 8)
# Decoded at an eighth of its size: all bytes are read, and most of the time is saved.
GLANCE = 8
DEEP_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")
RARE_SHARE = 1e-4
LEAST_NOISE = 3

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
    """Look at every image and at its mask. Opens all; writes nothing."""
    wanted = sorted(source.images)
    found = _map_parallel(lambda key: _check(source, key), wanted, progress)
    checked = dict(zip(wanted, found, strict=True))
    settled, findings = settle_values(source, checked)
    findings = [
        *source.findings,
        *_find_orphans(source),
        *(finding for each in checked.values() for finding in each.findings),
        *findings,
    ]
    survey = Survey(settled, checked, findings)
    return replace(survey, findings=[*findings, *_judge_classes(survey), *_judge_sizes(survey)])


def settle_values(source: Source, checked: dict[str, Checked]) -> tuple[Source, list[Finding]]:
    """The source with its classes, and with what its masks' values stand for.

    Both are known from the layout, or follow from the values that all masks hold.
    """
    total = sum((each.counts for each in checked.values()), np.zeros(256, np.int64))
    present = np.flatnonzero(total).tolist()
    if source.task == "multilabel" or not present:
        return source, []
    classes = len(source.classes)
    if source.values is not None:
        unknown = [value for value in present if value not in source.values]
        return source, [_name_beyond(source, checked, unknown)] if unknown else []
    beyond = [v for v in present if v >= classes and v != source.ignore_index]
    if classes and not beyond:
        return source, []
    if present == [0, VOID] and classes in (0, 2):
        names = source.classes or _name_classes(2, ["background", "foreground"])
        message = "The masks hold 0 and 255: 255 is taken for class 1, and nothing is void."
        settled = replace(source, classes=names, ignore_index=None, values={0: 0, VOID: 1})
        return settled, [Finding("two_values", "note", message)]
    if classes in (0, 2) and not source.colors_bind and (split := split_greys(total)):
        values, message = split
        names = source.classes or _name_classes(2, ["background", "foreground"])
        settled = replace(source, classes=names, ignore_index=None, values=values)
        return settled, [Finding("noisy_greys", "warning", message)]
    if not classes:
        return _take_values(source, present)
    return source, [_name_beyond(source, checked, beyond)]


def split_greys(total: Counts) -> tuple[dict[int, int], str] | None:
    """Two clusters of greys as two ids, and what to say of it; None where there are not two.

    The threshold is Otsu's: it leaves the least variance within the two.

    Reference:
        Otsu 1979, "A threshold selection method from gray-level histograms".
    """
    present = np.flatnonzero(total)
    if len(present) < 3:
        return None
    greys, weights = np.arange(256), total / total.sum()
    low = np.cumsum(weights)[:-1]
    means = np.cumsum(weights * greys)
    mean_low = means[:-1] / np.maximum(low, 1e-12)
    mean_high = (means[-1] - means[:-1]) / np.maximum(1 - low, 1e-12)
    between = low * (1 - low) * (mean_high - mean_low) ** 2
    # The middle of all thresholds that are equally good: the gap between the clusters is empty.
    best = np.flatnonzero(between >= between.max() * (1 - 1e-9))
    threshold = int(best[len(best) // 2])
    spread = float((weights * (greys - means[-1]) ** 2).sum())
    gap = mean_high[threshold] - mean_low[threshold]
    # Noise that JPEG leaves is a small part of the variance, and on both sides; a third cluster is
    # no small part, and void, which is 255 beside ids, is one value alone.
    sides = [int((present <= threshold).sum()), int((present > threshold).sum())]
    if between.max() < 0.95 * spread or gap < 16 or min(sides) < LEAST_NOISE:
        return None
    values = {int(grey): int(grey > threshold) for grey in range(256)}
    message = (
        f"The masks hold {len(present)} greys in two clusters, around {mean_low[threshold]:.0f} "
        f"and {mean_high[threshold]:.0f}: up to {threshold} is taken for class 0, the rest for 1."
    )
    return values, message


def count_classes(source: Source, counts: Counts) -> Counts:
    """Pixels by class id from pixels by value."""
    found = np.zeros(256, np.int64)
    if source.task == "multilabel":
        for bit in range(len(source.classes)):
            found[bit] = counts[[v for v in range(VOID) if v >> bit & 1]].sum()
        found[VOID] = counts[VOID]
        return found
    for value in np.flatnonzero(counts):
        class_id = source.values.get(int(value), VOID) if source.values else int(value)
        found[class_id] += counts[value]
    return found


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
    fix = "Turn the pixels themselves, as by: mogrify -auto-orient, or exiftran -ai."
    return Finding("turned", "warning", f"{message}: it is taken as stored.", fix, (str(path),))


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
        return []
    findings = []
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


def _take_values(source: Source, present: list[int]) -> tuple[Source, list[Finding]]:
    """Classes that nobody has named: the values of the masks, where they can be ids."""
    ids = [value for value in present if value != VOID]
    if len(ids) > 64 or (ids and ids[-1] > 4 * len(ids) + 8):
        message = (
            f"The masks hold {len(present)} values, {name_some(map(str, present))}, and no file "
            "names the classes: they may be noise or colours."
        )
        fix = "Write class_names.list beside the folders: one name a line, class 0 first."
        return source, [Finding("no_classes", "error", message, fix)]
    count = (ids[-1] if ids else 0) + 1
    message = f"No file names the classes: they are called class_0 to class_{count - 1}."
    fix = "Write class_names.list beside the folders: one name a line, class 0 first."
    settled = replace(source, classes=_name_classes(count), ignore_index=VOID)
    return settled, [Finding("unnamed_classes", "note", message, fix)]


def _name_classes(count: int, names: list[str] | None = None) -> list[ClassInfo]:
    called = names or [f"class_{i}" for i in range(count)]
    return [ClassInfo(name=name, color=voc_color(i)) for i, name in enumerate(called)]


def _name_beyond(source: Source, checked: dict[str, Checked], beyond: list[int]) -> Finding:
    """Ids that no class has, and the first file that has one."""
    bad = [each for each in checked.values() if each.counts[beyond].any()]
    paths = [source.masks[each.key] for each in bad]
    files = tuple(str(p.origin if isinstance(p, Drawn) else p) for p in paths)
    first = [value for value in beyond if bad[0].counts[value]]
    named = source.class_source or f"the {source.layout} layout"
    last = len(source.classes) - 1
    message = (
        f"{files[0]} has the ids {name_some(map(str, first))}; {named} names {last + 1} classes, "
        f"0 to {last}."
    )
    return Finding(
        "ids_beyond", "error", message, "Name every class there, or mend the mask.", files
    )


def _map_parallel(
    work: Callable[[_In], _Out], items: list[_In], progress: Progress
) -> Iterable[_Out]:
    # Threads are enough: Pillow, hashlib and NumPy release the interpreter lock where time goes.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done, result in enumerate(pool.map(work, items), start=1):
            progress(done, len(items))
            yield result


def apply_values(source: Source, ids: Mask) -> Mask:
    """The ids of a mask whose values stand for them."""
    if not source.values:
        return ids
    table = np.full(256, VOID, np.uint8)
    for value, class_id in source.values.items():
        table[value] = class_id
    return table[ids]

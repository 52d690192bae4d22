"""What `segaway inspect` finds out of a dataset, and how it is shown."""

import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from cli.config import Settings
from cli.console import Console, format_size
from cli.errors import RunError
from cli.preparation import read_split, show_classes, summarise_source
from train.data.dataset import LISTS
from train.data.downloads import open_source
from train.data.extract import extract_archive, survey_archive
from train.data.findings import Finding
from train.data.formats import read_source
from train.data.sheet import draw_sheet
from train.data.split import Lists, choose_lists
from train.data.survey import Survey, survey_source
from train.errors import DataError

SIGNS = {"error": "Error", "warning": "Warning", "note": "Note"}
SEVERITIES = tuple(SIGNS)
MOST_SHOWN = 20


def inspect_dataset(
    path: Path, settings: Settings, console: Console, sheet: Path | None, names_only: bool
) -> None:
    """Show layout, task, classes, sizes, lists and findings.

    Raises:
        DataError: the layout is not known, or could be several.
        RunError: there are errors, all of which were shown.
    """
    if not path.exists():
        raise DataError(f"{path} does not exist.", fix="Give an archive or a folder.")
    if names_only:
        _inspect_names(path, settings, console)
        return
    with _open(path, console) as folder:
        _inspect_pixels(path, folder, settings, console, sheet)


def _inspect_names(path: Path, settings: Settings, console: Console) -> None:
    """What can be said without opening a picture, or writing what an archive holds."""
    if path.is_file():
        files, size = survey_archive(path)
        console.say(f"{path.name}: {files} files, {format_size(size)}; would be extracted first.")
        console.answer({"files": files, "bytes": size})
        return
    source = read_source(path, settings.layout)
    console.say(f"{path.name}: {summarise_source(source)}.")
    labelled = len(source.images.keys() & source.masks.keys())
    console.answer(
        {
            "layout": source.layout,
            "task": source.task,
            "classes": [info.name for info in source.classes],
            "ignore_index": source.ignore_index,
            "images": len(source.images),
            "masks": labelled,
        }
    )


def _inspect_pixels(
    path: Path, folder: Path, settings: Settings, console: Console, sheet: Path | None
) -> None:
    with open_source(folder, settings.layout) as source:
        with console.count("look") as update:
            survey = survey_source(source, update)
        lists, findings = _find_lists(survey, settings)
        findings = sorted([*survey.findings, *findings], key=lambda f: SEVERITIES.index(f.severity))
        _show(path, survey, lists, findings, console)
        if sheet:
            shown = draw_sheet(survey, sheet)
            console.say(f"{len(shown)} images with their masks are in {sheet}.")
        console.answer(_summarise(survey, lists, findings))
    errors = sum(finding.severity == "error" for finding in findings)
    if errors:
        raise RunError(
            f"{path} has {errors} errors: it cannot be trained on.", fix="Mend what is named above."
        )


@contextmanager
def _open(path: Path, console: Console) -> Iterator[Path]:
    """The folder of a dataset; an archive is extracted for as long as it is looked at."""
    if path.is_dir():
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="segaway-inspect-") as name:
        files, size = survey_archive(path)
        console.say(f"{path.name}: {files} files, {format_size(size)}.")
        with console.count(f"extract {path.name}") as update:
            extract_archive(path, Path(name) / path.stem, lambda done, _size: update(done, files))
        yield Path(name) / path.stem


def _find_lists(survey: Survey, settings: Settings) -> tuple[Lists, list[Finding]]:
    try:
        return choose_lists(survey, read_split(settings))
    except DataError as error:
        return {}, [Finding("lists", "error", str(error), error.fix)]


def _show(
    path: Path, survey: Survey, lists: Lists, findings: list[Finding], console: Console
) -> None:
    source = survey.source
    counts = ", ".join(f"{len(lists.get(name, []))} {name}" for name in LISTS)
    console.say(f"{path.name}: {source.layout} layout, {source.task}, {counts}.")
    named = f", named in {source.class_source}" if source.class_source else ""
    console.say(
        f"{len(_list_present(survey))} of {len(source.classes)} classes are in the masks{named}."
    )
    show_classes(source.classes, _share(survey), console)
    shown = Counter[str]()
    for finding in findings:
        shown[finding.kind] += 1
        if shown[finding.kind] <= MOST_SHOWN:
            console.say(f"{SIGNS[finding.severity]}: {finding.message} {finding.fix}".rstrip())
    for kind, count in shown.items():
        if count > MOST_SHOWN:
            console.say(f"{count - MOST_SHOWN} more of {kind}: --json lists all.")


def _list_present(survey: Survey) -> list[str]:
    """The classes of which there is a pixel."""
    pixels = survey.pixels
    return [info.name for i, info in enumerate(survey.source.classes) if pixels[i]]


def _share(survey: Survey) -> dict[str, float]:
    """Of each class among the labelled pixels; where classes overlap, among all pixels."""
    pixels, classes = survey.pixels, survey.source.classes
    if survey.source.task == "multilabel":
        total = sum(c.width * c.height for c in survey.checked.values() if c.truth)
    else:
        total = int(pixels[: len(classes)].sum())
    return {info.name: int(pixels[i]) / (total or 1) for i, info in enumerate(classes)}


def _summarise(survey: Survey, lists: Lists, findings: list[Finding]) -> dict[str, Any]:
    source = survey.source
    sizes = [(c.width, c.height) for c in survey.checked.values() if not c.is_broken]
    smallest, largest = (pick(sizes, key=np.prod, default=(0, 0)) for pick in (min, max))
    return {
        "layout": source.layout,
        "task": source.task,
        "classes": [info.name for info in source.classes],
        "classes_present": _list_present(survey),
        "ignore_index": source.ignore_index,
        "counts": {name: len(lists.get(name, [])) for name in LISTS},
        "sizes": {"count": len(set(sizes)), "smallest": smallest, "largest": largest},
        "pixel_share": {name: round(share, 6) for name, share in _share(survey).items()},
        "findings": [
            {
                "kind": finding.kind,
                "severity": finding.severity,
                "message": finding.message,
                "fix": finding.fix,
                "files": list(finding.files),
            }
            for finding in findings
        ],
    }

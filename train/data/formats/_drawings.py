"""What annotation tools write, on its way to masks: labels by name, shapes in order, pictures."""

import csv
import json
import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Container, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from train.data.dataset import ClassInfo, Color
from train.data.findings import TURN, Finding, name_some
from train.data.formats import IMAGE_SUFFIXES, Drawn, add_file, list_names, normalise, read_text
from train.data.masks import Mask, voc_color
from train.data.shapes import Drawable, draw_shapes
from train.errors import DataError

BACKGROUND = "background"
NAMES_OF_BACKGROUND = (BACKGROUND, "_background_", "__background__", "bg")
NORMAL_FORMS: tuple[Literal["NFC", "NFD"], ...] = ("NFC", "NFD")
LONGEST_FIELD = 2**27
RESTORE = "Restore the image that was labelled, or label it as it is now."
Key = TypeVar("Key", bound=Hashable)
Labelled = tuple[str, Drawable]
"""The name of a class, and what it covers."""


@dataclass(frozen=True)
class Wanted:
    """An image that a document names, and where it may lie."""

    name: str
    places: tuple[str, ...] = ()


def find_pictures(folder: Path, wanted: Mapping[Key, Wanted]) -> dict[Key, Path]:
    """The files of images, below `folder` and nowhere else, as far as they are there.

    One lies where its name says, else where no other file has its last part; a name without an
    ending may have any.

    Raises:
        DataError: a file is two of the images.
    """
    found = {key: path for key, each in wanted.items() if (path := _find_exactly(folder, each))}
    users: dict[Path, Wanted] = {}
    for key, path in found.items():
        if path in users:
            raise DataError(
                f"{path} is named twice, as {users[path].name} and as {wanted[key].name}.",
                fix="Remove one of the two, or restore the picture that is missing.",
            )
        users[path] = wanted[key]
    if len(found) == len(wanted):
        return found
    by_name = _index_by_name(folder, users)
    missing = Counter(_get_last(each) for key, each in wanted.items() if key not in found)
    for key, each in wanted.items():
        last = _get_last(each)
        if key not in found and missing[last] == 1 and (path := _find_alone(last, by_name)):
            found[key] = path
    return found


def _find_exactly(folder: Path, wanted: Wanted) -> Path | None:
    plain = wanted.name.replace("\\", "/")
    for form in NORMAL_FORMS:
        for place in (*wanted.places, ""):
            name = unicodedata.normalize(form, plain)
            path = Path(os.path.normpath(os.path.join(folder, place, name)))
            if path.is_relative_to(folder) and os.path.isfile(path):
                return path
    return None


def _get_last(wanted: Wanted) -> str:
    return normalise(wanted.name.replace("\\", "/").rpartition("/")[2])


def _find_alone(last: str, by_name: Mapping[str, list[Path]]) -> Path | None:
    found = by_name.get(last, [])
    if not found and not last.lower().endswith(IMAGE_SUFFIXES):
        found = [path for ending in IMAGE_SUFFIXES for path in by_name.get(last + ending, [])]
    return found[0] if len(found) == 1 else None


def _index_by_name(folder: Path, but: Container[Path]) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place, name)
            if name.lower().endswith(IMAGE_SUFFIXES) and name[0] != "." and path not in but:
                found.setdefault(normalise(name), []).append(path)
    return found


def name_classes(labels: Iterable[str], colors: dict[str, Color] | None = None) -> list[ClassInfo]:
    """Classes of these labels, in order; in front the background, where none is called so."""
    names = list(dict.fromkeys(labels))
    behind = [name for name in names if name.lower() in NAMES_OF_BACKGROUND]
    ordered = [*(behind or [BACKGROUND]), *(name for name in names if name not in behind)]
    known = colors or {}
    return [
        ClassInfo(name=name, color=known.get(name, voc_color(i))) for i, name in enumerate(ordered)
    ]


def parse_color(text: str) -> Color | None:
    """The colour that `#rrggbb` is; None for anything else."""
    try:
        value = int(text.removeprefix("#"), 16)
    except ValueError:
        return None
    return value >> 16 & 255, value >> 8 & 255, value & 255


def parse_label(label: object) -> str:
    """The name of a class.

    Raises:
        DataError: it is none.
    """
    if not isinstance(label, str) or not label.strip():
        raise DataError(f"A shape has the label {label!r}.", fix="Give it the name of its class.")
    return label


def read_json(path: Path, what: str, fix: str) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        DataError: there is none; says that the file is not `what`, and how to mend that.
    """
    try:
        content = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is no {what} ({error}).", fix=fix) from error
    if not isinstance(content, dict):
        raise DataError(f"{path} is no {what}: it has no {{...}}.", fix=fix)
    return content


def read_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The rows of a CSV that hold something, each with its number.

    Raises:
        DataError: a row cannot be read; a quote has no end.
    """
    csv.field_size_limit(LONGEST_FIELD)
    reader = csv.reader(read_text(path).splitlines(), strict=True)
    try:
        for row in reader:
            if any(word.strip() for word in row):
                if any("\n" in word for word in row):
                    raise csv.Error("a quote has no end")
                yield reader.line_num, row
    except csv.Error as error:
        raise DataError(
            f"{path}: line {reader.line_num} cannot be read: {error}.",
            fix="Mend that line: quotes come in pairs.",
        ) from error


def tell_absent(names: Sequence[str], document: str, fix: str) -> list[Finding]:
    """That images which a document names are not there, where some are not."""
    if not names:
        return []
    shown = [name.encode(errors="replace").decode() or "(no name)" for name in names]
    message = f"{len(shown)} images of {document} are not there and are left out: "
    message += f"{name_some(shown)}."
    return [Finding("mask_without_image", "warning", message, fix, tuple(shown))]


def find_unlisted(root: Path, images: Mapping[str, Path]) -> dict[str, Path]:
    """The pictures that lie beside the `images` of a document and are none of them, by new keys.

    Only those below `root`: what lies elsewhere is not to leave this machine unasked.
    """
    known = {os.path.abspath(path) for path in images.values()}
    places = {path.parent for path in images.values() if path.is_relative_to(root)}
    found: dict[str, Path] = {}
    for folder in sorted(places):
        for name in list_names(folder):
            stem, ending = os.path.splitext(name)
            if ending.lower() in IMAGE_SUFFIXES and os.path.abspath(folder / name) not in known:
                whole = (folder / name).relative_to(root).as_posix().replace("/", "_")
                is_taken = stem in images or stem in found
                add_file(found, whole if is_taken else stem, folder / name)
    return found


def check_size(said: tuple[int, int] | None, height: int, width: int) -> None:
    """That an image has the height and width which its document gives, where it does.

    Raises:
        DataError: it has not.
    """
    if said and said != (height, width):
        raise DataError(
            f"it is of an image of {said[1]} x {said[0]}; this one is {width} x {height}.",
            fix=TURN if said == (width, height) else RESTORE,
        )


def draw_labelled(
    origin: Path,
    classes: Sequence[ClassInfo],
    shapes: Callable[[], Iterable[Labelled]],
    said: tuple[int, int] | None = None,
    name: str = "",
    ignored: Mapping[str, int] | None = None,
) -> Drawn:
    """The mask of an image: its shapes, the later over the earlier, on the background.

    `shapes` is called when the mask is drawn. `said` are the height and width that the document
    gives. `ignored` are labels that are no class, and their values. Errors name the origin, and the
    image, where its `name` is given.
    """
    ids = {**{info.name: i for i, info in enumerate(classes)}, **(ignored or {})}
    front = f"{origin}: {name}: " if name else f"{origin}: "

    def draw(height: int, width: int) -> Mask:
        try:
            check_size(said, height, width)
            listed = [(ids[label], shape) for label, shape in shapes()]
            return draw_shapes(listed, height, width)
        except DataError as error:
            raise DataError(f"{front}{error}", fix=error.fix) from error

    return Drawn(origin, draw)

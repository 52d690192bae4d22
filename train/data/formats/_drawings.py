"""What annotation tools write, on its way to masks: labels by name, shapes in order, pictures."""

import csv
import json
import os
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from train.data.dataset import ClassInfo, Color
from train.data.findings import TURN, Finding, name_some
from train.data.formats import IMAGE_SUFFIXES, Drawn, list_names, read_text
from train.data.masks import Mask, voc_color
from train.data.shapes import Drawable, draw_shapes
from train.errors import DataError

BACKGROUND = "background"
NAMES_OF_BACKGROUND = (BACKGROUND, "_background_", "__background__", "bg")
NORMAL_FORMS: tuple[Literal["NFC", "NFD"], ...] = ("NFC", "NFD")
LONGEST_FIELD = 2**27
RESTORE = "Restore the image that was labelled, or label it as it is now."
Labelled = tuple[str, Drawable]
"""The name of a class, and what it covers."""


class Pictures:
    """The images of a document, found below a folder and nowhere else."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._by_name: dict[str, list[Path]] | None = None

    def find(self, name: str, *places: str) -> Path | None:
        """The image that is called so, in one of these places, else where only one has its name.

        A name without an ending may have any.
        """
        plain = name.replace("\\", "/")
        for form in NORMAL_FORMS:
            for place in (*places, ""):
                path = os.path.normpath(
                    os.path.join(self._folder, place, unicodedata.normalize(form, plain))
                )
                if os.path.isfile(path) and Path(path).is_relative_to(self._folder):
                    return Path(path)
        known = self._index()
        last = unicodedata.normalize("NFC", plain.rpartition("/")[2])
        found = known.get(last, [])
        if not found and not last.lower().endswith(IMAGE_SUFFIXES):
            found = [path for ending in IMAGE_SUFFIXES for path in known.get(last + ending, [])]
        return found[0] if len(found) == 1 else None

    def _index(self) -> dict[str, list[Path]]:
        if self._by_name is None:
            self._by_name = {}
            for folder, _, names in os.walk(self._folder):
                for name in names:
                    if name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith("."):
                        key = unicodedata.normalize("NFC", name)
                        self._by_name.setdefault(key, []).append(Path(folder, name))
        return self._by_name


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
                key = stem if stem not in images and stem not in found else f"{folder.name}_{name}"
                found[key] = folder / name
    return found


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
            if said and said != (height, width):
                raise DataError(
                    f"it is of an image of {said[1]} x {said[0]}; this one is {width} x {height}.",
                    fix=TURN if said == (width, height) else RESTORE,
                )
            listed = [(ids[label], shape) for label, shape in shapes()]
            return draw_shapes(listed, height, width)
        except DataError as error:
            raise DataError(f"{front}{error}", fix=error.fix) from error

    return Drawn(origin, draw)

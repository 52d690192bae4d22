"""What annotation tools write, on its way to masks: labels by name, and shapes in order."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from train.data.dataset import ClassInfo, Color
from train.data.findings import Finding, name_some
from train.data.formats import IMAGE_SUFFIXES, Drawn, list_names
from train.data.masks import Mask, voc_color
from train.data.shapes import Kind, Point, Shape, draw_shapes
from train.errors import DataError

BACKGROUND = "background"
NAMES_OF_BACKGROUND = (BACKGROUND, "_background_", "__background__", "bg")


@dataclass(frozen=True)
class Labelled:
    """A shape and the name of its class."""

    label: str
    kind: Kind
    points: tuple[Point, ...]


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


def tell_absent(names: Sequence[str], document: str, fix: str) -> list[Finding]:
    """That images which a document names are not there, where some are not."""
    if not names:
        return []
    message = f"{len(names)} images of {document} are not there and are left out: "
    message += f"{name_some(names)}."
    return [Finding("mask_without_image", "warning", message, fix, tuple(names))]


def find_unlisted(images: Mapping[str, Path]) -> dict[str, Path]:
    """The pictures that lie beside the `images` of a document and are none of them, by new keys."""
    known = {os.path.abspath(path) for path in images.values()}
    found: dict[str, Path] = {}
    for folder in sorted({path.parent for path in images.values()}):
        for name in list_names(folder):
            stem, ending = os.path.splitext(name)
            if ending.lower() in IMAGE_SUFFIXES and os.path.abspath(folder / name) not in known:
                key = stem if stem not in images and stem not in found else f"{folder.name}_{name}"
                found[key] = folder / name
    return found


def draw_labelled(origin: Path, classes: Sequence[ClassInfo], shapes: Sequence[Labelled]) -> Drawn:
    """The mask of an image: its shapes, the later over the earlier, on the background."""
    ids = {info.name: i for i, info in enumerate(classes)}

    def draw(height: int, width: int) -> Mask:
        drawn = [Shape(ids[each.label], each.kind, each.points) for each in shapes]
        return draw_shapes(drawn, height, width)

    return Drawn(origin, name_origin(origin, draw))


def name_origin(origin: Path, draw: Callable[[int, int], Mask]) -> Callable[[int, int], Mask]:
    """As `draw`, with the file named in its errors."""

    def drawn(height: int, width: int) -> Mask:
        try:
            return draw(height, width)
        except DataError as error:
            raise DataError(f"{origin}: {error}", fix=error.fix) from error

    return drawn

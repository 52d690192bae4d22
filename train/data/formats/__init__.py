"""Dataset layouts, one file each, found by file name.

A layout is a module with two functions:

    recognise(folder) -> bool         looks at names only; returns at once
    read(folder) -> Source            lists the pairs; opens no image
"""

import importlib
import os
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, cast

from train.data.dataset import ClassInfo, ListName
from train.errors import DataError

SEARCH_DEPTH = 3


@dataclass(frozen=True)
class Source:
    """A dataset as it was published. `lists` is empty where no split was published.

    `class_source` is the file that names the classes; `colors_bind` says that its colours are
    those of the masks' palettes, too.
    """

    layout: str
    classes: list[ClassInfo]
    ignore_index: int | None
    images: dict[str, Path]
    masks: dict[str, Path]
    lists: dict[ListName, list[str]] = field(default_factory=dict)
    class_source: Path | None = None
    colors_bind: bool = False


class Layout(Protocol):
    """What a file of this folder offers."""

    def recognise(self, folder: Path) -> bool: ...

    def read(self, folder: Path) -> Source: ...


def list_layouts() -> list[str]:
    """The names of the layouts that can be read."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load_layout(name: str) -> Layout:
    """The layout called `name`: a module, which has the protocol's two functions."""
    return cast(Layout, importlib.import_module(f"{__name__}.{name}"))


def read_source(folder: Path) -> Source:
    """The dataset somewhere in `folder`, at most three levels down.

    Raises:
        DataError: no layout is recognised there, or more than one is.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder.", fix="Give the folder that `extract` wrote.")
    for place in _walk(folder, SEARCH_DEPTH):
        names = [name for name in list_layouts() if load_layout(name).recognise(place)]
        if len(names) > 1:
            raise DataError(
                f"{place} could be {' or '.join(names)}.",
                fix="Leave the files of one layout in that folder.",
            )
        if names:
            return load_layout(names[0]).read(place)
    raise DataError(
        f"{folder} has none of the known layouts: {', '.join(list_layouts())}.",
        fix="docs/datasets.md shows what each of them looks like.",
    )


def index_by_stem(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """Files of `folder` with one of the `suffixes`, by stem, sorted.

    Raises:
        DataError: two files have the same stem.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in suffixes or not path.is_file():
            continue
        if path.stem in found:
            raise DataError(
                f"{found[path.stem]} and {path.name} have the same name but for the ending.",
                fix="Rename or remove one of them.",
            )
        found[path.stem] = path
    return found


def read_lines(path: Path) -> list[str]:
    """The lines of a text file that hold something, stripped; BOM and CRLF are no matter.

    Raises:
        DataError: it cannot be read as UTF-8 text.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} cannot be read as text ({error}).", fix="Save it as UTF-8 text."
        ) from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def _walk(folder: Path, depth: int) -> Iterator[Path]:
    """`folder` and the folders below it, nearest first, by name."""
    level = [folder]
    for _ in range(depth + 1):
        yield from level
        level = [
            Path(entry.path)
            for place in level
            for entry in sorted(os.scandir(place), key=lambda entry: entry.name)
            if entry.is_dir(follow_symlinks=False)
        ]

"""Dataset layouts, one file each, found by file name.

A layout is a module with two functions:

    recognise(folder) -> bool         looks at names, and how documents begin; returns at once
    read(folder) -> Source            lists the pairs; decodes no image

A layout whose masks are no files of ids says how they are made, as `Drawn`. One that would fit
many others has FALLBACK = True: it is asked where no other is recognised.
"""

import importlib
import os
import pkgutil
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, cast

from train.data.dataset import ClassInfo, ListName
from train.data.findings import Finding
from train.data.masks import Mask
from train.errors import DataError

SEARCH_DEPTH = 4
SHOWN = 8
# Folders that systems leave in archives; macOS repeats the whole tree below its own.
OF_SYSTEMS = (".", "__MACOSX", "$RECYCLE.BIN")
IMAGE_SUFFIXES = (
    *(".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff"),
    ".webp",
)


@dataclass(frozen=True)
class Drawn:
    """A mask that is made of what `origin` says, where no file holds it.

    `draw` takes height and width, and gives ids, or bits where classes overlap; it raises
    DataError for what cannot be drawn.
    """

    origin: Path
    draw: Callable[[int, int], Mask]


@dataclass(frozen=True)
class Source:
    """A dataset as it was published.

    `lists` is empty where no split was published. Where `classes` is empty, they are the values
    that the masks hold. `values` says what a mask's values stand for, where they are no ids.
    `class_source` is the file that names the classes; `colors_bind` says that its colours are
    those of the masks, too. With `fixed_classes` they are the layout's own, whether or not a set
    has all of them. `runlength_size` (height, width) is what predictions are scaled to
    before they are written as runs. `urls` are those of images that are not here yet. `findings`
    are what was seen while the pairs were listed.
    """

    layout: str
    classes: list[ClassInfo]
    ignore_index: int | None
    images: dict[str, Path]
    masks: Mapping[str, Path | Drawn]
    lists: dict[ListName, list[str]] = field(default_factory=dict)
    class_source: Path | None = None
    colors_bind: bool = False
    fixed_classes: bool = False
    task: Literal["multiclass", "multilabel"] = "multiclass"
    values: Mapping[int, int] | None = None
    runlength_size: tuple[int, int] | None = None
    urls: dict[str, str] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)


class Layout(Protocol):
    """What a file of this folder offers."""

    def recognise(self, folder: Path) -> bool: ...

    def read(self, folder: Path) -> Source: ...


def list_layouts() -> list[str]:
    """The names of the layouts that can be read."""
    modules = pkgutil.iter_modules(__path__)
    return sorted(module.name for module in modules if not module.name.startswith("_"))


def load_layout(name: str) -> Layout:
    """The layout called `name`: a module, which has the protocol's two functions."""
    return cast(Layout, importlib.import_module(f"{__name__}.{name}"))


def read_source(folder: Path, layout: str | None = None) -> Source:
    """The dataset somewhere in `folder`, at most four levels down; of `layout`, if it is named.

    Raises:
        DataError: no layout is recognised there, or more than one is.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder.", fix="Give the folder that `extract` wrote.")
    if layout and layout not in list_layouts():
        raise DataError(
            f"There is no layout {layout!r}.", fix=f"Take one of {', '.join(list_layouts())}."
        )
    known = {name: load_layout(name) for name in ([layout] if layout else list_layouts())}
    folder = Path(os.path.abspath(folder))
    places = list(_walk(folder, SEARCH_DEPTH))
    for asked_last in (False, True):
        asked = {n: each for n, each in known.items() if hasattr(each, "FALLBACK") == asked_last}
        for number, place in enumerate(places):
            if names := _recognise(place, asked):
                _refuse_others(place, places[number + 1 :], asked)
                return asked[names[0]].read(place)
    if layout:
        raise DataError(
            f"{folder} has not the layout {layout}.",
            fix="docs/datasets.md shows what it looks like.",
        )
    raise DataError(
        f"{folder} has none of the known layouts: {', '.join(list_layouts())}. {_describe(folder)}",
        fix="docs/datasets.md shows what each of them looks like; mostly it is enough to call the "
        "folders images and masks.",
    )


def _recognise(place: Path, asked: Mapping[str, Layout]) -> list[str]:
    names = [name for name, each in asked.items() if each.recognise(place)]
    if len(names) > 1:
        raise DataError(
            f"{place} could be {' or '.join(names)}.",
            fix=f"Say which: --layout {names[0]}, or --layout {names[1]}.",
        )
    return names


def _refuse_others(place: Path, rest: Iterable[Path], asked: Mapping[str, Layout]) -> None:
    """A second dataset, which nobody would miss until the first has been paid for."""
    for other in rest:
        if not other.is_relative_to(place) and (names := _recognise(other, asked)):
            raise DataError(
                f"{place} and {other} are two datasets ({names[0]}).",
                fix="Give one of the two folders; of an archive, after segaway extract.",
            )


def _describe(folder: Path) -> str:
    """What there is, in words; archives in an archive are not opened."""
    files = [Path(name) for _, _, names in os.walk(folder) for name in names]
    kinds = Counter(file.suffix.lower() or "no ending" for file in files)
    counted = ", ".join(f"{count} x {kind}" for kind, count in kinds.most_common(SHOWN))
    folders = ", ".join(list_folders(folder)[:SHOWN])
    packed = any(kind in kinds for kind in (".zip", ".tar", ".gz", ".7z", ".rar"))
    return (
        f"It has {f'the folders {folders}' if folders else 'no folder'} and the files: "
        f"{counted or 'none'}.{' Unpack the archives in it first.' if packed else ''}"
    )


def index_by_stem(folder: Path, suffixes: tuple[str, ...] = IMAGE_SUFFIXES) -> dict[str, Path]:
    """Files of `folder` with one of the `suffixes`, in any case, by stem, sorted.

    Raises:
        DataError: two files have the same stem.
    """
    found: dict[str, Path] = {}
    for name in list_names(folder):
        stem, suffix = os.path.splitext(name)
        if suffix.lower() in suffixes:
            add_file(found, normalise(stem), folder / name)
    return found


def normalise(name: str) -> str:
    """A name in the form in which it is compared: macOS writes umlauts as two characters."""
    return unicodedata.normalize("NFC", name)


def add_file(found: dict[str, Path], key: str, path: Path) -> None:
    """Put a file under its key.

    Raises:
        DataError: another file has that key.
    """
    if key in found:
        raise DataError(
            f"{found[key]} and {path} have the same name but for the ending.",
            fix="Rename or remove one of them.",
        )
    found[key] = path


@dataclass
class Gathering:
    """Images, their masks (or documents) and lists, part by part; no key is there twice."""

    images: dict[str, Path] = field(default_factory=dict)
    masks: dict[str, Path] = field(default_factory=dict)
    lists: dict[ListName, list[str]] = field(default_factory=dict)

    def add(
        self,
        name: str,
        part: ListName | None,
        images: Mapping[str, Path],
        masks: Mapping[str, Path],
    ) -> str:
        """The pictures of a part; where one has a key of another part, all get its name in front.

        Returns what they got in front.

        Raises:
            DataError: that does not help.
        """
        taken = self.images.keys() | self.masks.keys()
        prefix = f"{name}_" if taken & (images.keys() | masks.keys()) else ""
        for key, path in images.items():
            add_file(self.images, prefix + key, path)
        for key, path in masks.items():
            add_file(self.masks, prefix + key, path)
        if part and (listed := sorted(prefix + key for key in images if key in masks)):
            self.lists[part] = [*self.lists.get(part, []), *listed]
        return prefix


def scan(folder: Path) -> list[tuple[str, bool]]:
    """Name and whether it is a folder, of all that lies in `folder`, by name; none where none is.

    Hidden entries are left out.
    """
    try:
        with os.scandir(folder) as entries:
            return sorted((e.name, e.is_dir()) for e in entries if not e.name.startswith("."))
    except OSError:
        return []


def list_names(folder: Path) -> list[str]:
    """The names of the files in `folder`, sorted."""
    return [name for name, is_folder in scan(folder) if not is_folder]


def list_folders(folder: Path) -> list[str]:
    """The names of the folders in `folder`, sorted."""
    return [name for name, is_folder in scan(folder) if is_folder]


def read_text(path: Path) -> str:
    """The text of a file; a BOM is no matter.

    Raises:
        DataError: it cannot be read as UTF-8 text.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} cannot be read as text ({error}).", fix="Save it as UTF-8 text."
        ) from error


def read_lines(path: Path) -> list[str]:
    """The lines of a text file that hold something, stripped; BOM and CRLF are no matter.

    Raises:
        DataError: it cannot be read as UTF-8 text.
    """
    return [line.strip() for line in read_text(path).splitlines() if line.strip()]


def read_class_names(path: Path) -> list[str]:
    """One name a line, class 0 first.

    Raises:
        DataError: it names none, or one twice.
    """
    names = read_lines(path)
    if not names or len(set(names)) < len(names):
        raise DataError(
            f"{path} names no class, or one class twice.", fix="Give each class one line."
        )
    return names


def _walk(folder: Path, depth: int) -> Iterator[Path]:
    """`folder` and the folders below it, nearest first, by name."""
    level = [folder]
    for _ in range(depth + 1):
        yield from level
        level = [
            Path(entry.path)
            for place in level
            for entry in sorted(os.scandir(place), key=lambda entry: entry.name)
            if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(OF_SYSTEMS)
        ]

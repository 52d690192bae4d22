"""Images and masks in two parallel folders, or side by side, with names that match.

`images/` and `masks/` (or what else such folders are called), each for itself or below `train/`,
`val/` and `test/`, or with these below them; `train/` and `trainannot/`; or `NAME.jpg` beside
`NAME_mask.png`. A mask's name may end in `_mask`, `_gt`, `_L` and the like, and files may have no
ending: then their first bytes say what they are. Classes come from a list of names, or a table of
names and colours, where one lies there; else they are the values that the masks hold. `train.txt`,
`val.txt` and `test.txt` with a name a line are lists.
"""

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from train.data.dataset import SPLIT, ListName
from train.data.findings import Finding, name_some
from train.data.formats import (
    IMAGE_SUFFIXES,
    Gathering,
    Source,
    add_file,
    list_names,
    normalise,
    read_lines,
)
from train.data.formats._classes import read_classes
from train.data.formats._folders import PARTS, find_places, index_folders

FALLBACK = True
ENDINGS = re.compile(
    r"[_-](masks?|gt|l|labels?|seg|segmentation|ground_?truth|annotation|annot)$", re.I
)
IMAGE_ENDINGS = re.compile(r"[_-](sat|input|image|img|rgb)$", re.I)
LIST_FOLDERS = (".", "splits", "lists", "ImageSets", "ImageSets/Segmentation")
SIGNATURES = (
    b"\x89PNG",
    b"\xff\xd8\xff",
    b"BM",
    b"GIF8",
    b"II*\0",
    b"MM\0*",
    b"RIFF",
    b"P5",
    b"P6",
)
Files = dict[str, Path]
"""Paths by what they are called within their folder, without the ending."""


@dataclass(frozen=True)
class Part:
    """Pictures that lie together, and their masks by the same names.

    `by_core` is a pair of names that were only alike in what tells them from others.
    """

    name: str
    part: ListName | None
    images: Files
    masks: Files
    folders: tuple[Path, ...]
    by_core: str = ""


def recognise(folder: Path) -> bool:
    """A pair of folders, or of files, has such names."""
    if next(find_places(folder), None):
        return True
    named = index_folders(folder)
    places = [folder, *(named[low] for low in PARTS if low in named)]
    return any(_find_beside(_index(place, deep=False)) for place in places)


def read(folder: Path) -> Source:
    """The pairs in all folders that belong together."""
    gathered = Gathering()
    parts = _find_parts(folder)
    for each in parts:
        gathered.add(each.name, each.part, _flatten(each.images), _flatten(each.masks))
    lists, findings = gathered.lists, [*_tell_unread(folder, parts), *_tell_cores(parts)]
    if not lists:
        lists, told = _read_lists(folder, gathered.images)
        findings += told
    found = read_classes(folder, *(place for each in parts for place in each.folders))
    return Source(
        layout="pairs",
        classes=found.classes,
        ignore_index=None,
        images=gathered.images,
        masks=gathered.masks,
        lists=lists,
        class_source=found.path,
        colors_bind=found.have_colors,
        findings=findings,
    )


def _flatten(files: Files) -> Files:
    found: Files = {}
    for name, path in files.items():
        add_file(found, name.replace("/", "_"), path)
    return found


def _find_parts(folder: Path) -> list[Part]:
    found: list[Part] = []
    for part, shown, drawn in find_places(folder):
        seen = {path for each in found for path in (*each.images.values(), *each.masks.values())}
        images = {key: path for key, path in _index(shown).items() if path not in seen}
        drawings = _index(drawn) if drawn else {}
        masks = _match({k: path for k, path in drawings.items() if path not in seen}, images)
        cores = {} if masks.keys() & images.keys() else _match_cores(masks, images)
        taken = {*cores.values()}
        masks = cores | {name: path for name, path in masks.items() if path not in taken}
        by_core = next((f"{name} = {path.stem}" for name, path in cores.items()), "")
        folders = (shown, drawn) if drawn else (shown,)
        found.append(Part(part or shown.name, part, images, masks, folders, by_core))
    return found or _find_parts_beside(folder)


def _find_parts_beside(folder: Path) -> list[Part]:
    """Where images and masks lie in one folder: in this one, else in each of its parts."""
    if here := _pair_beside(folder, None):
        return [here]
    named = index_folders(folder)
    below = [_pair_beside(named[low], part) for low, part in PARTS.items() if low in named]
    return [each for each in below if each]


def _pair_beside(folder: Path, part: ListName | None) -> Part | None:
    files = _index(folder, deep=False)
    masks = _find_beside(files)
    taken = {*masks.values()}
    images: Files = {}
    for key, path in files.items():
        if path not in taken:
            add_file(images, _name_image(key, masks), path)
    # A part without masks is unlabelled; any other folder without masks is something else.
    wanted = bool(images) and (bool(masks) or part is not None)
    return Part(folder.name, part, images, masks, (folder,)) if wanted else None


def _index(folder: Path, deep: bool = True) -> Files:
    """Pictures, also in folders below; a file without an ending is judged by its first bytes."""
    found: Files = {}
    names = list_names(folder)
    files = [folder / name for name in names]
    if deep:
        files += [
            Path(place, name)
            for place, _, below in sorted(os.walk(folder))
            for name in sorted(below)
            if place != str(folder) and "/." not in f"{place[len(str(folder)) :]}/{name}"
        ]
    pictures = [path for path in files if _is_picture(path)]
    both = Counter(os.path.splitext(path)[0] for path in pictures)
    for path in pictures:
        # A picture and its mask side by side may differ by their endings alone.
        keep = not deep and both[os.path.splitext(path)[0]] > 1
        relative = path.relative_to(folder)
        name = relative if keep else relative.with_suffix("")
        add_file(found, normalise(name.as_posix()), path)
    return found


def _is_picture(path: Path) -> bool:
    if path.suffix:
        return path.suffix.lower() in IMAGE_SUFFIXES
    try:
        with path.open("rb") as file:
            return file.read(8).startswith(SIGNATURES)
    except OSError:
        return False


def _match(drawn: Files, shown: Files) -> Files:
    """Masks by the name of their image, where one has it; else by their own."""
    by_stem: dict[str, list[str]] = {}
    for name in shown:
        by_stem.setdefault(name.rpartition("/")[2], []).append(name)
    folders = {name.rpartition("/")[0] for name in shown}
    found: Files = {}
    for name, path in drawn.items():
        # Where images have folders of the same name, a mask belongs to an image of its own.
        elsewhere = {} if name.rpartition("/")[0] in folders else by_stem
        add_file(found, _find_partner(name, shown, elsewhere), path)
    return found


def _find_partner(name: str, shown: Files, by_stem: Mapping[str, list[str]]) -> str:
    """The image that is called as a mask is, in the same folder, else by stem in any."""
    stem, ending = os.path.splitext(name)
    tried = [name, ENDINGS.sub("", name), *([stem] if ending.lower() in IMAGE_SUFFIXES else [])]
    for each in tried:
        if each in shown:
            return each
    for each in tried:
        if len(same := by_stem.get(each.rpartition("/")[2], [])) == 1:
            return same[0]
    return name


def _match_cores(drawn: Files, shown: Files) -> Files:
    """By what is left of the names without what all images, and all masks, have in common."""
    cores = _cut(shown)
    return {cores[core]: drawn[name] for core, name in _cut(drawn).items() if core in cores}


def _cut(names: Iterable[str]) -> dict[str, str]:
    """Names by their cores; none where two have the same."""
    listed = list(names)
    # Up to a separator, where there is one; else up to the number.
    front = re.sub(r"(?<=[_-])[^_-]*$|\d+$", "", _find_front(listed), count=1)
    back = _find_front([name[::-1] for name in listed])[::-1]
    back = re.sub(r"^[^_-]*(?=[_-])|^\d+", "", back, count=1) if len(listed) > 1 else ""
    cores = {name[len(front) : len(name) - len(back)]: name for name in listed}
    return cores if len(cores) == len(listed) else {}


def _find_front(names: list[str]) -> str:
    """What all names begin with."""
    first, last = min(names, default=""), max(names, default="")
    ends = (n for n, (a, b) in enumerate(zip(first, last, strict=False)) if a != b)
    return first[: next(ends, min(len(first), len(last)))]


def _find_beside(files: Files) -> Files:
    """Masks that lie beside their images, by the name of these."""
    images = {_name_image(key, ()): key for key in files}
    found = {
        bare: path
        for key, path in files.items()
        if (bare := ENDINGS.sub("", key)) != key and bare in images
    }
    if found:
        return found
    stems = {os.path.splitext(key) for key in files}
    photos = {stem for stem, ending in stems if ending.lower() in (".jpg", ".jpeg")}
    return {
        stem: files[stem + ending]
        for stem, ending in stems
        if ending.lower() == ".png" and stem in photos
    }


def _name_image(key: str, masks: Iterable[str]) -> str:
    """An image's name without what says that it is one, where its mask is called so."""
    stem, ending = os.path.splitext(key)
    bare = IMAGE_ENDINGS.sub("", stem if ending.lower() in IMAGE_SUFFIXES else key)
    return bare if not masks or bare in masks else key


def _read_lists(
    folder: Path, images: Mapping[str, Path]
) -> tuple[dict[ListName, list[str]], list[Finding]]:
    """Lists of names, where any of them is an image's."""
    seen = []
    for place in LIST_FOLDERS:
        names = {name.lower(): folder / place / name for name in list_names(folder / place)}
        paths = {part: names[f"{part}.txt"] for part in SPLIT if f"{part}.txt" in names}
        lists = {
            part: [_find_key(line, images) for line in read_lines(path)]
            for part, path in paths.items()
        }
        if any(key in images for keys in lists.values() for key in keys):
            return lists, []
        seen += [str(path) for path in paths.values()]
    if not seen:
        return {}, []
    message = f"No line of {name_some(seen)} is the name of an image: they are not taken for lists."
    return {}, [Finding("unread_list", "warning", message, files=tuple(seen))]


def _find_key(line: str, images: Mapping[str, Path]) -> str:
    """The image that a line names: by its path or by its last part, with or without ending."""
    name = normalise(line.split("\t", maxsplit=1)[0].strip())
    stem, ending = os.path.splitext(name)
    bare = stem if ending.lower() in IMAGE_SUFFIXES else name
    tried = (bare.replace("/", "_"), bare.rpartition("/")[2])
    return next((key for key in tried if key in images), tried[1])


def _tell_unread(folder: Path, parts: Iterable[Part]) -> list[Finding]:
    """Folders of pictures beside those that were read."""
    used = {path for part in parts for path in part.folders}
    beside = {
        path
        for place in {folder, *(path.parent for path in used if path != folder)}
        for path in index_folders(place).values()
        if not any(path == each or path in each.parents or each in path.parents for each in used)
    }
    unread = sorted(
        path
        for path in beside
        if any(name.lower().endswith(IMAGE_SUFFIXES) for name in list_names(path))
    )
    return [
        Finding(
            "unread_folder",
            "warning",
            f"{path} holds pictures that are not read.",
            "Move it away, or rename the folder that holds the masks to masks.",
            (str(path),),
        )
        for path in unread
    ]


def _tell_cores(parts: Iterable[Part]) -> list[Finding]:
    """Pairs whose names are not the same."""
    pairs = [part.by_core for part in parts if part.by_core]
    if not pairs:
        return []
    message = f"Images and masks are paired by what differs in their names, as {name_some(pairs)}."
    fix = "Look at --sheet; give them the same names if a pair is wrong."
    return [Finding("paired_by_core", "warning", message, fix)]

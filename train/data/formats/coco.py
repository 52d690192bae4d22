"""COCO: instances (polygons, boxes, plain and compressed runs) as semantic masks.

`annotations/instances_train2017.json` beside `train2017/`, or `_annotations.coco.json` among the
images, as Roboflow writes it, or one `*coco*.json` or `annotations.json`; where there are
no masks, any JSON that begins as COCO's do, such as Label Studio's `result.json`. The background is
class 0, the categories follow by id. Large instances are drawn first: small ones stay visible.
Pictures beside those that a document names, and those of one without annotations, are unlabelled.
Source: cocodataset.org, "Data format"; polygons and runs are rasterised by its own pycocotools.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from train.data.dataset import ClassInfo, ListName
from train.data.findings import TURN, Finding, name_some
from train.data.formats import Drawn, Gathering, Source, list_names
from train.data.formats._drawings import (
    RESTORE,
    Wanted,
    find_pictures,
    find_unlisted,
    name_classes,
    read_json,
    tell_absent,
)
from train.data.formats._folders import PARTS, hold_masks, index_folders
from train.data.masks import Mask
from train.data.shapes import FARTHEST
from train.errors import DataError

BEGINNING = re.compile(
    rb'(?:\xef\xbb\xbf)?\s*\{\s*"(?:info|images|annotations|categories|licenses)"\s*:'
)
MOST_OPENED = 20
LISTS: tuple[ListName, ...] = ("train", "val", "test")
FIX = "Export it again; it needs images and categories, and annotations where it is labelled."


class Part(BaseModel):
    """What all parts of a document share: ids are numbers or texts, and what is more is left."""

    model_config = ConfigDict(coerce_numbers_to_str=True, frozen=True)


class Picture(Part):
    """An image, by its id."""

    id: str
    file_name: str
    height: int | None = None
    width: int | None = None


class Annotation(Part):
    """An instance: its outline (or runs) where it has one, else its box."""

    id: str = "?"
    image_id: str
    category_id: str
    segmentation: Any = None
    bbox: list[float] | None = None


class Category(Part):
    """A class, by its id."""

    id: str
    name: str
    supercategory: str | None = None


class Document(Part):
    """A whole document."""

    images: list[Picture]
    categories: list[Category]
    annotations: list[Annotation] = []


def recognise(folder: Path) -> bool:
    """A document has a name as COCO's have."""
    return bool(_find_documents(folder))


def read(folder: Path) -> Source:
    """The images of all documents; each document is a list, where its name says which."""
    documents = {path: _read(path) for path in _find_documents(folder)}
    categories = _join_categories(documents)
    classes = name_classes(categories.values())
    wanted = {
        (path, info.id): Wanted(info.file_name, _list_places(folder, path))
        for path, document in documents.items()
        for info in document.images
    }
    found = find_pictures(folder, wanted)
    gathered = Gathering()
    masks: dict[str, Path | Drawn] = {}
    for path, document in documents.items():
        by_image = _group(path, document)
        infos = _name_all(path, [info for info in document.images if (path, info.id) in found])
        shown = {key: found[path, info.id] for key, info in infos.items()}
        part, drawn = _name_part(path), shown if document.annotations else {}
        prefix = gathered.add(part or path.stem, part, shown, drawn)
        for key in drawn:
            info = infos[key]
            drawing = _Drawing(path, classes, categories, info, by_image.get(info.id, []))
            masks[prefix + key] = Drawn(path, drawing)
    absent = [each.name for key, each in wanted.items() if key not in found]
    fix = "Put the images beside the annotations, as they were published."
    return Source(
        layout="coco",
        classes=classes,
        ignore_index=None,
        images=gathered.images | find_unlisted(folder, gathered.images),
        masks=masks,
        lists=gathered.lists,
        class_source=next(iter(documents)),
        findings=[*tell_absent(absent, "the documents", fix), *_tell_boxes(documents)],
    )


def _name_all(path: Path, infos: Sequence[Picture]) -> dict[str, Picture]:
    """The images of a document by their keys."""
    named = {_name_key(info.file_name): info for info in infos}
    if len(named) < len(infos):
        kept = {info.id for info in named.values()}
        twice = next(info for info in infos if info.id not in kept)
        raise DataError(
            f"{path}: two images are called {twice.file_name}, but for the ending or the folders.",
            fix="Rename one of them.",
        )
    return named


def _list_places(folder: Path, document: Path) -> tuple[str, ...]:
    """Where the images of a document may lie."""
    stem = document.stem.removeprefix("instances_")
    beside = document.parent.relative_to(folder).as_posix()
    return stem, f"images/{stem}", "images", beside, "data"


def _find_documents(folder: Path) -> list[Path]:
    """By their names; where none is called so and no masks are there, by how they begin."""
    parts = [path for low, path in index_folders(folder).items() if low in PARTS]
    places = [(place, list_names(place)) for place in (folder / "annotations", folder, *parts)]
    found = [place / name for place, names in places for name in names if _is_document(name)]
    if found or hold_masks(folder):
        return found
    others = [p / n for p, names in places for n in names if n.lower().endswith(".json")]
    return [path for path in others if len(others) <= MOST_OPENED and _begins_so(path)]


def _is_document(name: str) -> bool:
    low = name.lower()
    return low.endswith(".json") and (
        low.startswith("instances_") or "coco" in low or low == "annotations.json"
    )


def _begins_so(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return bool(BEGINNING.match(file.read(200)))
    except OSError:
        return False


def _name_part(path: Path) -> ListName | None:
    """The list that a document is, by its name or its folder's."""
    if part := PARTS.get(path.parent.name.lower()):
        return part
    words = re.split(r"[^a-z]+", path.stem.lower())
    return next((p for p in LISTS if any(word.startswith(p) for word in words)), None)


def _name_key(name: str) -> str:
    """The name as a key; of a path from the root, or from above, its last part alone."""
    parts = name.replace("\\", "/").split("/")
    if not parts[0] or ".." in parts or ":" in parts[0]:
        name = parts[-1]
    return PurePosixPath(name.replace("\\", "/")).with_suffix("").as_posix().replace("/", "_")


def _read(path: Path) -> Document:
    content = read_json(path, "COCO document", FIX)
    try:
        return Document.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise DataError(
            f"{path} is no COCO document: {place}: {first['msg'].lower()}.", fix=FIX
        ) from error


def _join_categories(documents: Mapping[Path, Document]) -> dict[str, str]:
    """Names by id, in the order of the ids; those of all documents.

    Roboflow puts a category in front that only holds the others together: it is left out.
    """
    every = [(p, c) for p, document in documents.items() for c in document.categories]
    used = {a.category_id for document in documents.values() for a in document.annotations}
    above = {(c.supercategory, c.id) for _, c in every}
    found: dict[str, str] = {}
    for path, category in every:
        is_root = category.supercategory in (None, "none") and category.id not in used
        if is_root and any(name == category.name and i != category.id for name, i in above):
            continue
        if found.setdefault(category.id, category.name) != category.name:
            raise DataError(
                f"{path} calls the category {category.id} {category.name}; another document calls "
                f"it {found[category.id]}.",
                fix="Give each id one name in all documents.",
            )
    if len(set(found.values())) < len(found):
        raise DataError(
            f"{next(iter(documents))} names a category twice.", fix="Give each a name of its own."
        )
    return dict(sorted(found.items(), key=lambda item: (len(item[0]), item[0])))


def _group(path: Path, document: Document) -> dict[str, list[Annotation]]:
    """The annotations of each image."""
    by_image: dict[str, list[Annotation]] = {}
    for annotation in document.annotations:
        by_image.setdefault(annotation.image_id, []).append(annotation)
    known = {info.id for info in document.images}
    if len(known) < len(document.images):
        raise DataError(
            f"{path} has two images of one id.", fix="Give each image an id of its own."
        )
    if unknown := sorted(by_image.keys() - known):
        raise DataError(
            f"{path} annotates the images {name_some(unknown)}, which it does not list.",
            fix="List them under images, or remove their annotations.",
        )
    return by_image


def _tell_boxes(documents: Mapping[Path, Document]) -> list[Finding]:
    boxes = [a for d in documents.values() for a in d.annotations if not _has_outline(a)]
    if not boxes:
        return []
    message = f"{len(boxes)} annotations have no outline: their boxes are drawn."
    fix = "Export outlines, if there are any: a box has pixels that are not the thing's."
    return [Finding("boxes", "warning", message, fix, tuple(map(str, documents)))]


def _has_outline(annotation: Annotation) -> bool:
    """Whether it has runs, or a part with an area: COCO itself has some of two points."""
    given = annotation.segmentation
    if not isinstance(given, list):
        return bool(given)
    return any(not isinstance(part, list) or len(part) > 5 for part in given)


@dataclass(frozen=True)
class Instance:
    """Compressed runs, of the part of an image that begins at that row and column."""

    runs: Any
    top: int = 0
    left: int = 0


class _Drawing:
    """Draws the mask of an image from its annotations."""

    def __init__(
        self,
        path: Path,
        classes: Sequence[ClassInfo],
        categories: Mapping[str, str],
        info: Picture,
        annotations: Sequence[Annotation],
    ) -> None:
        ids = {each.name: i for i, each in enumerate(classes)}
        self._ids = {number: ids[name] for number, name in categories.items()}
        self._path, self._info, self._annotations = path, info, annotations

    def __call__(self, height: int, width: int) -> Mask:
        from pycocotools import mask as coco

        name, said = self._info.file_name, (self._info.height, self._info.width)
        if all(said) and said != (height, width):
            raise DataError(
                f"{self._path}: {name} is {width} x {height}; its annotations are of {said[1]} x "
                f"{said[0]}.",
                fix=TURN if said == (width, height) else RESTORE,
            )
        drawn = [self._rasterise(each, height, width) for each in self._annotations]
        mask = np.zeros((height, width), np.uint8)
        for instance, class_id in sorted(drawn, key=lambda item: -int(coco.area(item[0].runs))):
            bits = np.asarray(coco.decode(instance.runs), np.bool_)
            top, left = instance.top, instance.left
            mask[top : top + bits.shape[0], left : left + bits.shape[1]][bits] = class_id
        return mask

    def _rasterise(self, annotation: Annotation, height: int, width: int) -> tuple[Instance, int]:
        try:
            if annotation.category_id not in self._ids:
                raise ValueError(f"there is no category {annotation.category_id}")
            return find_runs(annotation, height, width), self._ids[annotation.category_id]
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            raise DataError(
                f"{self._path}: The annotation {annotation.id} of {self._info.file_name} cannot be "
                f"drawn: {error}.",
                fix="Mend its segmentation or its category, or remove it.",
            ) from error


def find_runs(annotation: Annotation, height: int, width: int) -> Instance:
    """An annotation as compressed runs, which take far less room than a mask.

    Raises:
        ValueError: it is none, or not of an image of that size.
    """
    from pycocotools import mask as coco

    given = annotation.segmentation
    if not _has_outline(annotation):
        if annotation.bbox is None or len(annotation.bbox) != 4:
            raise ValueError("it has neither an outline nor a box")
        x, y, w, h = annotation.bbox
        given = [[x, y, x + w, y, x + w, y + h, x, y + h]]
    if isinstance(given, list):
        with_area = [part for part in given if not isinstance(part, list) or len(part) > 5]
        return _rasterise_parts(
            [_check_part(part, height, width) for part in with_area], height, width
        )
    if not isinstance(given, dict) or not {"counts", "size"} <= given.keys():
        raise ValueError("its segmentation is neither a list of points nor runs")
    if list(given["size"]) != [height, width]:
        raise ValueError(f"its runs are of {given['size']}")
    counts = given["counts"]
    plain = [int(c) for c in counts] if isinstance(counts, list) else _expand(str(counts))
    # What runs leave out pycocotools fills with whatever lies in memory.
    if min(plain, default=-1) < 0 or sum(plain) != height * width:
        raise ValueError(f"its runs have {sum(plain)} of {height * width} pixels")
    runs: Any = {"counts": plain, "size": [height, width]}
    return Instance(coco.frPyObjects(runs, height, width))


def _rasterise_parts(parts: list[list[float]], height: int, width: int) -> Instance:
    """Polygons, in the part of the image that they cover: a small one costs what it has of pixels.

    pycocotools rounds to fifths of a pixel: moved by whole pixels, a polygon is the same.
    """
    from pycocotools import mask as coco

    xs, ys = ([v for part in parts for v in part[first::2]] for first in (0, 1))
    left, top = (max(0, int(min(values)) - 1) for values in (xs, ys))
    right, bottom = (
        min(side, int(max(values)) + 2) for values, side in ((xs, width), (ys, height))
    )
    moved: Any = [
        # 16.9 - 5 is 11.899999999999999, which rounds to another fifth than 11.9.
        [round(v - (top if i % 2 else left), 9) for i, v in enumerate(part)]
        for part in parts
    ]
    size = (max(1, bottom - top), max(1, right - left))
    return Instance(coco.merge(coco.frPyObjects(moved, *size)), top, left)


def _check_part(part: Any, height: int, width: int) -> list[float]:
    """The points of a polygon: x, y, x, y ..."""
    if not isinstance(part, list) or not all(isinstance(v, int | float) for v in part):
        raise ValueError(f"a part of it is no list of numbers: {str(part)[:40]}")
    values = np.asarray(part, np.float64)
    if len(values) % 2:
        raise ValueError(f"a part has {len(values)} numbers, which are no points")
    if not np.isfinite(values).all():
        raise ValueError("a part has a point that is no pair of numbers")
    if not (np.abs(values) <= FARTHEST * max(height, width)).all():
        raise ValueError("a part reaches far outside of the image")
    xs, ys = values[::2], values[1::2]
    if xs.max() < 0 or ys.max() < 0 or xs.min() > width or ys.min() > height:
        raise ValueError("a part lies outside of the image")
    if values.max() <= 1 and min(height, width) > 1:
        raise ValueError("its points are fractions of the image; COCO's are pixels")
    return [float(value) for value in values]


def _expand(text: str) -> list[int]:
    """The runs in COCO's compressed form: six bits a character, each run less the one but one.

    Source: cocoapi, `maskApi.c`, `rleFrString`.
    """
    counts: list[int] = []
    value = shift = 0
    for character in text.encode("ascii"):
        bits = character - 48
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("its runs end in the middle")
    return counts

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
from pathlib import Path, PurePosixPath

import numpy as np
from pydantic import Field, ValidationError

from train.data.dataset import SPLIT, ClassInfo, ListName
from train.data.findings import Finding, name_some
from train.data.formats import Drawn, Gathering, Source, list_names
from train.data.formats._drawings import (
    Wanted,
    check_size,
    find_pictures,
    find_unlisted,
    name_classes,
    read_json,
    tell_absent,
)
from train.data.formats._folders import PARTS, hold_masks, index_folders
from train.data.formats._instances import Annotation, Instance, Part, find_runs, has_outline
from train.data.masks import Mask
from train.errors import DataError

BEGINNING = re.compile(
    rb'(?:\xef\xbb\xbf)?\s*\{\s*"(?:info|images|annotations|categories|licenses)"\s*:'
)
MOST_OPENED = 20
FIX = "Export it again; it needs images and categories, and annotations where it is labelled."


class Picture(Part):
    """An image, by its id."""

    id: str
    file_name: str
    height: int | None = None
    width: int | None = None

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width, where both are told."""
        return (self.height, self.width) if self.height and self.width else None


class Category(Part):
    """A class, by its id."""

    id: str
    name: str
    supercategory: str | None = None


class Document(Part):
    """A whole document."""

    images: list[Picture]
    categories: list[Category]
    annotations: list[Annotation] = Field(default_factory=list)


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
    return next((p for p in SPLIT if any(word.startswith(p) for word in words)), None)


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
    boxes = [a for d in documents.values() for a in d.annotations if not has_outline(a)]
    if not boxes:
        return []
    message = f"{len(boxes)} annotations have no outline: their boxes are drawn."
    fix = "Export outlines, if there are any: a box has pixels that are not the thing's."
    return [Finding("boxes", "warning", message, fix, tuple(map(str, documents)))]


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

        info = self._info
        try:
            check_size(info.size, height, width)
        except DataError as error:
            raise DataError(f"{self._path}: {info.file_name}: {error}", fix=error.fix) from error
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

"""COCO: instances (polygons, plain and compressed runs) as semantic masks.

`annotations/instances_train2017.json` beside `train2017/`, or `_annotations.coco.json` among the
images, as Roboflow writes it, or one `*coco*.json` or `annotations.json`; where there are
no masks, any JSON that begins as COCO's do, such as Label Studio's `result.json`. The background is
class 0, the categories follow by id. Large instances are drawn first: small ones stay visible.
Pictures beside those that a document names are unlabelled.
Source: cocodataset.org, "Data format"; polygons and runs are rasterised by its own pycocotools.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from train.data.dataset import ClassInfo, ListName
from train.data.findings import name_some
from train.data.formats import Drawn, Source, add_file, list_names, read_text
from train.data.formats._drawings import find_unlisted, name_classes, name_origin, tell_absent
from train.data.formats._folders import PARTS, hold_masks, index_folders
from train.data.masks import Mask
from train.data.runlength import Bits
from train.errors import DataError

BEGINNING = re.compile(
    rb'(?:\xef\xbb\xbf)?\s*\{\s*"(?:info|images|annotations|categories|licenses)"\s*:'
)
MOST_OPENED = 20
LISTS: tuple[ListName, ...] = ("train", "val", "test")
Json = dict[str, Any]


def recognise(folder: Path) -> bool:
    """A document has a name as COCO's have."""
    return bool(_find_documents(folder))


def read(folder: Path) -> Source:
    """The images of all documents; each document is a list, where its name says which."""
    documents = {path: _read(path) for path in _find_documents(folder)}
    categories = _join_categories(documents)
    classes = name_classes(categories.values())
    images: dict[str, Path] = {}
    masks: dict[str, Path | Drawn] = {}
    lists: dict[ListName, list[str]] = {}
    absent: list[str] = []
    for path, content in documents.items():
        keys = []
        for info, shapes in _pair(path, content):
            place = _find_image(folder, path, str(info["file_name"]))
            if place is None:
                absent.append(str(info["file_name"]))
                continue
            key = Path(str(info["file_name"])).with_suffix("").as_posix().replace("/", "_")
            add_file(images, key, place)
            drawing = _Drawing(classes, categories, info, shapes)
            masks[key] = Drawn(path, name_origin(path, drawing))
            keys.append(key)
        if part := _name_part(path):
            lists[part] = sorted([*lists.get(part, []), *keys])
    fix = "Put the images beside the annotations, as they were published."
    return Source(
        layout="coco",
        classes=classes,
        ignore_index=None,
        images=images | find_unlisted(images),
        masks=masks,
        lists=lists if lists.get("train") and lists.get("val") else {},
        class_source=next(iter(documents)),
        findings=tell_absent(absent, "the documents", fix),
    )


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


def _read(path: Path) -> Json:
    try:
        content = json.loads(read_text(path))
        for key in ("images", "annotations", "categories"):
            content[key]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is no COCO document: {error}.",
            fix="It needs images, annotations and categories.",
        ) from error
    return dict(content)


def _join_categories(documents: dict[Path, Json]) -> dict[int, str]:
    """Names by id, in the order of the ids; those of all documents."""
    found: dict[int, str] = {}
    for path, content in documents.items():
        for category in content["categories"]:
            number, name = int(category["id"]), str(category["name"])
            if found.setdefault(number, name) != name:
                raise DataError(
                    f"{path} calls the category {number} {name}; another document calls it "
                    f"{found[number]}.",
                    fix="Give each id one name in all documents.",
                )
    if len(set(found.values())) < len(found):
        raise DataError(
            f"{next(iter(documents))} names a category twice.", fix="Give each a name of its own."
        )
    return dict(sorted(found.items()))


def _pair(path: Path, content: Json) -> Iterator[tuple[Json, list[Json]]]:
    """Each image of a document, and its annotations."""
    by_image: dict[int, list[Json]] = {}
    for annotation in content["annotations"]:
        by_image.setdefault(annotation["image_id"], []).append(annotation)
    known = {info["id"] for info in content["images"]}
    if len(known) < len(content["images"]):
        raise DataError(
            f"{path} has two images of one id.", fix="Give each image an id of its own."
        )
    if unknown := sorted(by_image.keys() - known):
        raise DataError(
            f"{path} annotates the images {name_some(map(str, unknown))}, which it does not list.",
            fix="List them under images, or remove their annotations.",
        )
    for info in content["images"]:
        yield info, by_image.get(info["id"], [])


def _find_image(folder: Path, document: Path, name: str) -> Path | None:
    stem = document.stem.removeprefix("instances_")
    places = (
        folder / stem / name,
        folder / "images" / stem / name,
        folder / "images" / name,
        document.parent / name,
        folder / name,
    )
    return next((place for place in places if place.is_file()), None)


class _Drawing:
    """Draws the mask of an image from its annotations."""

    def __init__(
        self, classes: list[ClassInfo], categories: dict[int, str], info: Json, shapes: list[Json]
    ) -> None:
        ids = {each.name: i for i, each in enumerate(classes)}
        self._ids = {number: ids[name] for number, name in categories.items()}
        self._info, self._shapes = info, shapes

    def __call__(self, height: int, width: int) -> Mask:
        name, said = self._info["file_name"], (self._info["height"], self._info["width"])
        if said != (height, width):
            raise DataError(
                f"{name} is {width} x {height}; its annotations are of {said[1]} x {said[0]}.",
                fix="Restore the image that was annotated.",
            )
        drawn = []
        for shape in self._shapes:
            try:
                drawn.append((_rasterise(shape, height, width), self._ids[shape["category_id"]]))
            except Exception as error:  # pycocotools documents none
                raise DataError(
                    f"The annotation {shape.get('id')} of {name} cannot be drawn ({error!r}).",
                    fix="Mend its segmentation or its category, or remove it.",
                ) from error
        mask = np.zeros((height, width), np.uint8)
        for bits, class_id in sorted(drawn, key=lambda item: -int(item[0].sum())):
            mask[bits] = class_id
        return mask


def _rasterise(shape: Json, height: int, width: int) -> Bits:
    from pycocotools import mask as coco

    given = shape["segmentation"]
    runs: Any = given
    if isinstance(given, list):
        runs = coco.merge(coco.frPyObjects(given, height, width))
    elif isinstance(given["counts"], list):
        runs = coco.frPyObjects(given, height, width)
    if list(runs["size"]) != [height, width]:
        raise ValueError(f"it is of {runs['size']}")
    return np.asarray(coco.decode(runs), dtype=np.bool_)

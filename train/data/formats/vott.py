"""VoTT: its JSON export, or a CSV with a box or a class a row (see `_boxes`).

Images are paths, or file and http(s) URLs. Boxes and polygons are drawn as masks, later ones over
earlier ones; a class without a box is the whole image's. Images that nobody has visited are
unlabelled.
Source: github.com/microsoft/VoTT, "Export" (vott-json-export, vott-csv-export).
"""

import os
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from train.data.dataset import Color
from train.data.findings import Finding, name_some
from train.data.formats import IMAGE_SUFFIXES, Drawn, Source, add_file, list_names, normalise
from train.data.formats._boxes import begins_with_box, is_table, read_table
from train.data.formats._drawings import (
    Labelled,
    draw_labelled,
    find_unlisted,
    name_classes,
    parse_color,
    read_json,
    tell_absent,
)
from train.data.formats._folders import hold_masks
from train.data.shapes import Kind, Shape
from train.errors import DataError

EXPORTS = ("vott-csv-export", "vott-json-export")
MOST_OPENED = 20
TAGGED = 2
"""The state of an asset that was visited and tagged."""


@dataclass(frozen=True)
class Asset:
    """An image and what is drawn on it; `size` is (height, width), where it is told."""

    shapes: list[Labelled]
    size: tuple[int, int] | None = None
    is_labelled: bool = True


@dataclass
class Export:
    """What an export holds; `lost` are regions without a tag, and tags beyond the first."""

    assets: dict[str, Asset]
    names: list[str]
    colors: dict[str, Color] = field(default_factory=dict)
    lost: int = 0


def recognise(folder: Path) -> bool:
    """A table or document of VoTT is there."""
    return _find_export(folder) is not None


def read(folder: Path) -> Source:
    """The images that the export names."""
    path = _find_export(folder)
    assert path is not None
    export = _read_document(path) if path.suffix.lower() == ".json" else _read_csv(folder, path)
    classes = name_classes(export.names, export.colors)
    images: dict[str, Path] = {}
    urls: dict[str, str] = {}
    masks: dict[str, Path | Drawn] = {}
    absent: list[str] = []
    users: dict[Path, str] = {}
    for image, asset in export.assets.items():
        place = _find_image(folder, image)
        if place and users.setdefault(place, image) != image:
            raise DataError(
                f"{path}: {users[place]} and {image} are both taken for {place}.",
                fix="Give the pictures different names, or remove one of the two.",
            )
        if not place and not image.startswith(("http://", "https://")):
            absent.append(image)
            continue
        name = normalise(place.stem if place else Path(_read_path(path, image)).stem)
        key = name if name not in images and name not in urls else f"{_name_parent(image)}_{name}"
        if place:
            add_file(images, key, place)
        elif key in urls:
            raise DataError(
                f"{path}: two images are called {key}.", fix="Give them different names."
            )
        else:
            urls[key] = image
        if asset.is_labelled:
            shapes = partial(iter, asset.shapes)
            masks[key] = draw_labelled(path, classes, shapes, asset.size, name)
    fix = "Put them beside the table, or mend their paths."
    return Source(
        layout="vott",
        classes=classes,
        ignore_index=None,
        images=images | find_unlisted(folder, images),
        masks=masks,
        class_source=path,
        urls=urls,
        findings=[
            *tell_absent(absent, path.name, fix),
            *_tell_outside(folder, images),
            *_tell_lost(path, export.lost),
        ],
    )


def _find_export(folder: Path) -> Path | None:
    """The export: in VoTT's own folder, or named as VoTT names it, or a table that begins so."""
    inside = folder.name in EXPORTS
    names = [name for name in list_names(folder) if name.lower().endswith((".json", ".csv"))]
    for name in names:
        low = name.lower()
        named = inside or "vott" in low or low.endswith(("-export.json", "-export.csv"))
        if named and (low.endswith(".json") or is_table(folder / name)):
            return folder / name
    tables = [folder / name for name in names if name.lower().endswith(".csv")]
    if len(tables) > MOST_OPENED or hold_masks(folder):
        return None
    return next((path for path in tables if begins_with_box(path)), None)


def _find_image(folder: Path, image: str) -> Path | None:
    """The file of an image: below the folder or beside it; else where its own path says."""
    path = image
    if "://" in image or image.startswith("file:"):
        path = unquote(image.partition("?")[0])
    path = path.removeprefix("file:").replace("\\", "/")
    name = path.rstrip("/").rpartition("/")[2]
    places = [folder / name, folder / "images" / name]
    if folder.name in EXPORTS:
        places.append(folder.parent / name)
    if "://" not in path:
        inside = Path(os.path.normpath(folder / path.lstrip("/")))
        places = [inside, *places] if inside.is_relative_to(folder) else places
        places += [Path(path)] if path.startswith("/") else []
    ended = [place.with_name(place.name + end) for end in (".jpg", ".png") for place in places]
    for place in (*places, *ended):
        if place.name.lower().endswith(IMAGE_SUFFIXES) and os.path.isfile(place):
            return place
    return None


def _read_path(document: Path, url: str) -> str:
    try:
        return unquote(urlsplit(url).path)
    except ValueError as error:
        raise DataError(f"{document}: {url} is no URL ({error}).", fix="Mend it.") from error


def _name_parent(image: str) -> str:
    return image.replace("\\", "/").rstrip("/").rpartition("/")[0].rpartition("/")[2]


def _tell_outside(folder: Path, images: dict[str, Path]) -> list[Finding]:
    """Pictures from elsewhere on this machine: they would go to the node, too."""
    near = folder.parent if folder.name in EXPORTS else folder
    outside = [str(path) for path in images.values() if not path.is_relative_to(near)]
    if not outside:
        return []
    message = f"{len(outside)} images lie outside of the dataset: {name_some(outside)}."
    fix = "Take them out of the export, if they are not to leave this machine."
    return [Finding("outside", "warning", message, fix, tuple(outside))]


def _tell_lost(path: Path, lost: int) -> list[Finding]:
    if not lost:
        return []
    message = f"{path.name} has {lost} regions without a tag, or tags beyond a region's first: "
    fix = "Give each region one tag in VoTT, and export again."
    return [Finding("undrawn_shape", "warning", f"{message}they are not drawn.", fix, (str(path),))]


def _read_csv(folder: Path, path: Path) -> Export:
    drawn = read_table(path, partial(_find_image, folder))
    names = sorted({label for shapes in drawn.values() for label, _ in shapes})
    return Export({image: Asset(shapes) for image, shapes in drawn.items()}, names)


def _read_document(path: Path) -> Export:
    content = read_json(path, "JSON export of VoTT", "Export the project again.")
    lost = 0
    assets: dict[str, Asset] = {}
    try:
        tags = [(str(tag["name"]), str(tag.get("color", ""))) for tag in content.get("tags", [])]
        for entry in content["assets"].values():
            asset = entry["asset"]
            image = str(asset.get("path") or asset["name"])
            shapes = [shape for region in entry["regions"] for shape in _list_shapes(region)]
            lost += sum(len(_list_tags(region)) != 1 for region in entry["regions"])
            size = asset.get("size")
            assets[image] = Asset(
                shapes,
                (int(size["height"]), int(size["width"])) if size else None,
                bool(entry["regions"]) or asset.get("state", TAGGED) == TAGGED,
            )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise DataError(
            f"{path} is no JSON export of VoTT ({error!r}).", fix="Export the project again."
        ) from error
    if not assets:
        raise DataError(f"{path} has no assets.", fix="Tag some images, and export again.")
    names = [name for name, _ in tags]
    used = {label for asset in assets.values() for label, _ in asset.shapes}
    colors = {name: color for name, text in tags if (color := parse_color(text))}
    return Export(assets, [*names, *sorted(used - {*names})], colors, lost)


def _list_tags(region: dict[str, Any]) -> list[str]:
    return [tag for tag in region["tags"] if isinstance(tag, str) and tag]


def _list_shapes(region: dict[str, Any]) -> list[Labelled]:
    """What is drawn of a region: its first tag's shape, if it has a tag."""
    points = tuple((float(p["x"]), float(p["y"])) for p in region["points"])
    kind: Kind = "rectangle" if region["type"] == "RECTANGLE" else "polygon"
    return [(tag, Shape(kind, points)) for tag in _list_tags(region)[:1]]

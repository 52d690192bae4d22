"""COCO: polygons, plain runs and compressed runs; ids of categories with gaps; two documents."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco

from tests.train.layouts import NAMES, Box, Scene, Written, cut, save

CATEGORIES = {1: 3, 2: 17, 3: 40}


def write(folder: Path, scenes: list[Scene]) -> Written:
    lists = {}
    for part, of in zip(("train", "val"), cut(scenes), strict=True):
        images, annotations = [], []
        for number, scene in enumerate(of):
            save(folder / f"{part}2017" / f"{scene.key}.jpg", scene.image)
            width, height = scene.size
            name = f"{scene.key}.jpg"
            images.append({"id": number, "file_name": name, "width": width, "height": height})
            annotations += [describe(scene, number, place) for place in range(len(scene.boxes))]
        content = {
            "images": images,
            "annotations": annotations,
            "categories": [{"id": CATEGORIES[i], "name": NAMES[i]} for i in CATEGORIES],
        }
        path = folder / "annotations" / f"instances_{part}2017.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content))
        lists[part] = [scene.key for scene in of]
    ids = {scene.key: scene.ids for scene in scenes}
    return Written(folder, ids, NAMES, {"train": lists["train"], "val": lists["val"]})


def describe(scene: Scene, image: int, place: int) -> dict[str, Any]:
    """The box at that place as an annotation, in one of the three forms."""
    box = scene.boxes[place]
    return {
        "id": 100 * image + place,
        "image_id": image,
        "category_id": CATEGORIES[box[0]],
        "iscrowd": int(place % 3 == 1),
        "segmentation": segment(scene, box, place % 3),
    }


def segment(scene: Scene, box: Box, form: int) -> Any:
    _, left, top, right, bottom = box
    if form == 0:
        return [[left, top, right, top, right, bottom, left, bottom]]
    bits = np.zeros(scene.ids.shape, np.uint8, order="F")
    bits[top:bottom, left:right] = 1
    if form == 2:
        runs = coco.encode(bits)
        return {"size": list(runs["size"]), "counts": bytes(runs["counts"]).decode()}  # type: ignore[arg-type]  # bytes, whatever the stubs say
    flat = bits.ravel(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff(np.concatenate([[0], edges, [len(flat)]])).tolist()
    return {"size": list(bits.shape), "counts": [0, *counts] if flat[0] else counts}

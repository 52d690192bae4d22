"""LabelMe: polygons, boxes and pasted masks, and an image without a JSON."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.train.layouts import NAMES, Box, Scene, Written, save


def write(folder: Path, scenes: list[Scene]) -> Written:
    *labelled, last = scenes
    for scene in scenes:
        save(folder / f"{scene.key}.jpg", scene.image)
    for scene in labelled:
        width, height = scene.size
        content: dict[str, Any] = {
            "version": "5.4.1",
            "flags": {},
            "shapes": [describe(box, form % 3) for form, box in enumerate(scene.boxes)],
            "imagePath": f"{scene.key}.jpg",
            "imageData": None,
            "imageHeight": height,
            "imageWidth": width,
        }
        (folder / f"{scene.key}.json").write_text(json.dumps(content))
    (folder / "labels.txt").write_text("__ignore__\n_background_\nsky\ncloud\nground\n")
    names = ("_background_", *NAMES[1:])
    return Written(folder, {s.key: s.ids for s in labelled}, names, {}, {last.key})


def describe(box: Box, form: int) -> dict[str, Any]:
    class_id, left, top, right, bottom = box
    shape: dict[str, Any] = {"label": NAMES[class_id], "group_id": None, "flags": {}}
    if form == 0:
        corners = [(left, top), (right - 1, top), (right - 1, bottom - 1), (left, bottom - 1)]
        return {**shape, "shape_type": "polygon", "points": corners}
    if form == 1:
        return {**shape, "shape_type": "rectangle", "points": [(left, top), (right, bottom)]}
    content = io.BytesIO()
    Image.fromarray(np.ones((bottom - top, right - left), np.bool_)).save(content, "PNG")
    text = base64.b64encode(content.getvalue()).decode()
    points = [(left, top), (right - 1, bottom - 1)]
    return {**shape, "shape_type": "mask", "points": points, "mask": text}

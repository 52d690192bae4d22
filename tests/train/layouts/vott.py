"""VoTT's JSON export: boxes and polygons with tags."""

import json
from pathlib import Path

from tests.train.layouts import COLORS, NAMES, Scene, Written, save


def write(folder: Path, scenes: list[Scene]) -> Written:
    root = folder / "vott-json-export"
    assets = {}
    for scene in scenes:
        save(root / f"{scene.key}.png", scene.image)
        regions = []
        for number, (class_id, left, top, right, bottom) in enumerate(scene.boxes):
            is_box = number % 2 == 0
            reach = 0 if is_box else 1
            corners = [
                (left, top),
                (right - reach, top),
                (right - reach, bottom - reach),
                (left, bottom - reach),
            ]
            regions.append(
                {
                    "type": "RECTANGLE" if is_box else "POLYGON",
                    "tags": [NAMES[class_id]],
                    "points": [{"x": x, "y": y} for x, y in corners],
                }
            )
        asset = {"name": f"{scene.key}.png", "path": f"file:/elsewhere/{scene.key}.png"}
        assets[scene.key] = {"asset": asset, "regions": regions}
    colors = ["#{:02x}{:02x}{:02x}".format(*color) for color in COLORS]
    tags = [{"name": n, "color": c} for n, c in zip(NAMES[1:], colors[1:], strict=True)]
    text = json.dumps({"name": "skies", "assets": assets, "tags": tags})
    (root / "skies-export.json").write_text(text)
    return Written(root, {scene.key: scene.ids for scene in scenes})

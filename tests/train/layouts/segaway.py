"""segaway's own: a manifest, lists, void, and an image without a mask."""

import hashlib
import json
from pathlib import Path
from typing import Any

from tests.train.layouts import COLORS, NAMES, Scene, Written, cut, save, with_void


def write(folder: Path, scenes: list[Scene]) -> Written:
    *labelled, last = scenes
    train, val = cut(labelled)
    files: dict[str, Any] = {}
    lists = {
        "train": [describe(folder, scene, files) for scene in train],
        "val": [describe(folder, scene, files) for scene in val],
        "test": [],
        "unlabelled": [describe(folder, last, files) | {"mask": None}],
    }
    content = {
        "version": 1,
        "name": "skies",
        "layout": "segaway",
        "classes": [{"name": n, "color": c} for n, c in zip(NAMES, COLORS, strict=True)],
        "ignore_index": 255,
        "fingerprint": "0" * 64,
        "pixels": {
            name: sum(int((with_void(s) == i).sum()) for s in labelled)
            for i, name in enumerate(NAMES)
        },
        "lists": lists,
        "files": files,
    }
    (folder / "dataset.json").write_text(json.dumps(content))
    ids = {scene.key: with_void(scene) for scene in labelled}
    keys = {"train": [s.key for s in train], "val": [s.key for s in val]}
    return Written(folder, ids, NAMES, {"train": keys["train"], "val": keys["val"]}, {last.key})


def describe(folder: Path, scene: Scene, files: dict[str, Any]) -> dict[str, Any]:
    """A sample, whose files are written."""
    image, mask = f"images/{scene.key}.png", f"masks/{scene.key}.png"
    for name, pixels in ((image, scene.image), (mask, with_void(scene))):
        content = save(folder / name, pixels).read_bytes()
        files[name] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    width, height = scene.size
    return {"id": scene.key, "image": image, "mask": mask, "width": width, "height": height}

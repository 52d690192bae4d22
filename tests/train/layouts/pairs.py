"""Two parallel folders; masks in colours, a table of these, and names that end in _L."""

from pathlib import Path

import numpy as np

from tests.train.layouts import COLORS, NAMES, Scene, Written, save


def write(folder: Path, scenes: list[Scene]) -> Written:
    *labelled, last = scenes
    table = [
        "name,r,g,b",
        *(f"{n},{c[0]},{c[1]},{c[2]}" for n, c in zip(NAMES, COLORS, strict=True)),
    ]
    (folder / "class_dict.csv").write_text("\n".join(table))
    for scene in scenes:
        save(folder / "images" / f"{scene.key}.PNG", scene.image)
    for scene in labelled:
        save(folder / "labels" / f"{scene.key}_L.png", np.array(COLORS, np.uint8)[scene.ids])
    return Written(folder, {s.key: s.ids for s in labelled}, NAMES, {}, {last.key})

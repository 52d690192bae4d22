"""Cityscapes: label ids, of which some are void; a test part without labels."""

from pathlib import Path

import numpy as np

from tests.train.layouts import Scene, Written, cut, save
from train.data.formats.cityscapes import CLASSES
from train.data.masks import VOID

# Road, car, sky; and one that does not count: static.
LABELS = np.array([7, 26, 23, 4], np.uint8)
IDS = np.array([0, 13, 10, VOID], np.uint8)


def write(folder: Path, scenes: list[Scene]) -> Written:
    *known, tested = scenes
    for part, of in (*zip(("train", "val"), cut(known), strict=True), ("test", [tested])):
        for scene in of:
            name = scene.key.replace(" ", "_")
            save(folder / "leftImg8bit" / part / "ulm" / f"{name}_leftImg8bit.png", scene.image)
            place = folder / "gtFine" / part / "ulm"
            ids = LABELS[scene.ids] if part != "test" else np.zeros_like(scene.ids)
            save(place / f"{name}_gtFine_labelIds.png", ids)
            save(place / f"{name}_gtFine_instanceIds.png", ids.astype(np.uint16))
    train, val = ([s.key.replace(" ", "_") for s in part] for part in cut(known))
    ids_by_key = {scene.key.replace(" ", "_"): IDS[scene.ids] for scene in known}
    names = [name for name, _ in CLASSES.values()]
    unlabelled = {tested.key.replace(" ", "_")}
    return Written(folder, ids_by_key, names, {"train": train, "val": val}, unlabelled)

"""JetCar's DataSet folder: prefixes in train and val, none in test."""

from pathlib import Path

from tests.train.layouts import Scene, Written, cut, save
from train.data.dataset import ListName
from train.data.formats.jetcar import CLASSES


def write(folder: Path, scenes: list[Scene]) -> Written:
    root = folder / "DataSet"
    *known, tested = scenes
    train, val = cut(known)
    for part, of in (("Train", train), ("Val", val)):
        for scene in of:
            save(root / "Img" / part / f"Img_{scene.key}.jpg", scene.image)
            save(root / "Mask" / part / f"Mask_{scene.key}.png", scene.ids * 7)
    save(root / "Img" / "Test" / f"{tested.key}.jpg", tested.image)
    lists: dict[ListName, list[str]] = {
        "train": [s.key for s in train],
        "val": [s.key for s in val],
    }
    ids = {scene.key: scene.ids * 7 for scene in known}
    return Written(root, ids, [*CLASSES], lists, {tested.key})

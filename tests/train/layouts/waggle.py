"""Waggle's first generation, with the published file of class names and a config."""

from pathlib import Path

from tests.train.layouts import Scene, Written, save

NAMES = ("sky", "background", "cloud")


def write(
    folder: Path, scenes: list[Scene], pair: tuple[str, str] = ("image", "gt_image")
) -> Written:
    root = folder / "storage"
    for scene in scenes:
        save(root / pair[0] / f"{scene.key}.jpg", scene.image)
        save(root / pair[1] / f"{scene.key}.png", scene.ids % 3)
    (root / "class_names.list").write_text("sky\nbackground\ncloud\n")
    (root / "config.list").write_text('{"max_iteration": 10, "lr": 1e-10, "fcn": "50"}')
    return Written(root, {scene.key: scene.ids % 3 for scene in scenes}, NAMES)

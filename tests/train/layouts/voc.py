"""VOC 2012 with a labelmap, void, lists and an image without a mask."""

from pathlib import Path

from tests.train.layouts import COLORS, NAMES, Scene, Written, cut, save, with_void
from train.data.masks import write_mask


def write(folder: Path, scenes: list[Scene]) -> Written:
    root = folder / "VOCdevkit" / "VOC2012"
    (root / "SegmentationClass").mkdir(parents=True)
    *labelled, last = scenes
    for scene in scenes:
        save(root / "JPEGImages" / f"{scene.key}.png", scene.image)
    for scene in labelled:
        write_mask(root / "SegmentationClass" / f"{scene.key}.png", with_void(scene), COLORS)
    lines = [f"{name}:{','.join(map(str, c))}::" for name, c in zip(NAMES, COLORS, strict=True)]
    (root / "labelmap.txt").write_text("# label:color_rgb:parts:actions\n" + "\n".join(lines))
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    train, val = ([s.key for s in part] for part in cut(labelled))
    (lists / "train.txt").write_text("\n".join(train), encoding="utf-8-sig", newline="\r\n")
    (lists / "val.txt").write_text("\n".join(val) + "\n")
    ids = {scene.key: with_void(scene) for scene in labelled}
    return Written(root, ids, NAMES, {"train": train, "val": val}, {last.key})

"""SegNet's CamVid: lists with the paths of another machine, 11 as void."""

from pathlib import Path

from tests.train.layouts import Scene, Written, cut, save
from train.data.formats.segnet import CAMVID
from train.data.masks import VOID


def write(folder: Path, scenes: list[Scene]) -> Written:
    root = folder / "CamVid"
    ids = {}
    for part, of in zip(("train", "val"), cut(scenes), strict=True):
        lines = []
        for scene in of:
            name = f"{scene.key}.png"
            values = scene.ids.copy()
            values[:2] = len(CAMVID)
            save(root / part / name, scene.image)
            save(root / f"{part}annot" / name, values)
            lines.append(f"/SegNet/CamVid/{part}/{name} /SegNet/CamVid/{part}annot/{name}")
            ids[scene.key] = values
            ids[scene.key][:2] = VOID
        root.joinpath(f"{part}.txt").write_text("\r\n".join(lines), encoding="utf-8")
    train, val = ([s.key for s in part] for part in cut(scenes))
    return Written(root, ids, CAMVID, {"train": train, "val": val})

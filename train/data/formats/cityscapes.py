"""Cityscapes: `leftImg8bit/{train,val,test}/CITY/` and `gtFine/` (or `gtCoarse/`) with labelIds.

Of the 34 label ids the 19 that the benchmark counts are classes; all others are void. The masks of
test hold no labels: its images are unlabelled.
Source: cityscapesScripts, `helpers/labels.py`.
"""

from pathlib import Path

from train.data.dataset import ClassInfo, ListName
from train.data.findings import Finding
from train.data.formats import Source, add_file, list_folders, list_names
from train.data.masks import VOID

IMAGES, TRUTHS = "leftImg8bit", ("gtFine", "gtCoarse")
PARTS: tuple[ListName, ...] = ("train", "val")
# By label id, in the order of the ids that they are trained with.
CLASSES = {
    7: ("road", (128, 64, 128)),
    8: ("sidewalk", (244, 35, 232)),
    11: ("building", (70, 70, 70)),
    12: ("wall", (102, 102, 156)),
    13: ("fence", (190, 153, 153)),
    17: ("pole", (153, 153, 153)),
    19: ("traffic light", (250, 170, 30)),
    20: ("traffic sign", (220, 220, 0)),
    21: ("vegetation", (107, 142, 35)),
    22: ("terrain", (152, 251, 152)),
    23: ("sky", (70, 130, 180)),
    24: ("person", (220, 20, 60)),
    25: ("rider", (255, 0, 0)),
    26: ("car", (0, 0, 142)),
    27: ("truck", (0, 0, 70)),
    28: ("bus", (0, 60, 100)),
    31: ("train", (0, 80, 100)),
    32: ("motorcycle", (0, 0, 230)),
    33: ("bicycle", (119, 11, 32)),
}
LABELS = 34
LICENCE_PLATE = 255  # its id is -1


def recognise(folder: Path) -> bool:
    """Pictures and truths are there, beside each other or each in the folder of its archive."""
    return bool(_find_roots(folder))


def _find_roots(folder: Path) -> tuple[Path, Path] | None:
    """The folder of the pictures, and that of the truths."""
    places = [folder, *(folder / name for name in list_folders(folder))]
    shown = next((p / IMAGES for p in places if (p / IMAGES).is_dir()), None)
    drawn = next((p / name for name in TRUTHS for p in places if (p / name).is_dir()), None)
    return (shown, drawn) if shown and drawn else None


def read(folder: Path) -> Source:
    """The pairs of train and val, and the pictures of test."""
    roots = _find_roots(folder)
    assert roots is not None
    shown, drawn_in = roots
    images: dict[str, Path] = {}
    masks: dict[str, Path] = {}
    lists: dict[ListName, list[str]] = {}
    for part in list_folders(shown):
        found = _index(shown / part, f"_{IMAGES}")
        drawn = _index(drawn_in / part, f"_{drawn_in.name}_labelIds")
        for key, path in found.items():
            add_file(images, key, path)
        if part != "test":
            masks |= drawn
        if part in PARTS:
            lists["train" if part == "train" else "val"] = sorted(found.keys() & drawn.keys())
    values = dict.fromkeys([*range(LABELS), LICENCE_PLATE], VOID)
    values |= {label: number for number, label in enumerate(CLASSES)}
    message = "The masks of test hold no labels: its images count as unlabelled."
    tested = (shown / "test").is_dir()
    return Source(
        layout="cityscapes",
        classes=[ClassInfo(name=name, color=color) for name, color in CLASSES.values()],
        ignore_index=VOID,
        images=images,
        masks=masks,
        lists=lists,
        fixed_classes=True,
        values=values,
        findings=[Finding("unlabelled_test", "note", message)] if tested else [],
    )


def _index(folder: Path, ending: str) -> dict[str, Path]:
    """The PNG files of all cities with that ending of their names, by what stands before it."""
    found: dict[str, Path] = {}
    for city in list_folders(folder):
        for name in list_names(folder / city):
            if name.endswith(f"{ending}.png"):
                add_file(found, name.removesuffix(f"{ending}.png"), folder / city / name)
    return found

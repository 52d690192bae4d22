"""Layouts as people really have them: the parts of one layout that its own set does not show."""

from pathlib import Path

import numpy as np
import pytest

from tests.train.layouts import COLORS, NAMES, Scene, cut, make_scenes, save, write_layout
from train.data.dataset import Dataset, ListName
from train.data.formats import read_source
from train.data.masks import VOID, Mask, write_mask
from train.data.samples import read_truth
from train.data.separate import Separation, separate_dataset
from train.errors import DataError

SHORT = [Scene(f"s{n:02}", s.image, s.ids, s.boxes) for n, s in enumerate(make_scenes())]
LABELLED: tuple[ListName, ...] = ("train", "val", "test")


def separate(tmp_path: Path) -> Separation:
    return separate_dataset(tmp_path / "set", tmp_path / "out")


def read_ids(tmp_path: Path, made: Dataset) -> dict[str, Mask]:
    samples = [s for name in LABELLED for s in made.lists[name]]
    return {s.id: read_truth(tmp_path / "out", s, made.ignore_index) for s in samples}


def check_pairs(tmp_path: Path, lists: bool) -> None:
    made = separate(tmp_path).dataset
    assert made.layout == "pairs"
    found = read_ids(tmp_path, made)
    assert found.keys() == {scene.key for scene in SHORT}
    for scene in SHORT:
        np.testing.assert_array_equal(found[scene.key], scene.ids)
    if lists:
        assert [s.id for s in made.lists["val"]] == [s.key for s in cut(SHORT)[1]]


@pytest.mark.parametrize(
    ("image", "mask", "lists"),
    [
        ("img/{key}.jpg", "masks/{key}.png", False),
        ("Images/{key}.JPG", "GT/{key}_gt.PNG", False),
        ("{part}/images/{key}.jpg", "{part}/masks/{key}_mask.png", True),
        ("images/{part}/{key}.jpg", "labels/{part}/{key}.png", True),
        ("{part}/{key}.jpg", "{part}annot/{key}_L.png", True),
        ("{key}.jpg", "{key}_mask.png", False),
    ],
)
def test_pairs_are_found_by_their_names(tmp_path: Path, image: str, mask: str, lists: bool) -> None:
    for part, of in zip(("train", "val"), cut(SHORT), strict=True):
        for scene in of:
            save(tmp_path / "set" / image.format(part=part, key=scene.key), scene.image)
            save(tmp_path / "set" / mask.format(part=part, key=scene.key), scene.ids)
    check_pairs(tmp_path, lists)


def test_files_without_an_ending_are_judged_by_their_bytes(tmp_path: Path) -> None:
    for scene in SHORT:
        for part, pixels in (("images", scene.image), ("masks", scene.ids)):
            path = save(tmp_path / "set" / part / f"{scene.key}.png", pixels)
            path.rename(path.with_suffix(""))
    (tmp_path / "set" / "images" / "README").write_text("no picture")
    check_pairs(tmp_path, lists=False)


def test_black_and_white_masks_have_two_classes(tmp_path: Path) -> None:
    for scene in SHORT:
        save(tmp_path / "set" / "images" / f"{scene.key}.jpg", scene.image)
        save(tmp_path / "set" / "masks" / f"{scene.key}.png", (scene.ids > 0) * np.uint8(255))
    done = separate(tmp_path)
    assert done.dataset.class_names == ["background", "foreground"]
    assert any("255 is taken for class 1" in note for note in done.notes)
    for scene in SHORT:
        found = read_ids(tmp_path, done.dataset)[scene.key]
        np.testing.assert_array_equal(found, scene.ids > 0)


def test_masks_of_one_bit_are_masks(tmp_path: Path) -> None:
    for scene in SHORT:
        save(tmp_path / "set" / "images" / f"{scene.key}.jpg", scene.image)
        save(tmp_path / "set" / "masks" / f"{scene.key}.png", scene.ids > 0)
    made = separate(tmp_path).dataset
    assert made.class_names == ["class_0", "class_1"]
    assert made.pixels["class_1"] == sum(int((s.ids > 0).sum()) for s in SHORT)


@pytest.mark.parametrize(
    "table",
    [
        "name,r,g,b\n{rows}",
        "# colours\n{rows}",
        "{rows}",
    ],
)
@pytest.mark.parametrize(
    "row", ["{name},{r},{g},{b}", "{r} {g} {b}\t{name}", "{name}: {r}, {g}, {b}"]
)
def test_tables_of_colours_are_read_as_they_come(tmp_path: Path, table: str, row: str) -> None:
    rows = [row.format(name=n, r=c[0], g=c[1], b=c[2]) for n, c in zip(NAMES, COLORS, strict=True)]
    for scene in SHORT:
        save(tmp_path / "set" / "images" / f"{scene.key}.jpg", scene.image)
        save(tmp_path / "set" / "masks" / f"{scene.key}.png", np.array(COLORS, np.uint8)[scene.ids])
    (tmp_path / "set" / "label_colors.txt").write_text(table.format(rows="\n".join(rows)))
    check_pairs(tmp_path, lists=False)


def write_voc(root: Path, folder: str = "SegmentationClass") -> None:
    for scene in SHORT:
        save(root / "JPEGImages" / f"{scene.key}.jpg", scene.image)
    (root / folder).mkdir(exist_ok=True)


def test_sbds_masks_and_list_are_trained_on_but_for_what_is_held_out(tmp_path: Path) -> None:
    root = tmp_path / "set" / "VOC2012"
    write_voc(root)
    train, val = cut(SHORT)
    for scene in (*train[:2], *val):
        write_mask(root / "SegmentationClass" / f"{scene.key}.png", scene.ids, COLORS)
    for scene in SHORT:
        save(root / "SegmentationClassAug" / f"{scene.key}.png", scene.ids)
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("\n".join(s.key for s in train[:2]))
    (lists / "val.txt").write_text("\n".join(s.key for s in val))
    pairs = [f"/JPEGImages/{s.key}.jpg /SegmentationClassAug/{s.key}.png" for s in SHORT]
    (lists / "trainaug.txt").write_text("\n".join(pairs))
    done = separate(tmp_path)
    assert [s.id for s in done.dataset.lists["train"]] == [s.key for s in train]
    assert [s.id for s in done.dataset.lists["val"]] == [s.key for s in val]
    assert any("trainaug.txt is trained on" in note for note in done.notes)
    for key, ids in read_ids(tmp_path, done.dataset).items():
        np.testing.assert_array_equal(ids, next(s.ids for s in SHORT if s.key == key))


def test_cvats_masks_in_colours_are_ids_by_its_labelmap(tmp_path: Path) -> None:
    root = tmp_path / "set"
    write_voc(root)
    for scene in SHORT:
        save(root / "SegmentationClass" / f"{scene.key}.png", np.array(COLORS, np.uint8)[scene.ids])
    lines = [f"{n}:{c[0]},{c[1]},{c[2]}::" for n, c in zip(NAMES, COLORS, strict=True)]
    (root / "labelmap.txt").write_text("\n".join(lines))
    made = separate(tmp_path).dataset
    assert made.layout == "voc"
    for scene in SHORT:
        np.testing.assert_array_equal(read_ids(tmp_path, made)[scene.key], scene.ids)


def test_ids_and_void_without_names_are_no_greys(tmp_path: Path) -> None:
    """0, 1, 2 and 255 lie in two clusters, too."""
    for scene in SHORT:
        ids = scene.ids % 3
        ids[:2] = VOID
        save(tmp_path / "set" / "images" / f"{scene.key}.jpg", scene.image)
        save(tmp_path / "set" / "masks" / f"{scene.key}.png", ids)
    made = separate(tmp_path).dataset
    assert made.class_names == ["class_0", "class_1", "class_2"]
    assert (read_ids(tmp_path, made)["s00"][:2] == VOID).all()


def test_seventy_seven_greys_are_not_seventy_seven_classes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for scene in SHORT:
        save(tmp_path / "set" / "images" / f"{scene.key}.jpg", scene.image)
        greys = rng.integers(0, 77, scene.ids.shape).astype(np.uint8)
        save(tmp_path / "set" / "masks" / f"{scene.key}.png", greys)
    with pytest.raises(DataError, match=r"hold 77 values.* no file names the classes"):
        separate(tmp_path)


def test_roboflows_folders_are_lists(tmp_path: Path) -> None:
    write_layout("coco", tmp_path / "coco")
    for part, name in (("train", "train"), ("val", "valid")):
        place = tmp_path / "set" / name
        place.parent.mkdir(exist_ok=True)
        (tmp_path / "coco" / f"{part}2017").rename(place)
        document = tmp_path / "coco" / "annotations" / f"instances_{part}2017.json"
        document.rename(place / "_annotations.coco.json")
    made = separate(tmp_path).dataset
    assert (made.counts["train"], made.counts["val"]) == (7, 3)


def test_a_layout_can_be_chosen_where_it_would_not_be(tmp_path: Path) -> None:
    write_layout("waggle", tmp_path / "set")
    assert read_source(tmp_path / "set", "pairs").layout == "pairs"

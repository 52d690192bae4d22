"""Layouts as people really have them: the parts of one layout that its own set does not show."""

import unicodedata
from pathlib import Path

import numpy as np
import pytest

from tests.train.layouts import COLORS, NAMES, Scene, cut, make_scenes, save, write_layout
from train.data.dataset import Dataset, ListName
from train.data.formats import read_source
from train.data.masks import VOID, Mask, voc_color, write_mask
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


def write_pairs(root: Path, image: str, mask: str) -> None:
    for part, scenes in zip(("train", "val"), cut(SHORT), strict=True):
        for number, scene in enumerate(scenes):
            names = {"part": part, "key": scene.key, "n": number}
            save(root / image.format(**names), scene.image)
            save(root / mask.format(**names), scene.ids)


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("img_dir/{part}/{key}.jpg", "ann_dir/{part}/{key}.png"),
        ("{part}_images/{key}.jpg", "{part}_masks/{key}.png"),
        ("{part}/{key}.jpg", "{part}_masks/{key}_mask.png"),
        ("{part}/{key}_sat.jpg", "{part}/{key}_mask.png"),
        ("{part}/{key}.v1.rf.ab12.jpg", "{part}/{key}.v1.rf.ab12_mask.png"),
        ("images/{part}/city/{key}.jpg", "labels/{part}/city/{key}.png"),
        ("images_png/{key}.png", "masks_png/{key}.png"),
        ("a/b/c/d/images/{key}.png", "a/b/c/d/masks/{key}.png"),
        ("{key}.jpg", "{key}.png"),
        ("images/{key}.jpg", "annotations/trimaps/{key}.png"),
        ("images/{key}.jpg", "masks/{key}.jpg.png"),
        ("images/{key}_training.jpg", "1st_manual/{key}_manual1.png"),
        ("images/{part}/{n}.jpg", "masks/{part}/{n}.png"),
        ("{part}/img/{key}.pgm", "{part}/masks_machine/{key}.png"),
    ],
)
def test_pairs_have_the_names_that_people_give_them(tmp_path: Path, image: str, mask: str) -> None:
    write_pairs(tmp_path / "set", image, mask)
    done = separate(tmp_path)
    assert done.dataset.layout == "pairs"
    assert done.dataset.counts["unlabelled"] == 0
    found = read_ids(tmp_path, done.dataset)
    assert len(found) == len(SHORT)
    assert sorted(f.tobytes() for f in found.values()) == sorted(s.ids.tobytes() for s in SHORT)
    if "{part}" in image:
        assert (done.dataset.counts["train"], done.dataset.counts["val"]) == (7, 3)


def test_roboflows_table_of_ids_names_the_classes(tmp_path: Path) -> None:
    write_pairs(tmp_path / "set", "{part}/{key}.jpg", "{part}/{key}_mask.png")
    rows = "\n".join(f"{i}, {name}" for i, name in enumerate(NAMES))
    (tmp_path / "set/train/_classes.csv").write_text(f"Pixel Value, Class\n{rows}\n")
    assert separate(tmp_path).dataset.class_names == [*NAMES]


def test_a_table_of_ids_with_a_gap_is_refused(tmp_path: Path) -> None:
    write_pairs(tmp_path / "set", "images/{key}.jpg", "masks/{key}.png")
    (tmp_path / "set/_classes.csv").write_text("Pixel Value, Class\n0, sky\n5, sea\n")
    with pytest.raises(DataError, match=r"_classes\.csv names the ids \[0, 5\]"):
        separate(tmp_path)


def test_folders_with_the_same_names_keep_their_own_masks(tmp_path: Path) -> None:
    for number, scene in enumerate(SHORT[:9]):
        name = f"{'abc'[number % 3]}/{number // 3}.png"
        save(tmp_path / "set/images" / name, scene.image)
        if number:
            save(tmp_path / "set/masks" / name, scene.ids)
    made = separate(tmp_path).dataset
    found = read_ids(tmp_path, made)
    for number, scene in enumerate(SHORT[1:9], start=1):
        key = f"{'abc'[number % 3]}_{number // 3}"
        np.testing.assert_array_equal(found[key], scene.ids)
    assert [s.id for s in made.lists["unlabelled"]] == ["a_0"]


@pytest.mark.parametrize("layout", ["waggle", "jetcar", "segnet"])
def test_names_that_train_and_val_share_are_two_images(tmp_path: Path, layout: str) -> None:
    root = tmp_path / "set"
    names = {
        "waggle": ("{part}/images/{n}.png", "{part}/labels/{n}.png"),
        "jetcar": ("Img/{Part}/Img_{n}.png", "Mask/{Part}/Mask_{n}.png"),
        "segnet": ("{part}/{n}.png", "{part}annot/{n}.png"),
    }[layout]
    for part, scenes in zip(("train", "val"), cut(SHORT), strict=True):
        for number, scene in enumerate(scenes):
            for name, pixels in zip(names, (scene.image, scene.ids), strict=True):
                save(root / name.format(part=part, Part=part.title(), n=number), pixels)
        if layout == "segnet":
            lines = [f"{part}/{n}.png {part}annot/{n}.png" for n in range(len(scenes))]
            (root / f"{part}.txt").write_text("\n".join(lines))
    (root / "class_names.list").write_text("\n".join(NAMES))
    done = separate(tmp_path)
    assert done.dataset.layout == layout
    assert (done.dataset.counts["train"], done.dataset.counts["val"]) == (7, 3)
    found = read_ids(tmp_path, done.dataset)
    assert sorted(f.tobytes() for f in found.values()) == sorted(s.ids.tobytes() for s in SHORT)


def test_lists_of_names_beside_pairs_are_lists(tmp_path: Path) -> None:
    write_pairs(tmp_path / "set", "images/{key}.jpg", "masks/{key}.png")
    for part, scenes in zip(("train", "val"), cut(SHORT), strict=True):
        lines = "\n".join(f"images/{scene.key}.jpg" for scene in scenes)
        (tmp_path / "set" / f"{part}.txt").write_text(lines)
    made = separate(tmp_path).dataset
    assert [s.id for s in made.lists["val"]] == [s.key for s in cut(SHORT)[1]]


def test_folders_of_pictures_that_are_not_read_are_told(tmp_path: Path) -> None:
    """DRIVE has the field of view beside the truth."""
    write_pairs(tmp_path / "set", "images/{key}.jpg", "1st_manual/{key}.png")
    write_pairs(tmp_path / "set", "images/{key}.jpg", "mask/{key}.png")
    done = separate(tmp_path)
    assert any("mask holds pictures that are not read" in note for note in done.notes)


def test_names_that_only_differ_alike_are_paired_and_that_is_told(tmp_path: Path) -> None:
    write_pairs(tmp_path / "set", "images/img_{key}.jpg", "masks/mask_{key}.png")
    save(tmp_path / "set/masks/mask_more.png", SHORT[0].ids)
    done = separate(tmp_path)
    assert len(read_ids(tmp_path, done.dataset)) == len(SHORT)
    assert any("paired by what differs in their names, as img_s0" in n for n in done.notes)
    assert any("1 masks have no image and are left out" in note for note in done.notes)


def test_a_mask_is_not_given_to_an_image_of_another_folder(tmp_path: Path) -> None:
    for place, keys in (("a", "01"), ("b", "123")):
        for number, key in enumerate(keys):
            save(tmp_path / "set/images" / place / f"{place}{key}.jpg", SHORT[number].image)
    for name in ("a/a0", "a/b1", "b/b2", "b/b3"):
        save(tmp_path / "set/masks" / f"{name}.png", SHORT[0].ids)
    source = read_source(tmp_path / "set")
    labelled = source.images.keys() & source.masks.keys()
    assert labelled == {"a_a0", "b_b2", "b_b3"}


def test_yolos_texts_are_no_masks(tmp_path: Path) -> None:
    write_pairs(tmp_path / "set", "images/{key}.jpg", "segmentations/{key}.png")
    (tmp_path / "set/labels").mkdir()
    (tmp_path / "set/labels/s00.txt").write_text("0 0.5 0.5 1 1")
    assert len(read_ids(tmp_path, separate(tmp_path).dataset)) == len(SHORT)


def test_names_of_macos_are_those_of_other_systems(tmp_path: Path) -> None:
    for n, scene in enumerate(SHORT):
        save(tmp_path / "set/images" / unicodedata.normalize("NFD", f"ü{n}.jpg"), scene.image)
        save(tmp_path / "set/masks" / unicodedata.normalize("NFC", f"ü{n}.png"), scene.ids)
    assert len(read_ids(tmp_path, separate(tmp_path).dataset)) == len(SHORT)


def test_labelme2vocs_names_are_the_classes(tmp_path: Path) -> None:
    root = tmp_path / "set"
    write_voc(root)
    for scene in SHORT:
        write_mask(root / "SegmentationClass" / f"{scene.key}.png", scene.ids, COLORS)
    (root / "class_names.txt").write_text("_background_\nsky\ncloud\nground\n")
    assert separate(tmp_path).dataset.class_names == ["_background_", "sky", "cloud", "ground"]


def test_vocs_masks_may_be_in_its_colours(tmp_path: Path) -> None:
    root = tmp_path / "set"
    write_voc(root)
    for scene in SHORT:
        colors = np.array([voc_color(i) for i in range(4)], np.uint8)
        save(root / "SegmentationClass" / f"{scene.key}.png", colors[scene.ids])
    found = read_ids(tmp_path, separate(tmp_path).dataset)
    np.testing.assert_array_equal(found["s00"], SHORT[0].ids)


def test_cvats_camvid_has_a_list_called_default_and_a_table_of_colours(tmp_path: Path) -> None:
    root = tmp_path / "set"
    for scene in SHORT:
        save(root / "default" / f"{scene.key}.jpg", scene.image)
        colors = np.array(COLORS, np.uint8)[scene.ids]
        save(root / "defaultannot" / f"{scene.key}.png", colors)
    lines = [f"/default/{s.key}.jpg /defaultannot/{s.key}.png" for s in SHORT]
    (root / "default.txt").write_text("\n".join(lines))
    rows = [f"{c[0]} {c[1]} {c[2]} {n}" for n, c in zip(NAMES, COLORS, strict=True)]
    (root / "label_colors.txt").write_text("\n".join(rows))
    made = separate(tmp_path).dataset
    assert (made.layout, made.class_names) == ("segnet", [*NAMES])
    np.testing.assert_array_equal(read_ids(tmp_path, made)["s00"], SHORT[0].ids)


def test_cityscapes_two_archives_may_have_a_folder_each(tmp_path: Path) -> None:
    write_layout("cityscapes", tmp_path / "one")
    for part in ("leftImg8bit", "gtFine"):
        place = tmp_path / "set" / f"{part}_trainvaltest" / part
        place.parent.mkdir(parents=True)
        (tmp_path / "one" / part).rename(place)
    assert separate(tmp_path).dataset.layout == "cityscapes"


def test_what_there_is_is_told_where_no_layout_fits(tmp_path: Path) -> None:
    (tmp_path / "set/stuff").mkdir(parents=True)
    for name in ("images.zip", "masks.zip", "read.me"):
        (tmp_path / "set" / name).write_text("")
    with pytest.raises(
        DataError, match=r"folders stuff and the files: 2 x \.zip, 1 x \.me\. Unpack"
    ) as caught:
        separate(tmp_path)
    assert "call the folders images and masks" in caught.value.fix


def test_a_mask_without_an_image_is_not_given_to_another_part(tmp_path: Path) -> None:
    write_pairs(tmp_path / "set", "{part}/images/{key}.png", "{part}/masks/{key}.png")
    save(tmp_path / "set/train/masks/more.png", SHORT[0].ids)
    save(tmp_path / "set/val/images/more.png", SHORT[1].image)
    source = read_source(tmp_path / "set")
    assert "val_more" in source.images
    assert source.masks.keys() - source.images.keys() == {"more"}


@pytest.mark.parametrize("line", ["a/{n}.png", "a/v{n}.0.png"])
def test_lists_may_have_paths_and_names_with_points(tmp_path: Path, line: str) -> None:
    for n, scene in enumerate(SHORT):
        save(tmp_path / "set/images" / line.format(n=n), scene.image)
        save(tmp_path / "set/masks" / line.format(n=n), scene.ids)
    names = [line.format(n=n).removesuffix(".png") for n in range(10)]
    (tmp_path / "set/train.txt").write_text("\n".join(names[:7]))
    (tmp_path / "set/val.txt").write_text("\n".join(names[7:]))
    made = separate(tmp_path).dataset
    assert [s.id for s in made.lists["val"]] == [name.replace("/", "_") for name in names[7:]]


def test_lists_of_something_else_are_told(tmp_path: Path) -> None:
    write_pairs(tmp_path / "set", "images/{key}.png", "masks/{key}.png")
    (tmp_path / "set/train.txt").write_text("chapter one\n")
    assert any("No line of" in note and "train.txt" in note for note in separate(tmp_path).notes)


def test_two_pictures_of_one_mask_are_refused(tmp_path: Path) -> None:
    for ending in ("_rgb", "_sat", "_mask"):
        save(tmp_path / "set" / f"0{ending}.png", SHORT[0].ids)
    with pytest.raises(DataError, match="have the same name but for the ending"):
        separate(tmp_path)


def test_clouds_pictures_of_both_folders_are_two(tmp_path: Path) -> None:
    write_layout("clouds", tmp_path / "set")
    name = sorted((tmp_path / "set/train_images").iterdir())[0].name
    save(tmp_path / "set/test_images" / name, SHORT[0].image)
    source = read_source(tmp_path / "set")
    key = Path(name).stem
    assert source.images[key].parent.name == "train_images"
    assert source.images[f"test_images_{key}"].parent.name == "test_images"


def test_an_xml_of_something_else_is_no_matter_to_jetcar(tmp_path: Path) -> None:
    written = write_layout("jetcar", tmp_path / "set")
    (written.folder / "other.xml").write_bytes("<a/>".encode("utf-16"))
    assert read_source(tmp_path / "set").layout == "jetcar"


def test_camvids_names_are_told_where_they_are_taken(tmp_path: Path) -> None:
    write_layout("segnet", tmp_path / "set")
    for path in (tmp_path / "set").rglob("*"):
        if path.name in ("class_names.list", "classes.txt", "labels.txt"):
            path.unlink()
    findings = read_source(tmp_path / "set").findings
    assert any("taken for the 11 of CamVid" in f.message for f in findings)

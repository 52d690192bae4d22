"""Annotations as other tools than the layout's own, or the same tool elsewhere, write them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco

from tests.train.layouts import NAMES, Scene, cut, make_scenes, save, write_layout
from train.data.formats import Drawn, Source, read_source
from train.data.formats._instances import Annotation, find_runs
from train.data.masks import Mask
from train.data.separate import separate_dataset
from train.errors import DataError

SHORT = [Scene(f"s{n:02}", s.image, s.ids, s.boxes) for n, s in enumerate(make_scenes())]


def draw(source: Source, key: str, height: int, width: int) -> Mask:
    mask = source.masks[key]
    assert isinstance(mask, Drawn)
    return mask.draw(height, width)


def check_scenes(source: Source) -> None:
    assert source.masks.keys() == {scene.key for scene in SHORT}
    for scene in SHORT:
        np.testing.assert_array_equal(draw(source, scene.key, *scene.ids.shape), scene.ids)


def write_labelme(scene: Scene, image: Path, document: Path) -> None:
    save(image / f"{scene.key}.jpg", scene.image)
    document.mkdir(parents=True, exist_ok=True)
    shapes = [
        {"label": NAMES[c], "shape_type": "rectangle", "points": [(left, top), (right, bottom)]}
        for c, left, top, right, bottom in scene.boxes
    ]
    (document / f"{scene.key}.json").write_text(json.dumps({"version": "5.4.1", "shapes": shapes}))


def test_labelmes_documents_may_have_a_folder_of_their_own(tmp_path: Path) -> None:
    for scene in SHORT:
        write_labelme(scene, tmp_path / "set/images", tmp_path / "set/annotations")
    (tmp_path / "set/labels.txt").write_text("\n".join(NAMES))
    source = read_source(tmp_path / "set")
    assert source.layout == "labelme"
    check_scenes(source)


@pytest.mark.parametrize("images", ["{part}", "{part}/images", "images/{part}"])
def test_labelmes_folders_of_lists_are_lists(tmp_path: Path, images: str) -> None:
    for part, scenes in zip(("train", "val"), cut(SHORT), strict=True):
        place = tmp_path / "set" / images.format(part=part)
        drawn = Path(str(place).replace("images", "json"))
        for scene in scenes:
            write_labelme(scene, place, drawn)
    (tmp_path / "set/labels.txt").write_text("\n".join(NAMES))
    save(place / "more.jpg", SHORT[0].image)
    source = read_source(tmp_path / "set")
    assert source.lists["val"] == [scene.key for scene in cut(SHORT)[1]]
    assert "more" in source.images
    check_scenes(source)


@pytest.mark.parametrize("name", ["result.json", "annotations/export.json"])
def test_a_coco_document_of_any_name_is_known_by_how_it_begins(tmp_path: Path, name: str) -> None:
    """Label Studio's is called result.json."""
    boxes = [
        (number, NAMES.index("sky"), left, top, right, bottom)
        for number, scene in enumerate(SHORT)
        for _, left, top, right, bottom in scene.boxes[:1]
    ]
    content: dict[str, Any] = {
        "images": [
            {"id": n, "file_name": f"images/{s.key}.png", "width": s.size[0], "height": s.size[1]}
            for n, s in enumerate(SHORT)
        ],
        "categories": [{"id": 1, "name": "sky"}],
        "annotations": [
            {
                "id": i,
                "image_id": number,
                "category_id": category,
                "segmentation": [[left, top, right, top, right, bottom, left, bottom]],
            }
            for i, (number, category, left, top, right, bottom) in enumerate(boxes)
        ],
    }
    for scene in SHORT:
        save(tmp_path / "set/images" / f"{scene.key}.png", scene.image)
    save(tmp_path / "set/images/alone.png", SHORT[0].image)
    path = tmp_path / "set" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))
    source = read_source(tmp_path / "set")
    assert source.layout == "coco"
    assert len(source.masks) == len(SHORT)
    assert "alone" in source.images
    _, left, top, right, bottom = SHORT[0].boxes[0]
    expected = np.zeros(SHORT[0].ids.shape, np.uint8)
    expected[top:bottom, left:right] = 1
    np.testing.assert_array_equal(
        draw(source, f"images_{SHORT[0].key}", *SHORT[0].ids.shape), expected
    )


def write_cvat(folder: Path, shape: str, size: str = 'width="80" height="60"') -> Source:
    save(folder / "images/a.png", np.zeros((60, 80, 3), np.uint8))
    (folder / "annotations.xml").write_text(
        f'<annotations><image id="0" name="a.png" {size}>{shape}</image></annotations>'
    )
    return read_source(folder)


def test_cvats_turned_box_is_drawn_turned(tmp_path: Path) -> None:
    """A quarter of a turn makes a wide box a high one."""
    box = '<box label="sky" xtl="20" ytl="25" xbr="60" ybr="35" rotation="90"/>'
    mask = draw(write_cvat(tmp_path / "set", box), "a", 60, 80)
    rows, columns = np.nonzero(mask)
    assert (rows.min(), rows.max()) == (10, 50)
    assert (columns.min(), columns.max()) == (35, 45)


def test_cvats_box_is_turned_clockwise(tmp_path: Path) -> None:
    box = '<box label="sky" xtl="10" ytl="28" xbr="70" ybr="32" rotation="30"/>'
    mask = draw(write_cvat(tmp_path / "set", box), "a", 60, 80)
    assert mask[40, 57]
    assert not mask[20, 57]


def test_cvats_turned_ellipse_is_drawn_turned(tmp_path: Path) -> None:
    ellipse = '<ellipse label="sky" cx="40" cy="30" rx="25" ry="8" rotation="90"/>'
    mask = draw(write_cvat(tmp_path / "set", ellipse), "a", 60, 80)
    rows, columns = np.nonzero(mask)
    assert [int(np.ptp(rows)), int(np.ptp(columns))] == [50, 16]
    assert mask.sum() == pytest.approx(np.pi * 25 * 8, rel=0.08)


@pytest.mark.parametrize(
    ("size", "fix"),
    [('width="60" height="80"', "auto-orient"), ('width="9" height="9"', "Restore")],
)
def test_shapes_of_a_turned_image_are_refused_with_what_turns_it(
    tmp_path: Path, size: str, fix: str
) -> None:
    source = write_cvat(tmp_path / "set", "", size)
    with pytest.raises(DataError, match=r"a\.png: it is of an image of") as caught:
        draw(source, "a", 60, 80)
    assert fix in caught.value.fix


def test_what_cvat_has_and_nobody_can_draw_is_said(tmp_path: Path) -> None:
    shapes = '<tag label="night"/><cuboid label="car" xtl1="3"/><box label="sky" xtl="0" ytl="0" '
    source = write_cvat(tmp_path / "set", shapes + 'xbr="9" ybr="9"/>')
    (finding,) = [each for each in source.findings if each.kind == "undrawn_shape"]
    assert "1 x cuboid, 1 x tag, which are not drawn" in finding.message
    assert finding.severity == "warning"


def test_two_datasets_side_by_side_are_both_named(tmp_path: Path) -> None:
    for name in ("first", "second"):
        write_layout("waggle", tmp_path / "set" / name)
    with pytest.raises(DataError, match=r"first.* and .*second.* are two datasets") as caught:
        read_source(tmp_path / "set")
    assert "Give one of the two folders" in caught.value.fix


def test_what_macos_adds_to_an_archive_is_no_dataset(tmp_path: Path) -> None:
    write_layout("waggle", tmp_path / "set" / "data")
    write_layout("waggle", tmp_path / "set" / "__MACOSX" / "data")
    assert separate_dataset(tmp_path / "set", tmp_path / "out").dataset.layout == "waggle"


def test_a_part_without_masks_is_unlabelled(tmp_path: Path) -> None:
    for part, scenes in zip(("train", "val"), cut(SHORT), strict=True):
        for scene in scenes:
            save(tmp_path / "set/images" / part / f"{scene.key}.png", scene.image)
            save(tmp_path / "set/masks" / part / f"{scene.key}.png", scene.ids)
    save(tmp_path / "set/images/test/t.png", SHORT[0].image)
    save(tmp_path / "set/images/u.png", SHORT[0].image)
    made = separate_dataset(tmp_path / "set", tmp_path / "out").dataset
    assert made.counts == {"train": 7, "val": 3, "test": 0, "unlabelled": 2}


def test_pictures_beside_the_dataset_are_not_taken(tmp_path: Path) -> None:
    """Not even those beside an image that an export names outside of its folder."""
    save(tmp_path / "private.png", SHORT[0].image)
    save(tmp_path / "elsewhere" / "a.png", SHORT[0].image)
    save(tmp_path / "elsewhere" / "secret.png", SHORT[0].image)
    (tmp_path / "set").mkdir()
    rows = [f"file://{tmp_path}/elsewhere/a.png,sky", "../private.png,sea", "x.png,sea"]
    (tmp_path / "set/sky-vott.csv").write_text("\n".join(rows))
    source = read_source(tmp_path / "set")
    assert [*source.images] == ["a"]
    (outside,) = [f for f in source.findings if f.kind == "outside"]
    assert "1 images lie outside of the dataset" in outside.message
    assert "not to leave this machine" in outside.fix


def write_vott(folder: Path, assets: dict[str, dict[str, Any]]) -> Source:
    for name in assets:
        save(folder / f"{name}.png", np.zeros((60, 80, 3), np.uint8))
    content = {"tags": [{"name": "sky", "color": "#0000ff"}], "assets": assets}
    (folder / "p-export.json").write_text(json.dumps(content))
    return read_source(folder)


def describe_asset(name: str, regions: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {"asset": {"name": f"{name}.png", **more}, "regions": regions}


def make_region(*tags: str) -> dict[str, Any]:
    points = [{"x": 1, "y": 1}, {"x": 9, "y": 1}, {"x": 9, "y": 9}, {"x": 1, "y": 9}]
    return {"type": "RECTANGLE", "tags": [*tags], "points": points}


def test_what_nobody_has_visited_in_vott_is_unlabelled(tmp_path: Path) -> None:
    source = write_vott(
        tmp_path / "set",
        {
            "tagged": describe_asset("tagged", [make_region("sky")], state=2),
            "empty": describe_asset("empty", [], state=2),
            "visited": describe_asset("visited", [], state=1),
            "new": describe_asset("new", [], state=0),
        },
    )
    assert source.images.keys() == {"tagged", "empty", "visited", "new"}
    assert source.masks.keys() == {"tagged", "empty"}


def test_a_second_tag_in_vott_is_told(tmp_path: Path) -> None:
    regions = [make_region("sky", "cloud"), make_region()]
    source = write_vott(tmp_path / "set", {"a": describe_asset("a", regions)})
    (finding,) = [f for f in source.findings if f.kind == "undrawn_shape"]
    assert "2 regions without a tag, or tags beyond" in finding.message
    assert draw(source, "a", 60, 80).max() == 1


@pytest.mark.parametrize(
    "path",
    [
        "file:C:/Users/me/pictures/a%20b.png",
        "C:\\Users\\me\\a b.png",
        "https://store.example/skies/a%20b.png?key=secret",
        "file:/home/me/a%20b.png",
    ],
)
def test_an_image_that_lies_beside_the_export_is_found_by_its_name(
    tmp_path: Path, path: str
) -> None:
    folder = tmp_path / "set"
    save(folder / "a b.png", np.zeros((60, 80, 3), np.uint8))
    asset = describe_asset("a b", [make_region("sky")], path=path)
    (folder / "p-export.json").write_text(json.dumps({"tags": [], "assets": {"1": asset}}))
    source = read_source(folder)
    assert source.images == {"a b": folder / "a b.png"}
    assert not source.urls


def write_coco(
    path: Path, names: list[str], annotations: list[dict[str, Any]], **more: Any
) -> None:
    content = {
        "images": [{"id": n, "file_name": name} for n, name in enumerate(names)],
        "categories": [{"id": 1, "name": "sky"}],
        "annotations": annotations,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content | more))


BOX = {"id": 1, "image_id": 0, "category_id": 1, "bbox": [10, 5, 20, 10]}


@pytest.mark.parametrize("outline", [{}, {"segmentation": []}, {"segmentation": [[1, 1, 9, 9]]}])
def test_a_box_without_an_outline_is_drawn_and_told(
    tmp_path: Path, outline: dict[str, Any]
) -> None:
    save(tmp_path / "set/images/a.png", np.zeros((60, 80, 3), np.uint8))
    write_coco(tmp_path / "set/annotations/instances_all.json", ["a.png"], [BOX | outline])
    source = read_source(tmp_path / "set")
    expected = np.zeros((60, 80), np.uint8)
    expected[5:15, 10:30] = 1
    np.testing.assert_array_equal(draw(source, "a", 60, 80), expected)
    (finding,) = [f for f in source.findings if f.kind == "boxes"]
    assert "1 annotations have no outline: their boxes are drawn" in finding.message


POINTS = st.lists(st.floats(-20, 100).map(lambda v: round(v, 2)), min_size=8, max_size=8)


@settings(max_examples=200, deadline=None)
@given(st.lists(POINTS, min_size=1, max_size=3))
def test_polygons_are_drawn_as_pycocotools_draws_them(parts: list[list[float]]) -> None:
    height, width = 60, 80
    try:
        found = find_runs(Annotation(image_id="1", category_id="1", segmentation=parts), 60, 80)
    except ValueError:
        return  # outside of the image
    mask = np.zeros((height, width), np.uint8)
    bits = coco.decode(found.runs)
    mask[found.top : found.top + bits.shape[0], found.left : found.left + bits.shape[1]] = bits
    given_parts: Any = parts
    expected = coco.decode(coco.merge(coco.frPyObjects(given_parts, height, width)))
    np.testing.assert_array_equal(mask, expected)


def test_the_category_that_roboflow_puts_in_front_is_no_class(tmp_path: Path) -> None:
    save(tmp_path / "set/train/a.png", np.zeros((60, 80, 3), np.uint8))
    categories = [
        {"id": 0, "name": "sky", "supercategory": "none"},
        {"id": 1, "name": "sky", "supercategory": "sky"},
    ]
    path = tmp_path / "set/train/_annotations.coco.json"
    write_coco(path, ["a.png"], [BOX], categories=categories)
    assert [c.name for c in read_source(tmp_path / "set").classes] == ["background", "sky"]


def test_names_that_two_documents_share_are_two_images(tmp_path: Path) -> None:
    for part in ("train", "valid", "test"):
        save(tmp_path / "set" / part / "1.png", np.zeros((60, 80, 3), np.uint8))
        save(tmp_path / "set" / part / "2.png", np.ones((60, 80, 3), np.uint8))
        path = tmp_path / "set" / part / "_annotations.coco.json"
        write_coco(path, ["1.png", "2.png"], [] if part == "test" else [BOX])
    source = read_source(tmp_path / "set")
    assert len(source.images) == 6
    assert {name: len(keys) for name, keys in source.lists.items() if keys} == {
        "train": 2,
        "val": 2,
    }
    assert len(source.masks) == 4


def test_labelmes_ignored_shapes_are_void(tmp_path: Path) -> None:
    scene = SHORT[0]
    write_labelme(scene, tmp_path / "set", tmp_path / "set")
    path = tmp_path / "set" / f"{scene.key}.json"
    content = json.loads(path.read_text())
    ignored = {"label": "__ignore__", "shape_type": "rectangle", "points": [[0, 0], [5, 4]]}
    path.write_text(json.dumps({**content, "shapes": [*content["shapes"], ignored]}))
    source = read_source(tmp_path / "set")
    assert source.ignore_index == 255
    assert "__ignore__" not in [info.name for info in source.classes]
    assert (draw(source, scene.key, *scene.ids.shape)[:4, :5] == 255).all()


def test_all_points_of_a_shape_are_drawn(tmp_path: Path) -> None:
    points = '<points label="sky" points="5,5;20,20;40,40"/>'
    mask = draw(write_cvat(tmp_path / "set", points), "a", 60, 80)
    assert mask.sum() == 27
    assert mask[[5, 20, 40], [5, 20, 40]].all()


def test_a_json_of_something_else_is_told_and_left(tmp_path: Path) -> None:
    write_labelme(SHORT[0], tmp_path / "set", tmp_path / "set")
    (tmp_path / "set/dataset_info.json").write_text('{"license": "CC"}')
    source = read_source(tmp_path / "set")
    assert [*source.masks] == ["s00"]
    assert "1 files are no JSON of LabelMe and of no image" in source.findings[0].message


def test_cvats_projects_have_subsets(tmp_path: Path) -> None:
    images = "".join(
        f'<image id="{n}" name="frame.png" subset="{subset}" width="80" height="60">'
        '<box label="sky" xtl="1" ytl="1" xbr="9" ybr="9"/></image>'
        for n, subset in enumerate(("Train", "Validation"))
    )
    labels = (
        "<meta><project><labels><label><name>sky</name></label>"
        "<label><name>knee</name><parent>body</parent></label></labels></project></meta>"
    )
    (tmp_path / "set").mkdir()
    (tmp_path / "set/annotations.xml").write_text(f"<annotations>{labels}{images}</annotations>")
    for subset in ("Train", "Validation"):
        save(tmp_path / "set/images" / subset / "frame.png", np.zeros((60, 80, 3), np.uint8))
    source = read_source(tmp_path / "set")
    assert source.lists == {"train": ["frame"], "val": ["Validation_frame"]}
    assert [info.name for info in source.classes] == ["background", "sky"]


def test_cvats_document_is_read_in_the_encoding_that_it_declares(tmp_path: Path) -> None:
    save(tmp_path / "set/images/a.png", np.zeros((60, 80, 3), np.uint8))
    text = (
        '<?xml version="1.0" encoding="ISO-8859-1"?><annotations>'
        '<image id="0" name="a.png"><box label="Bäume" xtl="1" ytl="1" xbr="9" ybr="9"/></image>'
        "</annotations>"
    )
    (tmp_path / "set/annotations.xml").write_bytes(text.encode("latin-1"))
    assert [info.name for info in read_source(tmp_path / "set").classes][1] == "Bäume"


def test_labels_of_clouds_may_have_underscores_and_rows_may_be_blank(tmp_path: Path) -> None:
    save(tmp_path / "set/train_images/0.jpg", np.zeros((40, 40, 3), np.uint8))
    rows = "Image_Label,EncodedPixels\n0.jpg_big_fish,1 10\n0.jpg_small_fish,100 10\n\n"
    (tmp_path / "set/train.csv").write_text(rows)
    source = read_source(tmp_path / "set")
    assert [info.name for info in source.classes] == ["big_fish", "small_fish"]
    assert np.bincount(draw(source, "0", 40, 40).ravel()).tolist() == [1580, 10, 10]


def test_another_table_beside_pairs_is_no_matter(tmp_path: Path) -> None:
    for scene in SHORT:
        save(tmp_path / "set/train_images" / f"{scene.key}.jpg", scene.image)
        save(tmp_path / "set/train_masks" / f"{scene.key}.png", scene.ids)
    (tmp_path / "set/train.csv").write_text("id,label\ns00,2\n")
    (tmp_path / "set/sales-export.csv").write_text("id,date\ns00,2020\n")
    assert read_source(tmp_path / "set").layout == "pairs"


def test_a_separated_dataset_is_itself(tmp_path: Path) -> None:
    write_layout("voc", tmp_path / "set")
    made = separate_dataset(tmp_path / "set", tmp_path / "out").dataset
    again = separate_dataset(tmp_path / "out", tmp_path / "again").dataset
    assert (again.class_names, again.counts) == (made.class_names, made.counts)
    assert again.fingerprint == made.fingerprint


def test_a_document_does_not_reach_above_the_folder_in_which_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "secret.png", SHORT[0].image)
    save(tmp_path / "set/a.png", SHORT[0].image)
    write_coco(tmp_path / "set/coco.json", ["a.png", "../secret.png"], [BOX])
    monkeypatch.chdir(tmp_path / "set")
    assert [*read_source(Path(".")).images] == ["a"]


def test_a_missing_image_is_not_replaced_by_one_of_the_same_name(tmp_path: Path) -> None:
    for part, names in (("train", "12"), ("val", "2")):
        for name in names:
            save(tmp_path / "set" / part / f"{name}.png", np.zeros((60, 80, 3), np.uint8))
        path = tmp_path / "set/annotations" / f"instances_{part}.json"
        write_coco(path, ["1.png", "2.png"], [BOX])
    source = read_source(tmp_path / "set")
    assert [*source.lists["train"], *source.lists["val"]] == ["1", "2", "val_2"]
    assert "1 images of the documents are not there" in source.findings[0].message


def test_one_picture_is_not_two_images(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    save(folder / "images/1.png", np.zeros((60, 80, 3), np.uint8))
    write_coco(folder / "annotations/instances_train.json", ["1.png"], [BOX])
    write_coco(folder / "annotations/instances_copy.json", ["1.png"], [BOX])
    with pytest.raises(DataError, match=r"1\.png is named twice"):
        read_source(folder)


def test_two_assets_of_vott_are_not_one_picture(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    save(folder / "1.png", np.zeros((60, 80, 3), np.uint8))
    assets = {
        cam: describe_asset("1", [make_region("sky")], path=f"file:/data/{cam}/1.png")
        for cam in ("cam1", "cam2")
    }
    (folder / "p-export.json").write_text(json.dumps({"tags": [], "assets": assets}))
    with pytest.raises(DataError, match=r"cam1/1\.png and .*cam2/1\.png are both taken for"):
        read_source(folder)


def test_a_category_that_is_its_own_supercategory_is_a_class(tmp_path: Path) -> None:
    """COCO's person is."""
    save(tmp_path / "set/a.png", np.zeros((60, 80, 3), np.uint8))
    categories = [
        {"id": 1, "name": "sky", "supercategory": "sky"},
        {"id": 2, "name": "person", "supercategory": "person"},
    ]
    write_coco(tmp_path / "set/coco.json", ["a.png"], [BOX], categories=categories)
    names = [info.name for info in read_source(tmp_path / "set").classes]
    assert names == ["background", "sky", "person"]


def test_one_label_and_ignored_shapes_are_no_mixed_values(tmp_path: Path) -> None:
    shapes = [("sky", [[0, 0], [20, 20]]), ("__ignore__", [[30, 30], [40, 40]])]
    for number in range(4):
        save(tmp_path / "set" / f"{number}.png", np.full((60, 80, 3), number, np.uint8))
        label, points = shapes[number % 2]
        shape = {"label": label, "shape_type": "rectangle", "points": points}
        (tmp_path / "set" / f"{number}.json").write_text(json.dumps({"shapes": [shape]}))
    made = separate_dataset(tmp_path / "set", tmp_path / "out").dataset
    assert (made.class_names, made.ignore_index) == (["background", "sky"], 255)


@pytest.mark.parametrize(
    "change",
    [
        {"id": "../../pwned"},
        {"image": "../private.png"},
        {"mask": "/etc/private.png"},
        {"image": "images/../../private.png"},
    ],
)
def test_a_manifest_of_others_reads_and_writes_nothing_elsewhere(
    tmp_path: Path, change: dict[str, str]
) -> None:
    save(tmp_path / "private.png", SHORT[0].image)
    write_layout("segaway", tmp_path / "set")
    path = tmp_path / "set/dataset.json"
    content = json.loads(path.read_text())
    content["lists"]["train"][0] |= change
    path.write_text(json.dumps(content))
    before = sorted(tmp_path.iterdir())
    with pytest.raises(DataError, match="is not inside of the dataset"):
        separate_dataset(tmp_path / "set", tmp_path / "out")
    assert sorted(tmp_path.iterdir()) == before


def test_all_pictures_beside_those_of_documents_are_kept(tmp_path: Path) -> None:
    for part in ("train", "val", "test"):
        for name in ("1.png", "more.png"):
            save(tmp_path / "set" / part / "images" / name, np.zeros((60, 80, 3), np.uint8))
        path = tmp_path / "set/annotations" / f"instances_{part}.json"
        write_coco(path, [f"{part}/images/1.png"], [BOX])
    save(tmp_path / "set/train/images/1.jpg", np.zeros((60, 80, 3), np.uint8))
    images = read_source(tmp_path / "set").images
    assert sorted(images.values()) == sorted((tmp_path / "set").rglob("images/*"))

"""Annotations as other tools than the layout's own, or the same tool elsewhere, write them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.train.layouts import NAMES, Scene, cut, make_scenes, save, write_layout
from train.data.formats import Drawn, Source, read_source
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


def write_cvat(folder: Path, shape: str) -> Source:
    save(folder / "images/a.png", np.zeros((60, 80, 3), np.uint8))
    (folder / "annotations.xml").write_text(
        f'<annotations><image id="0" name="a.png" width="80" height="60">{shape}</image>'
        "</annotations>"
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

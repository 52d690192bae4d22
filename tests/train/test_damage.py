"""What published sets have wrong with them: each is said, with the file and what mends it."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.train.layouts import COLORS, make_scenes, save, write_layout
from train.data.findings import Finding
from train.data.formats import read_source
from train.data.masks import write_mask
from train.data.separate import separate_dataset
from train.data.split import SplitSettings, choose_lists
from train.data.survey import survey_source
from train.errors import DataError

Damage = Callable[[Path], None]
KEY = "scene 00 ü"


def find(folder: Path, name: str) -> Path:
    (path,) = folder.rglob(name)
    return path


@contextmanager
def edit(folder: Path, name: str) -> Iterator[Any]:
    """The content of a JSON, which is written back as it then is."""
    path = find(folder, name)
    content = json.loads(path.read_text())
    yield content
    path.write_text(json.dumps(content))


def truncate_jpeg(folder: Path) -> None:
    path = find(folder, f"{KEY}.jpg")
    path.write_bytes(path.read_bytes()[:-300])


def empty_mask(folder: Path) -> None:
    find(folder / "VOCdevkit/VOC2012/SegmentationClass", f"{KEY}.png").write_bytes(b"")


def empty_image(folder: Path) -> None:
    find(folder / "VOCdevkit/VOC2012/JPEGImages", f"{KEY}.png").write_bytes(b"")


def deepen_mask(folder: Path) -> None:
    path = find(folder / "storage/gt_image", f"{KEY}.png")
    ids = np.asarray(Image.open(path)).astype(np.uint16)
    Image.fromarray(ids).save(path)


def overflow_mask(folder: Path) -> None:
    path = find(folder / "storage/gt_image", f"{KEY}.png")
    ids = np.asarray(Image.open(path)).astype(np.uint16) * 400
    Image.fromarray(ids).save(path)


def turn_image(folder: Path) -> None:
    path = find(folder / "storage/image", f"{KEY}.jpg")
    exif = Image.Exif()
    exif[274] = 6
    with Image.open(path) as image:
        image.save(path, exif=exif)


def print_image(folder: Path) -> None:
    path = find(folder / "storage/image", f"{KEY}.jpg")
    with Image.open(path) as image:
        image.convert("CMYK").save(path)


def animate_image(folder: Path) -> None:
    path = find(folder / "storage/image", f"{KEY}.jpg")
    with Image.open(path) as image:
        frames = [image.convert("P"), image.rotate(90, expand=False).convert("P")]
    path.unlink()
    frames[0].save(path.with_suffix(".gif"), save_all=True, append_images=frames[1:])


def cover_image(folder: Path) -> None:
    path = find(folder / "images", f"{KEY}.PNG")
    with Image.open(path) as image:
        image.convert("RGBA").save(path)


def repeat_id(folder: Path) -> None:
    path = find(folder, "train.txt")
    path.write_text(path.read_text(encoding="utf-8-sig") + f"\n{KEY}\n")


def list_nothing(folder: Path) -> None:
    path = find(folder, "train.txt")
    path.write_text(path.read_text(encoding="utf-8-sig") + "\nnobody\n")


def drop_column(folder: Path) -> None:
    path = folder / "train.csv"
    path.write_text("\n".join(line.split(",")[0] for line in path.read_text().splitlines()))


def set_runs(folder: Path, runs: str) -> None:
    path = folder / "train.csv"
    lines = path.read_text().splitlines()
    place = next(n for n, line in enumerate(lines) if line.startswith(f"{KEY}.jpg_Fish"))
    lines[place] = f"{KEY}.jpg_Fish,{runs}"
    path.write_text("\n".join(lines))


def run_beyond(folder: Path) -> None:
    set_runs(folder, "1 99999999")


def cut_runs(folder: Path) -> None:
    set_runs(folder, "1 5 9")


def garble_runs(folder: Path) -> None:
    set_runs(folder, "1 five")


def repeat_row(folder: Path) -> None:
    path = folder / "train.csv"
    path.write_text(path.read_text() + f"{KEY}.jpg_Fish,1 1\n")


def move_box(folder: Path) -> None:
    with edit(folder, "skies-export.json") as content:
        for point in content["assets"][KEY]["regions"][0]["points"]:
            point["x"] += 1000


def cut_export(folder: Path) -> None:
    path = find(folder, "skies-export.json")
    path.write_text(path.read_text()[:200])


def grow_mask(folder: Path) -> None:
    place = find(folder / "VOCdevkit/VOC2012/SegmentationClass", f"{KEY}.png")
    write_mask(place, np.zeros((9, 9), np.uint8), COLORS)


def raise_ids(folder: Path) -> None:
    path = find(folder / "storage/gt_image", f"{KEY}.png")
    save(path, np.asarray(Image.open(path)) + 70)


def lose_table(folder: Path) -> None:
    (folder / "class_dict.csv").unlink()


def shorten_table(folder: Path) -> None:
    path = folder / "class_dict.csv"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]))


def lose_image(folder: Path) -> None:
    find(folder / "storage/image", f"{KEY}.jpg").unlink()


def lose_mask(folder: Path) -> None:
    find(folder / "storage/gt_image", f"{KEY}.png").unlink()


def double_image(folder: Path) -> None:
    path = find(folder / "storage/image", f"{KEY}.jpg")
    with Image.open(path) as image:
        image.save(path.with_suffix(".png"))


def share_picture(folder: Path) -> None:
    root = folder / "VOCdevkit/VOC2012"
    (train,) = (root / "JPEGImages").glob(f"{KEY}.png")
    val = (root / "ImageSets/Segmentation/val.txt").read_text().split("\n")[0]
    for part in ("JPEGImages", "SegmentationClass"):
        (root / part / f"{val}.png").write_bytes((root / part / train.name).read_bytes())


def forget_class(folder: Path) -> None:
    """No mask of train has the ground any more."""
    root = folder / "VOCdevkit/VOC2012"
    for key in (root / "ImageSets/Segmentation/train.txt").read_text("utf-8-sig").splitlines():
        path = root / "SegmentationClass" / f"{key.strip()}.png"
        ids = np.asarray(Image.open(path))
        write_mask(path, np.where(ids == 3, 0, ids).astype(np.uint8), COLORS)


def fill_masks(folder: Path) -> None:
    """One pixel of cloud in the whole set."""
    rng = np.random.default_rng(0)
    for number, path in enumerate(sorted((folder / "storage/gt_image").iterdir())):
        ids = np.zeros((400, 400), np.uint8)
        ids[:200] = 1
        ids[0, 0] = 2 if not number else 0
        save(path, ids)
        save(
            folder / "storage/image" / f"{path.stem}.jpg",
            rng.integers(0, 256, (400, 400, 3)).astype(np.uint8),
        )


def blur_masks(folder: Path) -> None:
    """Two classes, saved as JPEG: greys that are no ids."""
    (folder / "storage/class_names.list").write_text("sky\ncloud\n")
    for path in sorted((folder / "storage/gt_image").iterdir()):
        ids = np.asarray(Image.open(path)) > 0
        path.unlink()
        save(path.with_suffix(".jpg"), ids.astype(np.uint8) * 255, quality=60)


def scatter_masks(folder: Path) -> None:
    """Greys of all kinds, and nothing that says what they are."""
    (folder / "storage/class_names.list").write_text("sky\ncloud\n")
    rng = np.random.default_rng(0)
    for path in sorted((folder / "storage/gt_image").iterdir()):
        shape = np.asarray(Image.open(path)).shape
        save(path, rng.integers(0, 77, shape).astype(np.uint8) * 3)


def cut_document(folder: Path) -> None:
    path = find(folder, f"{KEY}.json")
    path.write_text(path.read_text()[:50])


def misname_label(folder: Path) -> None:
    path = find(folder, f"{KEY}.json")
    path.write_text(path.read_text().replace('"label": "sky"', '"label": "heaven"'))


def unknow_category(folder: Path) -> None:
    with edit(folder, "instances_train2017.json") as content:
        content["annotations"][0]["category_id"] = 999


def cut_coco_run(folder: Path) -> None:
    with edit(folder, "instances_train2017.json") as content:
        content["annotations"][1]["segmentation"]["size"] = [3, 3]


def set_outline(folder: Path, outline: object) -> None:
    with edit(folder, "instances_train2017.json") as content:
        content["annotations"][0]["segmentation"] = outline


def lose_number(folder: Path) -> None:
    set_outline(folder, [[1, 1, float("nan"), 1, 20, 20]])


def send_outline_far(folder: Path) -> None:
    set_outline(folder, [[1, 1, 3e7, 1, 20, 20]])


def move_outline(folder: Path) -> None:
    set_outline(folder, [[900, 900, 950, 900, 950, 950]])


def shrink_outline(folder: Path) -> None:
    set_outline(folder, [[0.1, 0.1, 0.5, 0.1, 0.5, 0.5]])


def halve_outline(folder: Path) -> None:
    set_outline(folder, [[1, 1, 20, 20, 30, 30, 7]])


def flatten_outline(folder: Path) -> None:
    set_outline(folder, [1, 1, 20, 20, 30, 30])


def shorten_runs(folder: Path) -> None:
    path = find(folder, "instances_train2017.json")
    size = json.loads(path.read_text())["images"][0]
    set_outline(folder, {"counts": [0, 100], "size": [size["height"], size["width"]]})


def cut_compressed_runs(folder: Path) -> None:
    path = find(folder, "instances_train2017.json")
    size = json.loads(path.read_text())["images"][0]
    set_outline(folder, {"counts": "04b", "size": [size["height"], size["width"]]})


def lose_file_name(folder: Path) -> None:
    with edit(folder, "instances_train2017.json") as content:
        del content["images"][3]["file_name"]


def nest_deep(folder: Path) -> None:
    find(folder, "instances_train2017.json").write_text("[" * 200_000)


def leave_folder(folder: Path) -> None:
    """A picture of the laptop is no part of a dataset, whatever a document says."""
    save(folder.parent / "private.png", np.zeros((4, 4, 3), np.uint8))
    with edit(folder, "instances_train2017.json") as content:
        content["images"][0]["file_name"] = "../../private.png"


def resize_asset(folder: Path) -> None:
    with edit(folder, "skies-export.json") as content:
        content["assets"][KEY]["asset"]["size"] = {"width": 9, "height": 9}


def untag_region(folder: Path) -> None:
    with edit(folder, "skies-export.json") as content:
        content["assets"][KEY]["regions"][0]["tags"] = []


def unname_label(folder: Path) -> None:
    path = find(folder, f"{KEY}.json")
    path.write_text(path.read_text().replace('"label": "sky"', '"label": ""'))


def swell_circle(folder: Path) -> None:
    with edit(folder, f"{KEY}.json") as content:
        content["shapes"][0] |= {"shape_type": "circle", "points": [[5, 5], [1e9, 5]]}


def break_circle(folder: Path) -> None:
    with edit(folder, f"{KEY}.json") as content:
        content["shapes"][0] |= {"shape_type": "circle", "points": [[5, 5]]}


def misstate_size(folder: Path) -> None:
    path = find(folder, f"{KEY}.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"imageHeight": 7}))


def wrap_cvat_run(folder: Path) -> None:
    path = folder / "annotations.xml"
    runs = ",".join(["4611686018427387904"] * 4)
    path.write_text(path.read_text().replace('rle="0, 256"', f'rle="{runs}"'))


def crowd_labels(folder: Path) -> None:
    path = folder / "train.csv"
    rows = "".join(f"{KEY}.jpg_more{n},1 1\n" for n in range(4))
    path.write_text(path.read_text() + rows)


def open_quote(folder: Path) -> None:
    path = folder / "train.csv"
    path.write_text(path.read_text() + f'"{KEY}.jpg_Shrimp,1 1\n')


def cut_xml(folder: Path) -> None:
    path = folder / "annotations.xml"
    path.write_bytes(path.read_bytes()[:-40])


def cut_cvat_run(folder: Path) -> None:
    path = folder / "annotations.xml"
    path.write_text(path.read_text().replace('rle="0, 256"', 'rle="0, 12"'))


def mislead_list(folder: Path) -> None:
    path = find(folder, "train.txt")
    path.write_text(path.read_text().replace(f"trainannot/{KEY}", "trainannot/nobody"))


def gap_ids(folder: Path) -> None:
    (folder / "DataSet/settings.xml").write_text(
        '<settings><segm_class_defs><item id="0" draw_order="1" draw_color="FF000000">a</item>'
        '<item id="5" draw_order="1" draw_color="FF000000">b</item></segm_class_defs></settings>'
    )


# Layout, damage, kind (raised: the set cannot even be listed), severity, and what is said.
TABLE: list[tuple[str, Damage, str, str, str]] = [
    (
        "waggle",
        truncate_jpeg,
        "unreadable_image",
        "error",
        r"00 ü\.jpg: the image cannot be decoded",
    ),
    ("voc", empty_image, "unreadable_image", "error", r"00 ü\.png: the image cannot be decoded"),
    ("voc", empty_mask, "bad_mask", "error", r"00 ü\.png: the mask cannot be decoded"),
    ("voc", grow_mask, "bad_mask", "error", r"00 ü\.png is 9x9 and its image is"),
    ("waggle", deepen_mask, "deep_mask", "note", r"00 ü\.png has .* values up to 2: taken as 8"),
    ("waggle", overflow_mask, "bad_mask", "error", r"values from 0 to 800"),
    ("waggle", raise_ids, "ids_beyond", "error", r"00 ü\.png has the ids 70.*names 3 classes"),
    ("waggle", turn_image, "turned", "note", r"00 ü\.jpg is stored turned .*taken as stored"),
    ("waggle", print_image, "cmyk", "note", r"00 ü\.jpg is CMYK"),
    ("waggle", animate_image, "animated", "note", r"00 ü\.gif has 2 frames"),
    ("pairs", cover_image, "alpha", "note", r"00 ü\.PNG has an alpha channel"),
    ("pairs", lose_table, "bad_mask", "error", r"_L\.png: the mask holds \d colours, not ids: #"),
    ("pairs", shorten_table, "bad_mask", "error", r"class_dict\.csv has no class of the colour #"),
    ("waggle", lose_image, "mask_without_image", "warning", r"1 masks have no image.*00 ü\.png"),
    ("waggle", lose_mask, "image_without_mask", "note", r"1 images have no mask.*scene 00 ü"),
    ("waggle", double_image, "raised", "error", r"00 ü\.jpg and .*00 ü\.png have the same name"),
    ("voc", repeat_id, "raised", "error", r"The train list names scene 00 ü twice"),
    ("voc", list_nothing, "raised", "error", r"The train list names nobody, which has no image"),
    ("voc", share_picture, "shared_picture", "warning", r"1 pictures of train are in val.*00 ü"),
    ("voc", forget_class, "absent_from_train", "warning", r"No mask of train has .* ground"),
    ("waggle", fill_masks, "imbalance", "warning", r"cloud has 0\.\d+% of the pixels"),
    (
        "waggle",
        blur_masks,
        "noisy_greys",
        "warning",
        r"greys in two clusters.*is taken for class 0",
    ),
    ("waggle", scatter_masks, "ids_beyond", "error", r"has the ids"),
    ("clouds", drop_column, "raised", "error", r"train\.csv begins with 'Image_Label'"),
    ("clouds", repeat_row, "raised", "error", r"is a second row of scene 00 ü\.jpg_Fish"),
    ("clouds", run_beyond, "bad_mask", "error", r"00 ü\.jpg_Fish: Run 1.* leaves the image"),
    ("clouds", cut_runs, "bad_mask", "error", r"00 ü\.jpg_Fish: The runs end in the middle"),
    ("clouds", garble_runs, "bad_mask", "error", r"00 ü\.jpg_Fish: The runs are no list"),
    ("vott", move_box, "bad_mask", "error", r"skies-export\.json: .* lies outside of the image"),
    ("vott", cut_export, "raised", "error", r"skies-export\.json is no JSON export of VoTT"),
    ("labelme", cut_document, "raised", "error", r"00 ü\.json is no JSON of LabelMe"),
    ("labelme", misname_label, "raised", "error", r"labels\.txt has no heaven"),
    ("coco", unknow_category, "bad_mask", "error", r"The annotation 0 of scene 00 ü\.jpg cannot"),
    ("coco", cut_coco_run, "bad_mask", "error", r"The annotation 1 of scene 00 ü\.jpg cannot"),
    ("coco", lose_number, "bad_mask", "error", r"annotation 0 of .* no pair of numbers"),
    ("coco", send_outline_far, "bad_mask", "error", r"a part reaches far outside of the image"),
    ("coco", move_outline, "bad_mask", "error", r"a part lies outside of the image"),
    ("coco", shrink_outline, "bad_mask", "error", r"points are fractions of the image"),
    ("coco", halve_outline, "bad_mask", "error", r"a part has 7 numbers, which are no points"),
    ("coco", flatten_outline, "bad_mask", "error", r"a part of it is no list of numbers: 1"),
    ("coco", shorten_runs, "bad_mask", "error", r"its runs have 100 of \d+ pixels"),
    ("coco", cut_compressed_runs, "bad_mask", "error", r"its runs (have|end)"),
    (
        "coco",
        lose_file_name,
        "raised",
        "error",
        r"train2017\.json is no COCO .*images\.3\.file_name",
    ),
    ("coco", nest_deep, "raised", "error", r"train2017\.json is no COCO document"),
    ("coco", leave_folder, "mask_without_image", "warning", r"1 images .*: \.\./\.\./private"),
    (
        "vott",
        resize_asset,
        "bad_mask",
        "error",
        r"export\.json: scene 00 ü: it is of an image of 9",
    ),
    ("vott", untag_region, "undrawn_shape", "warning", r"skies-export\.json has 1 regions without"),
    ("labelme", unname_label, "raised", "error", r"00 ü\.json: A shape has the label ''"),
    ("labelme", swell_circle, "bad_mask", "error", r"00 ü\.json: A ellipse .* reaches far outside"),
    ("labelme", break_circle, "bad_mask", "error", r"00 ü\.json: a shape of .* cannot be read"),
    ("labelme", misstate_size, "bad_mask", "error", r"00 ü\.json: it is of an image of \d+ x 7"),
    ("cvat", wrap_cvat_run, "bad_mask", "error", r"annotations\.xml: .*The runs of a mask are"),
    ("clouds", crowd_labels, "raised", "error", r"train\.csv has 8 labels; .* room for 1 to 7"),
    ("clouds", open_quote, "raised", "error", r"train\.csv: line \d+ cannot be read"),
    ("cvat", cut_xml, "raised", "error", r"annotations\.xml is no whole XML document"),
    ("cvat", cut_cvat_run, "bad_mask", "error", r"annotations\.xml: .*The runs of a mask are 12"),
    ("segnet", mislead_list, "raised", "error", r"train\.txt: line 1 names .*, which is not there"),
    ("jetcar", gap_ids, "raised", "error", r"settings\.xml: the ids of its classes are \[0, 5\]"),
]


def look(folder: Path) -> list[Finding]:
    """All that is found; what stops the look is an error of its own kind."""
    found: list[Finding] = []
    try:
        survey = survey_source(read_source(folder))
        found += survey.findings
        found += choose_lists(survey, SplitSettings())[1]
    except DataError as error:
        found.append(Finding("raised", "error", str(error), error.fix))
    return found


@pytest.mark.parametrize(
    ("layout", "damage", "kind", "severity", "message"),
    TABLE,
    ids=lambda v: getattr(v, "__name__", ""),
)
def test_damage_is_said_with_its_file_and_what_mends_it(
    tmp_path: Path, layout: str, damage: Damage, kind: str, severity: str, message: str
) -> None:
    import re

    write_layout(layout, tmp_path / "set")
    damage(tmp_path / "set")
    found = [f for f in look(tmp_path / "set") if f.kind == kind]
    assert found, [f"{f.kind}: {f.message}" for f in look(tmp_path / "set")]
    assert any(re.search(message, f.message) for f in found), [f.message for f in found]
    assert all(f.severity == severity for f in found)
    assert all(f.fix for f in found if severity == "error")
    if severity == "error":
        with pytest.raises(DataError):
            separate_dataset(tmp_path / "set", tmp_path / "out")
        assert not (tmp_path / "out").exists()
        assert not (tmp_path / "out.partial").exists()
    else:
        made = separate_dataset(tmp_path / "set", tmp_path / "out")
        assert any(re.search(message, note) for note in made.notes)


def test_a_loop_of_links_is_no_trap(tmp_path: Path) -> None:
    written = write_layout("waggle", tmp_path / "set")
    os.symlink(tmp_path / "set", written.folder / "image" / "again")
    os.symlink(written.folder / "image", written.folder / "gt_image" / "again")
    assert separate_dataset(tmp_path / "set", tmp_path / "out").dataset.layout == "waggle"


def test_greys_of_jpeg_are_the_classes_that_they_were(tmp_path: Path) -> None:
    """All but what JPEG has smeared at the edges."""
    scenes = make_scenes()
    write_layout("waggle", tmp_path / "set", scenes)
    blur_masks(tmp_path / "set")
    made = separate_dataset(tmp_path / "set", tmp_path / "out").dataset
    samples = [s for name in ("train", "val") for s in made.lists[name]]
    for scene in scenes:
        sample = next(s for s in samples if s.id == scene.key)
        ids = np.asarray(Image.open(tmp_path / "out" / str(sample.mask)))
        assert set(np.unique(ids)) <= {0, 1}
        assert ((ids > 0) == (scene.ids % 3 > 0)).mean() > 0.97

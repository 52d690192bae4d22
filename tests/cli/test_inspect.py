"""`segaway inspect`: what a dataset is and what is wrong with it; and a run of each layout."""

import numpy as np
import pytest
from PIL import Image

from tests.conftest import TINY, Laptop, need_shared
from tests.train.layouts import write_layout
from train.data.formats import list_layouts


@pytest.mark.slow
@pytest.mark.parametrize("layout", list_layouts())
def test_each_layout_is_inspected_and_trained_on_with_one_command(
    laptop: Laptop, layout: str
) -> None:
    wanted = write_layout(layout, laptop.folder / "set")
    found = laptop.good("inspect", laptop.folder / "set")
    assert (found["layout"], found["task"]) == (layout, wanted.task)
    assert found["classes"] == [*wanted.classes]
    assert found["counts"]["unlabelled"] == len(wanted.unlabelled)
    assert not [each for each in found["findings"] if each["severity"] == "error"]
    answer = laptop.good("run", laptop.folder / "set", *TINY)
    assert answer["dataset"]["layout"] == layout
    assert answer["dataset"]["counts"] == found["counts"]
    assert 0 <= answer["metrics"]["miou"] <= 1


@pytest.mark.parametrize(
    ("archive", "layout", "counts"),
    [
        ("camvid-voc.tar", "voc", {"train": 367, "val": 101, "test": 0, "unlabelled": 233}),
        ("hyta-waggle.zip", "waggle", {"train": 26, "val": 6, "test": 0, "unlabelled": 0}),
    ],
)
def test_real_archives_are_inspected_as_they_are(
    laptop: Laptop, archive: str, layout: str, counts: dict[str, int]
) -> None:
    sheet = laptop.folder / "sheet.png"
    found = laptop.good("inspect", need_shared(archive), "--sheet", sheet)
    assert (found["layout"], found["counts"]) == (layout, counts)
    assert sum(found["pixel_share"].values()) == pytest.approx(1, abs=1e-4)
    with Image.open(sheet) as image:
        assert image.size[0] == 960
        assert len(np.unique(np.asarray(image.convert("L")))) > 100


def test_errors_are_all_told_and_end_with_1(laptop: Laptop) -> None:
    written = write_layout("waggle", laptop.folder / "set")
    broken = sorted((written.folder / "image").iterdir())[:2]
    for path in broken:
        path.write_bytes(path.read_bytes()[:100])
    answer = laptop.run("inspect", laptop.folder / "set")
    assert answer.code == 1
    for path in broken:
        assert f"Error: {path}: the image cannot be decoded" in answer.err + answer.out
    assert "has 2 errors" in answer.err
    assert "Traceback" not in answer.err


def test_names_alone_are_enough_for_a_glance(laptop: Laptop) -> None:
    written = write_layout("waggle", laptop.folder / "set")
    for path in (written.folder / "image").iterdir():
        path.write_bytes(b"")
    found = laptop.good("inspect", laptop.folder / "set", "--dry-run")
    assert (found["layout"], found["images"], found["masks"]) == ("waggle", 10, 10)


def test_two_layouts_that_fit_are_both_named_with_the_flag_that_decides(laptop: Laptop) -> None:
    written = write_layout("cvat", laptop.folder / "set")
    (written.folder / "labelme").mkdir()
    for scene in list(written.ids)[:3]:
        (written.folder / f"{scene}.json").write_text('{"shapes": []}')
        image = written.folder / "images" / f"{scene}.png"
        (written.folder / f"{scene}.png").write_bytes(image.read_bytes())
    answer = laptop.run("inspect", laptop.folder / "set")
    assert answer.code == 1
    assert "could be cvat or labelme" in answer.err
    assert "--layout cvat" in answer.err
    assert laptop.good("inspect", laptop.folder / "set", "--layout", "cvat")["layout"] == "cvat"
    unknown = laptop.run("inspect", laptop.folder / "set", "--layout", "voc")
    assert "has not the layout voc" in unknown.err


def test_the_classes_that_the_masks_have_are_counted(laptop: Laptop) -> None:
    """JetCar's sets name 22 classes and hold few of them."""
    written = write_layout("jetcar", laptop.folder / "set")
    for path in written.folder.rglob("*.xml"):
        path.unlink()
    answer = laptop.run("inspect", laptop.folder / "set")
    assert "4 of 22 classes are in the masks." in answer.out + answer.err
    assert len(laptop.good("inspect", laptop.folder / "set")["classes_present"]) == 4


def test_nothing_is_changed(laptop: Laptop) -> None:
    write_layout("coco", laptop.folder / "set")
    before = {p: p.stat().st_mtime_ns for p in laptop.folder.rglob("*")}
    laptop.good("inspect", laptop.folder / "set")
    assert {p: p.stat().st_mtime_ns for p in laptop.folder.rglob("*")} == before


def test_groups_of_frames_stay_together(laptop: Laptop) -> None:
    write_layout("waggle", laptop.folder / "set")
    flags = ("--to", laptop.folder / "out", "--group-by", r"scene \d")
    answer = laptop.run("separate", laptop.folder / "set", *flags)
    assert answer.code == 1
    assert "The val list is empty" in answer.err or "The train list is empty" in answer.err

"""VoTT's tables: what their numbers are is told by the numbers, or asked for."""

from pathlib import Path

import numpy as np
import pytest

from tests.train.layouts import save
from train.data.formats import Drawn, read_source
from train.errors import DataError


def write_table(folder: Path, rows: list[str], name: str = "sky-export.csv") -> Path:
    folder.mkdir()
    for key in ("a", "b"):
        save(folder / f"{key}.png", np.zeros((40, 60, 3), np.uint8))
    (folder / name).write_text("\n".join(rows))
    return folder


def draw(folder: Path, key: str) -> np.ndarray:
    mask = read_source(folder).masks[key]
    assert isinstance(mask, Drawn)
    return mask.draw(40, 60)


@pytest.mark.parametrize(
    ("rows", "box"),
    [
        (["image,xmin,ymin,xmax,ymax,label", "a.png,5,6,25,26,sky"], (5, 6, 25, 26)),
        (["image,x,y,width,height,label", "a.png,5,6,25,26,sky"], (5, 6, 30, 32)),
        (["a.png,5,6,25,26,sky", "b.png,50,30,58,39,sky"], (5, 6, 25, 26)),
        (["a.png,5,6,25,26,sky", "b.png,50,30,4,5,sky"], (5, 6, 30, 32)),
    ],
    ids=["named corners", "named sizes", "corners, else one leaves its image", "sizes"],
)
def test_the_numbers_of_a_box_are_told_apart(
    tmp_path: Path, rows: list[str], box: tuple[int, int, int, int]
) -> None:
    left, top, right, bottom = box
    expected = np.zeros((40, 60), np.uint8)
    expected[top:bottom, left:right] = 1
    np.testing.assert_array_equal(draw(write_table(tmp_path / "set", rows), "a"), expected)


def test_numbers_that_could_be_both_are_asked_for(tmp_path: Path) -> None:
    folder = write_table(tmp_path / "set", ["a.png,5,6,25,26,sky"])
    with pytest.raises(DataError, match=r"may be x,y,width,height or x1,y1,x2,y2") as caught:
        read_source(folder)
    assert "first line" in caught.value.fix


def test_a_box_that_fits_neither_way_is_named(tmp_path: Path) -> None:
    folder = write_table(tmp_path / "set", ["a.png,5,6,25,26,sky", "b.png,70,6,500,26,sky"])
    with pytest.raises(DataError, match=r"line 2: the box 70, 6, 500, 26 of b\.png does"):
        read_source(folder)


def test_lines_of_both_ways_are_named(tmp_path: Path) -> None:
    folder = write_table(tmp_path / "set", ["a.png,50,6,55,26,sky", "b.png,50,30,4,5,sky"])
    with pytest.raises(
        DataError, match=r"line 1: .* as x1,y1,x2,y2 alone, and line 2: .* as x,y,width,height"
    ):
        read_source(folder)


@pytest.mark.parametrize(
    "rows",
    [
        ["url,x1,y1,x2,y2,class", "a.png,5,6,25,26,sky"],
        ["a.png,5,6,25,26,sky", "b.png,50,30,58,39,sky"],
    ],
)
def test_a_table_of_any_name_is_known_by_its_first_line(tmp_path: Path, rows: list[str]) -> None:
    assert read_source(write_table(tmp_path / "set", rows, "boxes.csv")).layout == "vott"


def test_a_table_of_classes_alone_needs_vott_in_its_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none of the known layouts"):
        read_source(write_table(tmp_path / "set", ["a.png,sky", "b.png,sea"], "labels.csv"))


def test_a_class_without_a_box_is_the_whole_images(tmp_path: Path) -> None:
    folder = write_table(tmp_path / "set", ["url,class", "a.png,sky", "b.png,sea"])
    assert (draw(folder, "a") == 2).all()
    assert [info.name for info in read_source(folder).classes] == ["background", "sea", "sky"]


@pytest.mark.parametrize("row", ["a.png,1,2,3,sky", "a.png,1,2,x,4,sky", ",1,2,3,4,sky", "a.png"])
def test_a_row_that_is_none_is_named(tmp_path: Path, row: str) -> None:
    with pytest.raises(DataError, match=r"sky-export\.csv: line 1 is no IMAGE,CLASS"):
        read_source(write_table(tmp_path / "set", [row]))


def test_images_that_are_not_there_are_left_out_and_named(tmp_path: Path) -> None:
    rows = ["image,x,y,width,height,label", "a.png,1,1,2,2,sky", "c.png,1,1,2,2,sky"]
    source = read_source(write_table(tmp_path / "set", rows))
    assert [*source.masks] == ["a"]
    assert "c.png" in source.findings[0].message

"""Files of the projects that came before, as they were published."""

from pathlib import Path

import numpy as np
import pytest

from tests.conftest import need_shared
from tests.train.layouts import cut, make_scenes, save, write_layout
from tests.train.layouts import waggle as waggle_writer
from train.data.extract import extract_archive
from train.data.formats import read_source
from train.data.formats.jetcar import CLASSES
from train.data.separate import separate_dataset
from train.data.survey import survey_source

# ImageSegmenter's settings as its `SaveSettings` writes them, with the parts around the classes.
SETTINGS = """<?xml version="1.0" encoding="UTF-8"?>
<settings>
  <data_path>
    <source_images>C:\\Python\\tf-gpu\\JetCar\\Data\\Recording\\</source_images>
    <output_dataset>C:\\Python\\tf-gpu\\JetCar\\Data\\DataSet\\</output_dataset>
  </data_path>
  <sub_dir_level_1><image>Img\\</image><mask>Mask\\</mask><info>Info\\</info></sub_dir_level_1>
  <prefix><image>Img_</image><mask>Mask_</mask><info>Info_</info></prefix>
  <segm_class_defs>
{items}
  </segm_class_defs>
  <output_parm><image_width>224</image_width><image_height>224</image_height></output_parm>
</settings>
"""
# JetCar_ColorMap.csv: blue, green, red, alpha; 17 classes, then white up to 256 rows.
COLOR_MAP = [
    *("0,0,0,255", "218,159,5,255", "35,240,245,255", "121,213,225,255", "0,255,0,255"),
    *("0,0,138,255", "3,184,139,255", "64,128,0,255", "0,128,255,255", "0,0,255,255"),
    *("0,0,206,255", "0,172,215,255", "98,104,223,255", "128,0,192,255", "0,191,130,255"),
    *("128,192,0,255", "128,0,128,255", *["255,255,255,255"] * 239),
]


def make_settings() -> str:
    items = [
        f'    <item id="{i}" draw_order="{i}" draw_color="FF{r:02X}{g:02X}{b:02X}">{name}</item>'
        for i, (name, (r, g, b)) in enumerate(CLASSES.items())
    ]
    return SETTINGS.format(items="\n".join(items))


@pytest.mark.parametrize("place", ["DataSet", "."])
def test_jetcars_settings_name_its_classes(tmp_path: Path, place: str) -> None:
    write_layout("jetcar", tmp_path / "set")
    (tmp_path / "set" / place / "ImageSegmenter.xml").write_text(make_settings(), "utf-8-sig")
    source = read_source(tmp_path / "set")
    assert [(info.name, info.color) for info in source.classes] == list(CLASSES.items())
    assert source.class_source is not None
    assert source.class_source.name == "ImageSegmenter.xml"


def test_jetcars_colour_map_colours_the_classes(tmp_path: Path) -> None:
    write_layout("jetcar", tmp_path / "set")
    (tmp_path / "set" / "JetCar_ColorMap.csv").write_text("\r\n".join(COLOR_MAP))
    classes = read_source(tmp_path / "set").classes
    assert len(classes) == 22
    assert (classes[1].name, classes[1].color) == ("white_solid_line", (5, 159, 218))


def test_jetcars_ids_that_are_there_are_counted(tmp_path: Path) -> None:
    write_layout("jetcar", tmp_path / "set")
    findings = survey_source(read_source(tmp_path / "set")).findings
    (absent,) = [f for f in findings if f.kind == "absent_class"]
    assert "4 of 22 classes are there" in absent.message


@pytest.mark.parametrize("pair", [("image", "gt_image"), ("images", "labels")])
def test_waggles_generations_are_read_alike(tmp_path: Path, pair: tuple[str, str]) -> None:
    scenes = make_scenes()
    wanted = waggle_writer.write(tmp_path / "set", scenes, pair)
    made = separate_dataset(tmp_path / "set", tmp_path / "out").dataset
    assert made.layout == "waggle"
    assert made.class_names == ["sky", "background", "cloud"]
    assert sum(made.counts[name] for name in ("train", "val")) == len(wanted.ids)


def test_waggles_second_generation_has_its_parts(tmp_path: Path) -> None:
    root = tmp_path / "set"
    for part, of in zip(("train", "val"), cut(make_scenes()), strict=True):
        for scene in of:
            save(root / part / "images" / f"{scene.key}.jpg", scene.image)
            save(root / part / "labels" / f"{scene.key}.png", scene.ids % 3)
    (root / "class_names.list").write_text("sky\nbackground\ncloud\n")
    made = separate_dataset(root, tmp_path / "out").dataset
    assert (made.layout, made.counts["train"], made.counts["val"]) == ("waggle", 7, 3)


@pytest.mark.parametrize(
    ("archive", "layout", "classes", "counts"),
    [
        ("camvid-voc.tar", "voc", 11, (367, 101, 233)),
        ("hyta-waggle.zip", "waggle", 2, (26, 6, 0)),
    ],
)
def test_real_sets_are_read_as_published(
    tmp_path: Path, archive: str, layout: str, classes: int, counts: tuple[int, int, int]
) -> None:
    extract_archive(need_shared(archive), tmp_path / "raw")
    made = separate_dataset(tmp_path / "raw", tmp_path / "out").dataset
    found = tuple(made.counts[name] for name in ("train", "val", "unlabelled"))
    assert (made.layout, len(made.classes), found) == (layout, classes, counts)
    assert np.sum([*made.pixels.values()]) > 10**6

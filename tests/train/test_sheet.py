"""The contact sheet: images with their masks over them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.train.layouts import COLORS, make_scenes, write_layout
from train.data.dataset import ClassInfo
from train.data.formats import read_source
from train.data.sheet import TILE, choose_images, draw_sheet, paint
from train.data.survey import survey_source
from train.errors import DataError


def test_a_sheet_has_images_in_the_colours_of_their_classes(tmp_path: Path) -> None:
    write_layout("pairs", tmp_path / "set")
    survey = survey_source(read_source(tmp_path / "set"))
    keys = draw_sheet(survey, tmp_path / "sheet.png")
    assert len(keys) == len(set(keys)) == 9
    with Image.open(tmp_path / "sheet.png") as image:
        pixels = np.asarray(image)
    assert pixels.shape[1] == 4 * TILE
    scene = next(scene for scene in make_scenes() if scene.key == keys[0])
    # The middle of the box that nothing covers: half image, half colour, and both are alike.
    class_id, left, top, right, bottom = scene.boxes[-1]
    scale = TILE / scene.size[0]
    found = pixels[int((top + bottom) / 2 * scale), int((left + right) / 2 * scale)]
    assert np.abs(found.astype(int) - COLORS[class_id]).max() < 40


def test_a_rare_class_is_on_the_sheet(tmp_path: Path) -> None:
    scenes = make_scenes(40)
    for scene in scenes[:-1]:
        scene.ids[scene.ids == 3] = 0
    write_layout("pairs", tmp_path / "set", [*scenes, make_scenes(41)[-1]])
    survey = survey_source(read_source(tmp_path / "set"))
    assert scenes[-1].key in choose_images(survey, 5)


def test_classes_that_overlap_have_the_mean_of_their_colours() -> None:
    infos = [ClassInfo(name=n, color=c) for n, c in (("a", (200, 0, 0)), ("b", (0, 100, 0)))]
    colors, shown = paint(np.array([[0, 1, 2, 3, 255]], np.uint8), infos, multilabel=True)
    assert shown.tolist() == [[False, True, True, True, False]]
    assert colors[0, 1:4].tolist() == [[200, 0, 0], [0, 100, 0], [100, 50, 0]]


def test_a_set_without_masks_has_no_sheet(tmp_path: Path) -> None:
    written = write_layout("waggle", tmp_path / "set")
    for path in [*(written.folder / "gt_image").iterdir()]:
        path.rename(path.with_stem(f"other {path.stem}"))
    survey = survey_source(read_source(tmp_path / "set"))
    with pytest.raises(DataError, match="nothing to show"):
        draw_sheet(survey, tmp_path / "sheet.png")

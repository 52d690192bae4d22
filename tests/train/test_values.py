"""What the values of all masks together stand for."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.train.layouts import save
from train.data.formats import read_source
from train.data.masks import Mask
from train.data.separate import Separation, separate_dataset
from train.data.survey import survey_source
from train.errors import DataError

IDS = np.repeat(np.arange(3, dtype=np.uint8), 16)[None].repeat(32, axis=0)
TWO = (IDS > 0).astype(np.uint8)
COUNT = 6


def write(folder: Path, masks: list[Any], files: Mapping[str, str] | None = None) -> Path:
    """Six images and these masks, in turn; arrays, or pictures that are saved as they are."""
    for number in range(COUNT):
        rng = np.random.default_rng(number)
        pixels = rng.integers(0, 255, (32, 48, 3)).astype(np.uint8)
        save(folder / "images" / f"{number}.jpg", pixels)
        mask = masks[number % len(masks)]
        (folder / "masks").mkdir(exist_ok=True)
        image = mask if isinstance(mask, Image.Image) else Image.fromarray(mask)
        image.save(folder / "masks" / f"{number}.png")
    for name, text in (files or {}).items():
        (folder / name).write_text(text)
    return folder


def separate(folder: Path) -> Separation:
    return separate_dataset(folder, folder.with_name("out"))


def read(folder: Path, done: Separation) -> Mask:
    sample = done.dataset.lists["val"][0]
    return np.asarray(Image.open(folder.with_name("out") / str(sample.mask)))


def test_one_name_is_that_of_what_is_on_the_background(tmp_path: Path) -> None:
    folder = write(tmp_path / "set", [TWO * 255], {"classes.txt": "road"})
    done = separate(folder)
    assert done.dataset.class_names == ["background", "road"]
    np.testing.assert_array_equal(read(folder, done), TWO)
    assert any("Class 0 is the background, in front of road" in note for note in done.notes)


def test_two_names_and_255_are_two_classes(tmp_path: Path) -> None:
    folder = write(tmp_path / "set", [TWO * 255], {"classes.txt": "ground\nroad"})
    np.testing.assert_array_equal(read(folder, separate(folder)), TWO)


@pytest.mark.parametrize("files", [{}, {"classes.txt": "ground\nroad"}])
def test_masks_that_write_one_thing_in_two_ways_are_refused(
    tmp_path: Path, files: dict[str, str]
) -> None:
    folder = write(tmp_path / "set", [TWO, TWO * 255], files)
    with pytest.raises(DataError, match=r"0 and 1, as .*0\.png, others 0 and 255, as .*1\.png"):
        separate(folder)


def test_void_beside_the_things_is_void(tmp_path: Path) -> None:
    void = TWO.copy()
    void[:3] = 255
    done = separate(write(tmp_path / "set", [void]))
    assert done.dataset.ignore_index == 255
    assert len(done.dataset.classes) == 2


def test_waggles_255_is_void_where_ids_are_beside_it(tmp_path: Path) -> None:
    ids = IDS.copy()
    ids[:3] = 255
    folder = write(tmp_path / "set", [ids], {"class_names.list": "a\nb\nc"})
    (folder / "masks").rename(folder / "gt_image")
    (folder / "images").rename(folder / "image")
    done = separate(folder)
    assert (done.dataset.layout, done.dataset.ignore_index) == ("waggle", 255)
    assert any("255 beside the ids of classes: it is taken for void" in n for n in done.notes)


def test_values_with_gaps_are_called_by_themselves(tmp_path: Path) -> None:
    """Oxford's pets have 1, 2 and 3."""
    folder = write(tmp_path / "set", [IDS + 1])
    done = separate(folder)
    assert done.dataset.class_names == ["class_1", "class_2", "class_3"]
    np.testing.assert_array_equal(read(folder, done), IDS)


def test_masks_of_void_alone_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "set", [np.full_like(IDS, 255)], {"classes.txt": "a\nb\nc"})
    with pytest.raises(DataError, match="All pixels of all masks are void"):
        separate(folder)


GREYS = np.array([255, 128, 0], np.uint8)


@pytest.mark.parametrize("rows", ["NAME,RED,GREEN,BLUE\n{}", "{}"])
def test_a_table_says_which_grey_is_which_class(tmp_path: Path, rows: str) -> None:
    table = rows.format("house,255,255,255\nlane 2,128,128,128\nground,0,0,0")
    folder = write(tmp_path / "set", [GREYS[IDS]], {"class_dict.csv": table})
    done = separate(folder)
    assert done.dataset.class_names == ["house", "lane 2", "ground"]
    np.testing.assert_array_equal(read(folder, done), IDS)


def test_greys_without_a_table_are_refused_with_what_mends_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="may be noise or colours") as caught:
        separate(write(tmp_path / "set", [GREYS[IDS]]))
    assert "class_dict.csv: NAME,GREY,GREY,GREY" in caught.value.fix


def paint(ids: Mask, *colors: tuple[int, int, int]) -> Image.Image:
    image = Image.fromarray(ids)
    image.putpalette([part for color in colors for part in color])
    return image


def test_black_and_white_palettes_are_read_as_they_are_seen(tmp_path: Path) -> None:
    """Programs put either colour first, from mask to mask."""
    white_first = paint(1 - TWO, (255, 255, 255), (0, 0, 0))
    black_first = paint(TWO, (0, 0, 0), (255, 255, 255))
    folder = write(tmp_path / "set", [white_first, black_first])
    done = separate(folder)
    for number in range(COUNT):
        ids = np.asarray(Image.open(tmp_path / "out/masks" / f"{number}.png"))
        np.testing.assert_array_equal(ids, TWO)
    assert done.dataset.class_names == ["background", "foreground"]


def test_palettes_that_differ_are_told(tmp_path: Path) -> None:
    red, blue = (255, 0, 0), (0, 0, 255)
    one, other = paint(TWO, (0, 0, 0), red), paint(TWO, (0, 0, 0), blue)
    survey = survey_source(read_source(write(tmp_path / "set", [one, other])))
    (finding,) = [f for f in survey.findings if f.kind == "palettes_differ"]
    assert "1 is coloured (255, 0, 0) in" in finding.message
    assert finding.severity == "warning"


def test_shapes_in_the_alpha_channel_are_refused(tmp_path: Path) -> None:
    pixels = np.dstack([np.zeros((32, 48, 3), np.uint8), TWO * 255])
    with pytest.raises(DataError, match="its shapes in the alpha channel") as caught:
        separate(write(tmp_path / "set", [pixels]))
    assert "8-bit PNG" in caught.value.fix


def test_white_of_16_bits_is_white(tmp_path: Path) -> None:
    folder = write(tmp_path / "set", [TWO.astype(np.uint16) * 65535])
    np.testing.assert_array_equal(read(folder, separate(folder)), TWO)


def test_what_many_files_have_in_common_is_told_once(tmp_path: Path) -> None:
    folder = write(tmp_path / "set", [IDS])
    for path in (folder / "images").iterdir():
        with Image.open(path) as image:
            image.convert("CMYK").save(path)
    (note,) = [f for f in survey_source(read_source(folder)).findings if f.kind == "cmyk"]
    assert "0.jpg is CMYK" in note.message
    assert note.message.endswith("5 more are like it.")
    assert len(note.files) == COUNT


def test_more_classes_than_a_mask_has_room_for_are_refused(tmp_path: Path) -> None:
    names = "\n".join(f"c{n}" for n in range(300))
    folder = write(tmp_path / "set", [IDS], {"classes.txt": names})
    with pytest.raises(DataError, match=r"classes\.txt names 300 classes"):
        survey_source(read_source(folder))


def test_a_name_that_is_no_text_is_refused_with_what_mends_it(tmp_path: Path) -> None:
    folder = write(tmp_path / "set", [IDS])
    odd = b"f\xfcr.jpg".decode("utf-8", "surrogateescape")
    (folder / "images/0.jpg").rename(folder / "images" / odd)
    with pytest.raises(DataError, match="has a name that is no UTF-8") as caught:
        survey_source(read_source(folder))
    assert "convmv" in caught.value.fix


def test_a_mask_of_a_turned_image_is_refused_with_what_turns_it(tmp_path: Path) -> None:
    folder = write(tmp_path / "set", [IDS.T.copy()])
    with pytest.raises(DataError, match=r"0\.png is 32x48 and its image is 48x32") as caught:
        separate(folder)
    assert "auto-orient" in caught.value.fix


def test_void_beside_one_named_thing_is_void(tmp_path: Path) -> None:
    void = TWO.copy()
    void[:3] = 255
    done = separate(write(tmp_path / "set", [void], {"classes.txt": "road"}))
    assert (done.dataset.class_names, done.dataset.ignore_index) == (["background", "road"], 255)


def test_a_mask_that_is_white_all_over_is_a_mask(tmp_path: Path) -> None:
    deep = TWO.astype(np.uint16) * 65535
    folder = write(tmp_path / "set", [deep, np.full_like(deep, 65535)])
    assert separate(folder).dataset.class_names == ["background", "foreground"]


def test_ids_are_ids_where_a_table_has_greys(tmp_path: Path) -> None:
    table = {"class_dict.csv": "ground,0,0,0\nroad,255,255,255"}
    folder = write(tmp_path / "set", [TWO], table)
    np.testing.assert_array_equal(read(folder, separate(folder)), TWO)


def test_a_warning_is_not_told_as_a_note(tmp_path: Path) -> None:
    """An image that is stored turned is worth a warning, unless its mask is turned, too."""
    square = np.repeat(np.arange(3, dtype=np.uint8), 16)[None].repeat(48, axis=0)
    folder = write(tmp_path / "set", [IDS, square])
    exif = Image.Exif()
    exif[274] = 6
    for number in range(COUNT):
        path = folder / "images" / f"{number}.jpg"
        with Image.open(path) as image:
            image.resize((48, 48) if number % 2 else (48, 32)).save(path, exif=exif)
    found = [f for f in survey_source(read_source(folder)).findings if f.kind == "turned"]
    assert sorted(f.severity for f in found) == ["note", "warning"]

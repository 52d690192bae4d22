"""Labelled from unlabelled, train from val from test; every mask looked at."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from tests.conftest import need_shared
from train.data.dataset import load_dataset
from train.data.extract import extract_archive
from train.data.masks import read_mask, voc_color, write_mask
from train.data.separate import separate_dataset
from train.data.split import SplitSettings
from train.errors import DataError


@pytest.fixture
def voc(skies: Path, tmp_path: Path) -> Path:
    """The tiny set as it was published, for one test to damage."""
    extract_archive(skies, tmp_path / "raw")
    return tmp_path / "raw" / "VOCdevkit" / "VOC2012"


def make_waggle(folder: Path, count: int = 10) -> Path:
    for part in ("image", "gt_image"):
        (folder / part).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(count):
        ids = np.full((20, 30), number % 2, np.uint8)
        Image.fromarray(rng.integers(0, 256, (20, 30, 3)).astype(np.uint8)).save(
            folder / "image" / f"{number}.jpg"
        )
        Image.fromarray(ids).save(folder / "gt_image" / f"{number}.png")
    (folder / "class_names.list").write_text("sky\r\ncloud\r\n")
    return folder


def test_voc_keeps_the_published_lists(voc: Path, tmp_path: Path) -> None:
    made = separate_dataset(voc, tmp_path / "out").dataset
    assert made.counts == {"train": 8, "val": 2, "test": 0, "unlabelled": 2}
    assert made.class_names == ["sky", "cloud", "ground"]
    assert [s.id for s in made.lists["val"]] == ["val_0000", "val_0001"]
    assert made.ignore_index == 255
    assert sum(made.pixel_share.values()) == pytest.approx(1)


def test_files_are_linked_not_encoded_again(voc: Path, tmp_path: Path) -> None:
    made = separate_dataset(voc, tmp_path / "out").dataset
    for sample in made.lists["train"]:
        assert sample.mask
        original = voc / "SegmentationClass" / f"{sample.id}.png"
        assert (tmp_path / "out" / sample.mask).read_bytes() == original.read_bytes()


def test_the_same_data_is_the_same_dataset(voc: Path, tmp_path: Path) -> None:
    first = separate_dataset(voc, tmp_path / "one", name="a").dataset
    shutil.copytree(voc, tmp_path / "copy")
    second = separate_dataset(tmp_path / "copy", tmp_path / "two", name="b").dataset
    assert first.fingerprint == second.fingerprint
    assert separate_dataset(voc, tmp_path / "one").done_before


def test_waggle_is_split_by_the_seed_alone(tmp_path: Path) -> None:
    folder = make_waggle(tmp_path / "storage")
    split = SplitSettings(val=0.3, test=0.2, seed=5)
    made = separate_dataset(folder, tmp_path / "out", split).dataset
    assert made.counts == {"train": 5, "val": 3, "test": 2, "unlabelled": 0}
    assert [s.id for s in made.lists["val"]] == ["1", "4", "8"]
    assert made.class_names == ["sky", "cloud"]


def test_camvid_is_read_as_published(tmp_path: Path) -> None:
    extract_archive(need_shared("camvid-voc.tar"), tmp_path / "raw")
    made = separate_dataset(tmp_path / "raw", tmp_path / "out").dataset
    assert made.counts == {"train": 367, "val": 101, "test": 0, "unlabelled": 233}
    assert len(made.class_names) == 11
    assert made.pixels["road"] == 25130056


def test_hyta_is_read_as_published(tmp_path: Path) -> None:
    extract_archive(need_shared("hyta-waggle.zip"), tmp_path / "raw")
    made = separate_dataset(tmp_path / "raw", tmp_path / "out").dataset
    assert made.counts == {"train": 26, "val": 6, "test": 0, "unlabelled": 0}
    assert made.class_names == ["sky", "cloud"]


def cut_mask(voc: Path) -> None:
    path = voc / "SegmentationClass/train_0000.png"
    path.write_bytes(path.read_bytes()[:60])


def grow_mask(voc: Path) -> None:
    write_mask(voc / "SegmentationClass/train_0000.png", np.zeros((9, 9), np.uint8), [(0, 0, 0)])


def raise_ids(voc: Path) -> None:
    path = voc / "SegmentationClass/train_0000.png"
    write_mask(path, np.full((36, 48), 77, np.uint8), [])


def color_mask(voc: Path) -> None:
    Image.new("RGB", (48, 36)).save(voc / "SegmentationClass/train_0000.png")


def swap_classes(voc: Path) -> None:
    lines = (voc / "labelmap.txt").read_text().splitlines()
    (voc / "labelmap.txt").write_text("\n".join([lines[0], lines[2], lines[1], lines[3]]))


def drop_class(voc: Path) -> None:
    lines = (voc / "labelmap.txt").read_text().splitlines()
    (voc / "labelmap.txt").write_text("\n".join(lines[:3]))


def garble_classes(voc: Path) -> None:
    (voc / "labelmap.txt").write_text("sky;1;2;3\n")


def drop_mask(voc: Path) -> None:
    (voc / "SegmentationClass/train_0000.png").unlink()


def drop_image(voc: Path) -> None:
    (voc / "JPEGImages/train_0000.jpg").unlink()


def spoil_image(voc: Path) -> None:
    (voc / "JPEGImages/train_0000.jpg").write_bytes(b"")


def drop_all_masks(voc: Path) -> None:
    for path in (voc / "SegmentationClass").iterdir():
        path.unlink()


def drop_layout(voc: Path) -> None:
    shutil.rmtree(voc / "JPEGImages")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut_mask, r"train_0000\.png: the mask cannot be decoded"),
        (grow_mask, r"train_0000\.png is 9x9 and its image is 48x36"),
        (raise_ids, r"train_0000\.png has the ids 77; .*labelmap\.txt names 3 classes"),
        (color_mask, r"labelmap\.txt has no class of the colour #000000"),
        (swap_classes, r"colours the id 0 .* class 0 is cloud"),
        (drop_class, r"has the ids 2; .*labelmap\.txt names 2 classes"),
        (garble_classes, r"labelmap\.txt: the line 'sky;1;2;3' is not"),
        (drop_mask, r"train_0000\.jpg is in the train list and has no mask"),
        (drop_image, r"The train list names train_0000, which has no image"),
        (spoil_image, r"train_0000\.jpg: the image cannot be decoded"),
        (drop_all_masks, r"No image of the voc dataset has a mask"),
        (drop_layout, r"has none of the known layouts: cityscapes, clouds, coco"),
    ],
)
def test_damage_is_named_and_nothing_is_written(
    voc: Path, tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(voc)
    with pytest.raises(DataError, match=message) as caught:
        separate_dataset(voc, tmp_path / "out")
    assert caught.value.fix
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out.partial").exists()


def test_shares_that_leave_nothing_are_refused(tmp_path: Path) -> None:
    folder = make_waggle(tmp_path / "storage")
    with pytest.raises(DataError, match="leave too little"):
        separate_dataset(folder, tmp_path / "out", SplitSettings(val=0.6, test=0.4))
    with pytest.raises(DataError, match="train list is empty"):
        separate_dataset(make_waggle(tmp_path / "few", 1), tmp_path / "out")


def test_a_folder_that_is_no_dataset_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no dataset\.json") as caught:
        load_dataset(tmp_path)
    assert "segaway separate" in caught.value.fix


@given(arrays(np.uint8, st.tuples(st.integers(1, 20), st.integers(1, 20))))
def test_a_mask_keeps_its_ids(ids: np.ndarray) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mask.png"
        write_mask(path, ids, [voc_color(i) for i in range(21)])
        assert (read_mask(path) == ids).all()


def test_a_mask_read_through_rgb_would_have_lost_its_ids(tmp_path: Path) -> None:
    """The trap itself: what `read_mask` must never become."""
    ids = np.array([[0, 1, 15, 255]], np.uint8)
    write_mask(tmp_path / "mask.png", ids, [voc_color(i) for i in range(21)])
    through_rgb = np.asarray(Image.open(tmp_path / "mask.png").convert("RGB"))[..., 0]
    assert through_rgb.tolist() != ids.tolist()
    assert read_mask(tmp_path / "mask.png").tolist() == ids.tolist()


def test_the_palette_is_vocs() -> None:
    """Colours as the development kit lists them."""
    assert [voc_color(i) for i in (0, 1, 15, 20)] == [
        (0, 0, 0),
        (128, 0, 0),
        (192, 128, 128),
        (0, 64, 128),
    ]

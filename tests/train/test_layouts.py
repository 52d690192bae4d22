"""Every layout: what a set in it says is what is read back, and nothing else fits it."""

import re
from pathlib import Path

import numpy as np
import pytest

from tests.train.layouts import Written, write_layout
from train.data.dataset import load_dataset
from train.data.formats import list_layouts, load_layout, read_source
from train.data.masks import VOID
from train.data.samples import read_truth
from train.data.separate import separate_dataset


@pytest.fixture(params=list_layouts())
def written(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Written]:
    return request.param, write_layout(request.param, tmp_path / "published")


def test_it_is_recognised_and_no_other_is(written: tuple[str, Written], tmp_path: Path) -> None:
    name, _ = written
    assert read_source(tmp_path / "published").layout == name


def test_ids_void_overlaps_and_names_are_read_back(
    written: tuple[str, Written], tmp_path: Path
) -> None:
    _, wanted = written
    made = separate_dataset(tmp_path / "published", tmp_path / "set").dataset
    assert made.class_names == [*wanted.classes]
    assert made.task == wanted.task
    samples = {s.id: s for name in ("train", "val", "test") for s in made.lists[name]}
    assert samples.keys() == wanted.ids.keys()
    for key, sample in samples.items():
        found = read_truth(tmp_path / "set", sample, made.ignore_index)
        np.testing.assert_array_equal(found, wanted.ids[key], err_msg=key)
        assert (sample.height, sample.width) == found.shape
    assert {s.id for s in made.lists["unlabelled"]} == wanted.unlabelled
    for name, keys in wanted.lists.items():
        assert [s.id for s in made.lists[name]] == keys
    assert load_dataset(tmp_path / "set") == made


def test_the_pixels_of_each_class_are_counted(written: tuple[str, Written], tmp_path: Path) -> None:
    _, wanted = written
    made = separate_dataset(tmp_path / "published", tmp_path / "set").dataset
    masks = list(wanted.ids.values())
    for number, name in enumerate(wanted.classes):
        if wanted.task == "multilabel":
            count = sum(int(((m >> number & 1) * (m != VOID)).sum()) for m in masks)
        else:
            count = sum(int((m == number).sum()) for m in masks)
        assert made.pixels[name] == count


def test_the_same_data_is_the_same_dataset(written: tuple[str, Written], tmp_path: Path) -> None:
    one = separate_dataset(tmp_path / "published", tmp_path / "one").dataset
    (tmp_path / "published").rename(tmp_path / "moved")
    other = separate_dataset(tmp_path / "moved", tmp_path / "two").dataset
    assert one.fingerprint == other.fingerprint
    assert separate_dataset(tmp_path / "moved", tmp_path / "one").done_before


def test_recognition_looks_at_names_alone(written: tuple[str, Written], tmp_path: Path) -> None:
    """Emptied pictures change nothing of it."""
    name, wanted = written
    for path in (tmp_path / "published").rglob("*"):
        if path.suffix.lower() in (".png", ".jpg"):
            path.write_bytes(b"")
    assert load_layout(name).recognise(wanted.folder)


KINDS = re.compile(r'(?:Finding|_note|_describe)\(\s*"([a-z_]+)"')


def test_the_page_on_datasets_has_each_layout_and_each_finding() -> None:
    root = Path(__file__).parents[2]
    page = (root / "docs/datasets.md").read_text()
    code = [*(root / "train").rglob("*.py"), *(root / "cli").rglob("*.py")]
    kinds = {kind for path in code for kind in KINDS.findall(path.read_text())}
    assert len(kinds) > 30
    missing = [name for name in (*kinds, *list_layouts()) if f"`{name}`" not in page]
    assert not missing

"""Masks of a dataset's lists as files, each image once, and what they are worth."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from tests.train.sets import make_set, read_rows
from train.data.dataset import Dataset, ListName, load_dataset
from train.data.masks import VOID, read_mask, read_palette
from train.data.runlength import decode
from train.data.samples import read_image, read_pair
from train.errors import DataError
from train.postprocess import Postprocess
from train.predict import (
    evaluate,
    mix_colors,
    place_mask,
    predict_masks,
    score_masks,
    write_runlengths,
    write_samples,
)
from train.tiles import Predictor, label_images

CPU = torch.device("cpu")
SIZES = [(30, 20), (20, 30), (40, 17), (30, 20), (20, 30), (30, 20), (20, 30)]
LISTS: tuple[ListName, ...] = ("val", "test", "unlabelled")
TOTAL = 11  # images in these lists


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_set(tmp_path / "data", SIZES * 2, val=7)


@pytest.fixture
def dataset(folder: Path) -> Dataset:
    """Seven images to validate, two to test and two without a mask."""
    made = load_dataset(folder)
    spare = made.lists["train"]
    bare = [sample.model_copy(update={"mask": None}) for sample in spare[4:6]]
    lists = {**made.lists, "train": spare[:2], "test": spare[2:4], "unlabelled": bare}
    return made.model_copy(update={"lists": lists})


def make_predictor(multilabel: bool = False, **more: Any) -> Predictor:
    torch.manual_seed(0)
    return Predictor(nn.Conv2d(3, 3, 3, padding=1).eval(), CPU, multilabel, **more)


@dataclass
class Notes:
    """A board that notes what it is told, image by image."""

    masks: dict[int, Tensor] = field(default_factory=dict)
    truths: dict[int, Tensor] = field(default_factory=dict)

    def update(self, predicted: Tensor, truth: Tensor, first_index: int = 0) -> None:
        assert predicted.shape == truth.shape
        assert predicted.dtype == truth.dtype == torch.uint8
        for place in range(len(predicted)):
            assert first_index + place not in self.masks
            self.masks[first_index + place] = predicted[place].clone()
            self.truths[first_index + place] = truth[place].clone()

    def same_as(self, other: "Notes") -> bool:
        return self.masks.keys() == other.masks.keys() and all(
            torch.equal(self.masks[i], other.masks[i])
            and torch.equal(self.truths[i], other.truths[i])
            for i in self.masks
        )


def judge(
    predictor: Predictor, dataset: Dataset, folder: Path, shard: tuple[int, int] = (0, 1)
) -> Notes:
    notes, samples = Notes(), dataset.lists["val"]
    evaluate(predictor, lambda i: read_pair(folder, samples[i], VOID), len(samples), notes, shard)
    return notes


@pytest.mark.parametrize("batch_pixels", [1, 1300])
def test_the_judgement_is_the_same_however_images_are_batched(
    dataset: Dataset, folder: Path, batch_pixels: int
) -> None:
    found = judge(make_predictor(batch_pixels=batch_pixels), dataset, folder)
    assert sorted(found.masks) == list(range(7))
    assert found.same_as(judge(make_predictor(), dataset, folder))


def test_images_are_judged_as_they_are_predicted(dataset: Dataset, folder: Path) -> None:
    predictor = make_predictor(tile=25)  # some images are larger, some are not
    found = judge(predictor, dataset, folder)
    for index, sample in enumerate(dataset.lists["val"]):
        image, truth = read_pair(folder, sample, VOID)
        assert torch.equal(found.masks[index], label_images(predictor, image[None])[0])
        np.testing.assert_array_equal(found.truths[index].numpy(), truth)


@pytest.mark.parametrize("size", [2, 3, 10])
def test_ranks_judge_each_image_exactly_once(dataset: Dataset, folder: Path, size: int) -> None:
    together = Notes()
    for rank in range(size):
        part = judge(make_predictor(), dataset, folder, (rank, size))
        assert not part.masks.keys() & together.masks.keys()
        together.masks |= part.masks
        together.truths |= part.truths
    assert together.same_as(judge(make_predictor(), dataset, folder))


def test_a_check_may_stop_the_judgement(dataset: Dataset, folder: Path) -> None:
    def check() -> None:
        raise KeyboardInterrupt

    samples, notes = dataset.lists["val"], Notes()
    with pytest.raises(KeyboardInterrupt):
        evaluate(
            make_predictor(), lambda i: read_pair(folder, samples[i], 255), 7, notes, check=check
        )
    assert not notes.masks


def write_all(
    predictor: Predictor, dataset: Dataset, folder: Path, output: Path, **more: Any
) -> list[int]:
    return list(predict_masks(predictor, dataset, folder, output, LISTS, **more))


@pytest.mark.parametrize("tile", [64, 16])
def test_every_image_gets_a_mask_of_its_size_in_the_classes_colours(
    dataset: Dataset, folder: Path, tmp_path: Path, tile: int
) -> None:
    predictor = make_predictor(tile=tile)
    assert write_all(predictor, dataset, folder, tmp_path) == list(range(1, TOTAL + 1))
    for name in LISTS:
        for sample in dataset.lists[name]:
            path = tmp_path / "predictions" / name / f"{sample.id}.png"
            expected = label_images(predictor, read_image(folder / sample.image)[None])[0]
            np.testing.assert_array_equal(read_mask(path), expected.numpy())
            assert read_palette(path)[:3] == [info.color for info in dataset.classes]
            with Image.open(path) as image:
                assert (image.mode, image.size) == ("P", (sample.width, sample.height))
    assert not list(tmp_path.rglob("*.partial"))


def test_classes_that_overlap_are_the_bits_of_a_grey_mask(
    dataset: Dataset, folder: Path, tmp_path: Path
) -> None:
    rule = Postprocess([0.4, 0.5, 0.6], [0.0, 0.0, 0.6])
    predictor = make_predictor(multilabel=True, postprocess=rule)
    write_all(predictor, dataset, folder, tmp_path)
    seen = 0
    for sample in dataset.lists["val"]:
        path = place_mask(tmp_path, "val", sample)
        with Image.open(path) as image:
            assert image.mode == "L"
        mask = read_mask(path)
        expected = label_images(predictor, read_image(folder / sample.image)[None])[0]
        np.testing.assert_array_equal(mask, expected.numpy())
        seen |= int(np.bitwise_or.reduce(mask, axis=None))
    assert seen & 0b11 == 0b11


def test_ranks_write_each_mask_once(dataset: Dataset, folder: Path, tmp_path: Path) -> None:
    alone, together = tmp_path / "alone", tmp_path / "together"
    write_all(make_predictor(), dataset, folder, alone)
    counts = [
        len(write_all(make_predictor(), dataset, folder, together, shard=(rank, 3)))
        for rank in range(3)
    ]
    assert sum(counts) == TOTAL
    masks = {path.relative_to(alone): path.read_bytes() for path in alone.rglob("*.png")}
    assert masks == {p.relative_to(together): p.read_bytes() for p in together.rglob("*.png")}


def test_masks_of_another_model_are_replaced(
    dataset: Dataset, folder: Path, tmp_path: Path
) -> None:
    path = place_mask(tmp_path, "val", dataset.lists["val"][0])
    write_all(make_predictor(flip_average=True), dataset, folder, tmp_path)
    before = path.read_bytes()
    write_all(make_predictor(), dataset, folder, tmp_path)
    assert path.read_bytes() != before


def test_an_image_that_cannot_be_decoded_is_named(
    dataset: Dataset, folder: Path, tmp_path: Path
) -> None:
    image = dataset.lists["test"][0].image
    (folder / image).write_bytes(b"no image")
    with pytest.raises(DataError, match=f"{image}: the image cannot be decoded"):
        write_all(make_predictor(), dataset, folder, tmp_path)


def test_masks_are_judged_from_their_files_as_they_were_before(
    dataset: Dataset, folder: Path, tmp_path: Path
) -> None:
    write_all(make_predictor(), dataset, folder, tmp_path)
    notes = Notes()
    score_masks(dataset, folder, tmp_path, "val", notes)
    assert notes.same_as(judge(make_predictor(), dataset, folder))


@pytest.mark.parametrize("multilabel", [False, True])
def test_the_csv_says_what_the_masks_say(
    dataset: Dataset, folder: Path, tmp_path: Path, multilabel: bool
) -> None:
    if multilabel:
        dataset = dataset.model_copy(update={"task": "multilabel"})
    write_all(make_predictor(multilabel), dataset, folder, tmp_path)
    write_runlengths(dataset, tmp_path, ["val"])
    header, *rows = read_rows(tmp_path / "predictions" / "val.csv")
    assert header == ["Image_Label", "EncodedPixels"]
    runs = dict(rows)
    assert len(rows) == len(runs) == 7 * 3
    for sample in dataset.lists["val"]:
        mask = read_mask(place_mask(tmp_path, "val", sample))
        for k, name in enumerate(dataset.class_names):
            text = runs[f"{sample.id}.png_{name}"]
            there = decode(text, sample.height, sample.width)
            np.testing.assert_array_equal(there, mask >> k & 1 if multilabel else mask == k)


def test_runs_are_of_the_size_that_they_are_handed_in_at(
    dataset: Dataset, folder: Path, tmp_path: Path
) -> None:
    small = dataset.model_copy(update={"runlength_size": (7, 9)})
    write_all(make_predictor(), small, folder, tmp_path)
    write_runlengths(small, tmp_path, ["val"])
    _, *rows = read_rows(tmp_path / "predictions" / "val.csv")
    covered: dict[str, int] = {}
    for label, text in rows:
        image = label.partition(".png_")[0]
        covered[image] = covered.get(image, 0) + int(decode(text, 7, 9).sum())
    assert set(covered.values()) == {7 * 9}


def test_samples_are_the_first_validation_images(
    dataset: Dataset, folder: Path, tmp_path: Path
) -> None:
    predictor = make_predictor()
    write_samples(predictor, dataset, folder, tmp_path)
    first = dataset.lists["val"][:4]
    assert {path.name for path in (tmp_path / "samples").iterdir()} == {
        f"{sample.id}.png" for sample in first
    }
    for sample in first:
        expected = label_images(predictor, read_image(folder / sample.image)[None])[0]
        mask = read_mask(tmp_path / "samples" / f"{sample.id}.png")
        np.testing.assert_array_equal(mask, expected.numpy())


def test_a_set_of_classes_has_the_mean_of_their_colours() -> None:
    mixed = mix_colors([(200, 0, 0), (0, 100, 0), (100, 200, 60)])
    assert mixed[0] == (0, 0, 0)
    assert (mixed[0b001], mixed[0b011], mixed[0b111]) == ((200, 0, 0), (100, 50, 0), (100, 100, 20))

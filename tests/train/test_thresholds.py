"""Thresholds and least sizes: the best there are, from the validation list and nothing else."""

import io
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from tests.train.sets import make_set
from train.data.dataset import Dataset, load_dataset
from train.data.masks import VOID
from train.data.samples import read_pair
from train.postprocess import Postprocess
from train.thresholds import (
    MIN_AREAS,
    THRESHOLDS,
    choose_postprocess,
    count_image,
    count_val,
)
from train.tiles import Predictor, label_images

CPU = torch.device("cpu")
Case = tuple[NDArray[np.float32], NDArray[np.uint8]]


def draw_case(seed: int, classes: int = 2, void: bool = True) -> Case:
    """Probabilities and truth of an image that have something to do with each other."""
    rng = np.random.default_rng(seed)
    height, width = rng.integers(3, 40, 2)
    truth = rng.integers(0, 2**classes, (height, width)).astype(np.uint8)
    truth[rng.random((height, width)) < rng.choice([0.0, 0.5, 0.97])] = 0
    right = np.stack([truth >> k & 1 for k in range(classes)])
    noise = rng.random((classes, height, width)) * rng.choice([0.5, 1.5])
    probabilities = np.clip((right + noise) / 2, 0, 1).astype(np.float32)
    probabilities[:, 0, 0] = np.float32(rng.choice(THRESHOLDS))  # on a threshold, not beside it
    if void:
        truth[rng.random((height, width)) < 0.1] = VOID
    return probabilities, truth


def judge(case: Case, k: int, threshold: float, share: float) -> float:
    """Dice of class k in an image, from the definition."""
    probabilities, truth = case
    found = probabilities[k] >= np.float32(threshold)
    if found.sum() < share * found.size:
        found = np.zeros_like(found)
    known = truth != VOID
    there = (truth >> k & 1).astype(bool) & known
    found &= known
    both = int(found.sum()) + int(there.sum())
    return 2 * int((found & there).sum()) / both if both else 1.0


def search(cases: list[Case], k: int) -> tuple[float, float]:
    """The best threshold and size of class k, one after the other."""

    def rank(pair: tuple[float, float]) -> tuple[float, float, float]:
        mean = sum(judge(case, k, *pair) for case in cases) / len(cases)
        return -round(mean, 12), round(abs(pair[0] - 0.5), 12), pair[1]

    return min(product(THRESHOLDS, MIN_AREAS), key=rank)


def count(case: Case) -> NDArray[np.int64]:
    probabilities, truth = case
    return count_image([torch.from_numpy(probabilities)], torch.from_numpy(truth))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), images=st.integers(1, 4))
def test_the_choice_is_that_of_trying_everything(seed: int, images: int) -> None:
    cases = [draw_case(seed + i) for i in range(images)]
    chosen = choose_postprocess(np.stack([count(case) for case in cases]))
    assert list(zip(chosen.thresholds, chosen.min_areas, strict=True)) == [
        search(cases, k) for k in range(2)
    ]


@given(seed=st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_counts_are_those_of_the_pixels(seed: int) -> None:
    probabilities, truth = case = draw_case(seed)
    counts = count(case)
    known = truth != VOID
    for k, (number, threshold) in product(range(2), enumerate(THRESHOLDS)):
        found = probabilities[k] >= np.float32(threshold)
        there = (truth >> k & 1).astype(bool)
        assert counts[k, number].tolist() == [
            (found & there & known).sum(),
            (found & ~there & known).sum(),
            (~found & there & known).sum(),
            found.sum(),
            truth.size,
        ]


@given(seed=st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_bits_are_those_of_the_definition(seed: int) -> None:
    probabilities, _ = draw_case(seed, classes=3)
    rule = Postprocess([0.3, 0.5, 0.85], [0.0, 0.4, 0.2])
    expected = np.zeros(probabilities.shape[1:], np.uint8)
    for k in range(3):
        found = probabilities[k] >= np.float32(rule.thresholds[k])
        if found.mean() >= rule.min_areas[k]:
            expected |= found.astype(np.uint8) << k
    np.testing.assert_array_equal(rule.apply(torch.from_numpy(probabilities)).numpy(), expected)


def test_bands_are_counted_like_the_whole() -> None:
    probabilities, truth = draw_case(7)
    bands = (torch.from_numpy(probabilities[:, top : top + 2]) for top in range(0, 40, 2))
    in_bands = count_image(bands, torch.from_numpy(truth))
    np.testing.assert_array_equal(in_bands, count((probabilities, truth)))


def test_neither_order_nor_ranks_change_the_choice() -> None:
    counts = np.stack([count(draw_case(seed)) for seed in range(12)])
    chosen = choose_postprocess(counts)
    assert choose_postprocess(counts[::-1]) == chosen
    assert choose_postprocess(np.concatenate([counts[1::2], counts[::2]])) == chosen


def test_among_equals_the_threshold_next_to_a_half_and_the_smallest_size_win() -> None:
    probabilities = np.zeros((1, 10, 10), np.float32)
    probabilities[0, :5] = 1
    truth = np.zeros((10, 10), np.uint8)
    truth[:5] = 1  # every threshold, and every size up to a half, is right
    assert choose_postprocess(count((probabilities, truth))[None]) == Postprocess([0.5], [0.0])


def test_what_is_found_where_nothing_is_calls_for_a_least_size() -> None:
    empty = np.zeros((20, 20), np.uint8)
    speck = np.zeros((1, 20, 20), np.float32)
    speck[0, 0, 0] = 1
    full = (np.ones((1, 20, 20), np.float32), np.ones((20, 20), np.uint8))
    counts = np.stack([count((speck, empty)), count(full)])
    chosen = choose_postprocess(counts)
    assert chosen == Postprocess([0.5], [0.005])
    assert not chosen.apply(torch.from_numpy(speck)).any()


def test_nothing_to_choose_by_leaves_the_defaults() -> None:
    empty = np.zeros((0, 3, len(THRESHOLDS), 5), np.int64)
    assert choose_postprocess(empty) == Postprocess.default(3)


def test_a_rule_travels_in_a_checkpoint() -> None:
    rule = Postprocess([0.35, 0.5], [0.0, 0.02])
    buffer = io.BytesIO()
    torch.save({"postprocess": rule.as_dict()}, buffer)
    buffer.seek(0)
    content = torch.load(buffer, weights_only=True)
    assert Postprocess.from_dict(content["postprocess"]) == rule


def draw_dataset(folder: Path) -> Dataset:
    """Three images to train with, seven to validate."""
    sizes = [(30, 20), (20, 30), (40, 17), (30, 20), (20, 30)] * 2
    return load_dataset(make_set(folder, sizes, val=7, classes=2, multilabel=True))


def forward(images_NCHW: Tensor) -> Tensor:
    return images_NCHW[:, :2] * 2


@pytest.mark.parametrize("tile", [64, 8])
def test_only_the_validation_list_is_counted(tmp_path: Path, tile: int) -> None:
    dataset = draw_dataset(tmp_path)
    val = {sample.image for sample in dataset.lists["val"]}
    for sample in dataset.lists["train"]:
        (tmp_path / sample.image).unlink()  # to read one would fail
    predictor = Predictor(forward, CPU, multilabel=True, tile=tile)
    counts = count_val(predictor, dataset, tmp_path)
    assert counts.shape == (len(val), 2, len(THRESHOLDS), 5)
    place = THRESHOLDS.index(0.5)
    for number, sample in enumerate(dataset.lists["val"]):
        image, truth = read_pair(tmp_path, sample, VOID)
        mask = label_images(predictor, image[None])[0].numpy()
        for k in range(2):
            found, there = mask >> k & 1, (truth >> k & 1) * (truth != VOID)
            assert counts[number, k, place, 0] == (found & there).sum()
            assert counts[number, k, place, 3] == found.sum()


def test_ranks_count_each_image_once(tmp_path: Path) -> None:
    dataset = draw_dataset(tmp_path)
    predictor = Predictor(forward, CPU, multilabel=True)
    parts = [count_val(predictor, dataset, tmp_path, (rank, 3)) for rank in range(3)]
    whole = count_val(predictor, dataset, tmp_path)
    assert sum(map(len, parts)) == len(whole)
    np.testing.assert_array_equal(np.concatenate([part[:1] for part in parts]), whole[:3])


def test_more_ranks_than_images_are_no_harm(tmp_path: Path) -> None:
    dataset = draw_dataset(tmp_path)
    predictor = Predictor(forward, CPU, multilabel=True)
    assert count_val(predictor, dataset, tmp_path, (50, 51)).shape == (0, 2, len(THRESHOLDS), 5)

"""Metrics against plain NumPy in float64, to the last bit."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from train.metrics import DEFINITIONS, Scoreboard, Scores
from train.ranks import Ranks

Array = NDArray[np.uint8]
Binary = tuple[NDArray[np.bool_], NDArray[np.bool_]]
seeds = st.integers(0, 2**31)


def draw(seed: int, classes: int, multilabel: bool, images: int = 3) -> tuple[Array, Array]:
    """Prediction and truth, with some classes nowhere, and void: some, none, or all of it."""
    rng = np.random.default_rng(seed)
    values = 2**classes if multilabel else classes
    some = rng.choice(values, rng.integers(1, values + 1), replace=False)
    truth = rng.choice(some, (images, 6, 7)).astype(np.uint8)
    truth[rng.random(truth.shape) < rng.choice([0.0, 0.3, 1.0])] = 255
    return rng.choice(some, truth.shape).astype(np.uint8), truth


def fill(predicted: Array, truth: Array, board: Scoreboard, batch: int = 2) -> Scoreboard:
    for start in range(0, len(truth), batch):
        part = slice(start, start + batch)
        board.update(torch.from_numpy(predicted[part]), torch.from_numpy(truth[part]), start)
    return board


def make_board(classes: int, multilabel: bool) -> Scoreboard:
    return Scoreboard(classes, "multilabel" if multilabel else "multiclass")


def score(predicted: Array, truth: Array, classes: int, multilabel: bool) -> Scores:
    return fill(predicted, truth, make_board(classes, multilabel)).scores()


def over(part: float, whole: float) -> float | None:
    return float(part / whole) if whole else None


def mean(values: list[float | None]) -> float:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else 0.0


def planes(predicted: Array, truth: Array, classes: int, multilabel: bool) -> list[Binary]:
    """Where each class is predicted and true, void left out."""
    known = truth != 255
    if multilabel:
        return [
            ((predicted >> c & 1 == 1) & known, (truth >> c & 1 == 1) & known)
            for c in range(classes)
        ]
    return [((predicted == c) & known, truth == c) for c in range(classes)]


def oracle(predicted: Array, truth: Array, classes: int, multilabel: bool) -> Scores:
    pairs = planes(predicted, truth, classes, multilabel)
    known = float((truth != 255).sum())
    both = [float((p & t).sum()) for p, t in pairs]
    either = [float((p | t).sum()) for p, t in pairs]
    true = [float(t.sum()) for _, t in pairs]
    iou = [over(b, e) for b, e in zip(both, either, strict=True)]
    dice = [over(2 * b, float(p.sum() + t.sum())) for b, (p, t) in zip(both, pairs, strict=True)]
    right = sum(both)
    if multilabel:
        right = sum(known - float((p ^ t).sum()) for p, t in pairs)
        known *= classes
    weighed = float(np.sum([t * (i or 0) for t, i in zip(true, iou, strict=True)]))
    return Scores(
        miou=mean(iou),
        pixel_accuracy=over(right, known) or 0.0,
        micro_iou=over(sum(both), sum(either)) or 0.0,
        mean_accuracy=mean([over(b, t) for b, t in zip(both, true, strict=True)]),
        fw_iou=over(weighed, sum(true)) or 0.0,
        dice=mean(dice),
        iou=iou,
        class_dice=dice,
        image_dice=image_dice(pairs) if multilabel else None,
    )


def image_dice(pairs: list[Binary]) -> float:
    rows = [
        [
            1.0
            if not (p[n].any() or t[n].any())
            else 2 * (p[n] & t[n]).sum() / (p[n].sum() + t[n].sum())
            for p, t in pairs
        ]
        for n in range(len(pairs[0][0]))
    ]
    return float(np.mean(rows)) if rows else 0.0


@given(seeds, st.integers(2, 12))
def test_scores_of_one_class_a_pixel_equal_a_numpy_oracle(seed: int, classes: int) -> None:
    predicted, truth = draw(seed, classes, multilabel=False)
    assert score(predicted, truth, classes, False) == oracle(predicted, truth, classes, False)


@given(seeds, st.integers(1, 7))
def test_scores_of_several_classes_a_pixel_equal_a_numpy_oracle(seed: int, classes: int) -> None:
    predicted, truth = draw(seed, classes, multilabel=True)
    assert score(predicted, truth, classes, True) == oracle(predicted, truth, classes, True)


@pytest.mark.parametrize("multilabel", [False, True])
def test_nothing_scores_zero(multilabel: bool) -> None:
    nothing = np.zeros((0, 6, 7), np.uint8)
    found = score(nothing, nothing, 3, multilabel)
    assert found == oracle(nothing, nothing, 3, multilabel)
    assert not any(found.as_numbers().values())


@pytest.mark.parametrize("multilabel", [False, True])
def test_void_everywhere_counts_nowhere(multilabel: bool) -> None:
    truth = np.full((2, 6, 7), 255, np.uint8)
    found = score(np.ones_like(truth), truth, 2, multilabel)
    assert found.iou == [None, None]
    assert found.miou == found.pixel_accuracy == found.micro_iou == 0
    # Both truth and prediction are empty in each image.
    assert found.image_dice == (1.0 if multilabel else None)


@given(seeds, st.booleans(), st.integers(1, 4))
def test_scores_do_not_depend_on_the_number_of_ranks(
    seed: int, multilabel: bool, ranks: int
) -> None:
    predicted, truth = draw(seed, 4, multilabel, images=7)
    whole = make_board(4, multilabel)
    for rank in reversed(range(ranks)):
        part = make_board(4, multilabel)
        for n in range(rank, 7, ranks):
            part.update(
                torch.from_numpy(predicted[n : n + 1]), torch.from_numpy(truth[n : n + 1]), n
            )
        whole.merge(part.counts, part.images)
    assert whole.scores() == score(predicted, truth, 4, multilabel)


def test_a_world_of_one_process_has_its_own_counts() -> None:
    predicted, truth = draw(1, 3, multilabel=True)
    board = fill(predicted, truth, Scoreboard(3, "multilabel"))
    assert board.over_ranks(Ranks()).scores() == board.scores()


def test_images_have_their_place_in_the_list() -> None:
    board = Scoreboard(2, "multilabel")
    truth = torch.tensor([[[1, 3, 255]], [[0, 2, 2]]], dtype=torch.uint8)
    board.update(torch.tensor([[[1, 1, 3]], [[1, 0, 2]]], dtype=torch.uint8), truth, 5)
    assert board.images.tolist() == [[5, 2, 0, 0, 0, 0, 1], [6, 0, 1, 1, 0, 0, 1]]
    assert board.counts.tolist() == [[2, 1, 0, 2], [1, 0, 2, 2]]


def test_a_class_that_is_only_predicted_has_the_iou_zero() -> None:
    board = Scoreboard(3)
    board.update(torch.tensor([[[0, 1]]], dtype=torch.uint8), torch.tensor([[[0, 0]]]).byte())
    scores = board.scores()
    assert scores.iou == [0.5, 0.0, None]
    assert scores.miou == 0.25
    assert scores.mean_accuracy == 0.5


def test_an_image_that_is_rightly_empty_has_the_dice_one() -> None:
    empty, full = np.zeros((1, 4, 4), np.uint8), np.ones((1, 4, 4), np.uint8)
    found = score(np.concatenate([empty, full]), np.concatenate([empty, full * 0]), 1, True)
    assert found.image_dice == 0.5


def test_a_truth_without_a_class_is_an_error() -> None:
    board = Scoreboard(2)
    with pytest.raises(IndexError):
        board.update(torch.zeros(1, 2, 2).byte(), torch.full((1, 2, 2), 7).byte())


def test_images_may_differ_in_size() -> None:
    small, large = draw(1, 3, False), draw(2, 3, False, images=50)
    board = fill(*large, fill(*small, Scoreboard(3)), batch=50)
    flat = [
        np.concatenate([a.ravel(), b.ravel()])[None, None]
        for a, b in zip(small, large, strict=True)
    ]
    assert board.scores() == oracle(flat[0], flat[1], 3, False)


@pytest.mark.parametrize("multilabel", [False, True])
def test_the_numbers_come_in_one_order_and_each_has_its_definition(multilabel: bool) -> None:
    found = score(*draw(0, 3, multilabel), 3, multilabel)
    numbers = found.as_numbers()
    names = ["miou", "pixel_accuracy", "micro_iou", "mean_accuracy", "fw_iou", "dice"]
    assert list(numbers) == names + ["image_dice"] * multilabel
    assert all(isinstance(value, float) for value in numbers.values())
    assert {*numbers, "iou", "class_dice"} <= set(DEFINITIONS)
    assert all(text.endswith(".") and "void" in text for text in DEFINITIONS.values())

"""Loss, metrics and schedule against plain NumPy."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from train.losses import jaccard_loss
from train.metrics import ConfusionMatrix
from train.schedule import lr_factor


@given(st.integers(0, 2**31), st.integers(2, 5))
def test_scores_equal_a_numpy_oracle(seed: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.choice([*range(classes), 255], (3, 6, 7))
    predicted = rng.integers(0, classes, (3, 6, 7))
    matrix = ConfusionMatrix(classes)
    for p, t in zip(predicted, truth, strict=True):
        matrix.update(torch.from_numpy(p), torch.from_numpy(t))
    scores = matrix.scores()
    known = truth != 255
    expected: list[float | None] = []
    for c in range(classes):
        union = ((predicted == c) | (truth == c)) & known
        both = (predicted == c) & (truth == c) & known
        expected.append(both.sum() / union.sum() if union.sum() else None)
    assert scores.iou == pytest.approx(expected)
    seen = [value for value in expected if value is not None]
    assert scores.miou == pytest.approx(np.mean(seen) if seen else 0.0)
    hits = ((predicted == truth) & known).sum()
    assert scores.pixel_accuracy == pytest.approx(hits / max(1, known.sum()))


@given(st.integers(0, 2**31))
def test_the_loss_equals_its_formula(seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (2, 3, 4, 5))
    ids = rng.choice([0, 1, 2, 255], (2, 4, 5))
    e = np.exp(logits - logits.max(1, keepdims=True))
    p = e / e.sum(1, keepdims=True)
    terms = []
    for c in range(3):
        t = (ids == c).astype(float)
        pc = p[:, c] * (ids != 255)
        if t.sum():
            both = (pc * t).sum()
            terms.append(-np.log((both + 1) / (pc.sum() + t.sum() - both + 1)))
    found = jaccard_loss(torch.from_numpy(logits), torch.from_numpy(ids.astype(np.uint8)))
    assert float(found) == pytest.approx(np.mean(terms) if terms else 0.0)


def test_void_changes_nothing() -> None:
    logits = torch.randn(1, 2, 4, 4, requires_grad=True)
    jaccard_loss(logits, torch.full((1, 4, 4), 255, dtype=torch.uint8)).backward()  # type: ignore[no-untyped-call]  # torch's stubs
    assert logits.grad is not None
    assert not logits.grad.any()


def test_the_rate_rises_then_falls() -> None:
    rates = [lr_factor(i / 100) for i in range(101)]
    assert max(rates) == pytest.approx(1.0, abs=0.01)
    assert rates.index(max(rates)) == 5
    assert rates[5:] == sorted(rates[5:], reverse=True)
    assert rates[-1] == pytest.approx(0.01)

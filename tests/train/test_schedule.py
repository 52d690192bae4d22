"""The learning rate over a training, and when it is over."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.train.test_augment import make_config
from train.schedule import count_drops, is_exhausted, lr_factor

SCHEDULES = ["constant", "poly", "cosine", "one_cycle", "plateau"]


@pytest.mark.parametrize("schedule", SCHEDULES)
@given(progress=st.floats(0, 1.2))
def test_the_rate_is_above_nothing_and_never_beyond_its_peak(
    schedule: str, progress: float
) -> None:
    assert 0 < lr_factor(make_config(schedule=schedule), progress) <= 1


@pytest.mark.parametrize(
    ("schedule", "course"),
    [
        ("constant", {0: 1, 0.5: 1, 1: 1}),
        ("poly", {0: 1, 0.5: 0.5**0.9, 1: 1e-4}),
        ("cosine", {0: 0.01, 0.025: 0.5, 0.05: 1, 0.525: 0.505, 1: 0.01}),
        ("one_cycle", {0: 0.04, 0.15: 0.52, 0.3: 1, 0.65: 0.50005, 1: 1e-4}),
        ("plateau", {0: 1, 1: 1}),
    ],
)
def test_each_schedule_takes_its_course(schedule: str, course: dict[float, float]) -> None:
    config = make_config(schedule=schedule)
    found = {progress: lr_factor(config, progress) for progress in course}
    assert found == pytest.approx(course, abs=1e-9)


histories = st.lists(st.integers(0, 5).map(float), max_size=30)


@settings(deadline=None)  # the first one imports torch's schedulers
@given(history=histories, patience=st.integers(0, 4))
def test_a_plateau_lowers_the_rate_as_torch_does(history: list[float], patience: int) -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    torchs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, mode="max", factor=0.5, patience=patience, threshold=0, eps=0
    )
    for value in history:
        torchs.step(value)
    config: Any = make_config(schedule="plateau", plateau_patience=patience, plateau_factor=0.5)
    assert lr_factor(config, 0.5, history) == pytest.approx(optimizer.param_groups[0]["lr"])


def test_drops_are_counted_anew_after_each() -> None:
    assert count_drops([3, 2, 2, 2, 2, 2, 2], patience=2) == 2
    assert count_drops([1, 2, 3, 4], patience=0) == 0


@pytest.mark.parametrize(
    ("history", "patience", "over"),
    [
        ([], 3, False),
        ([5, 4, 4], 3, False),
        ([5, 4, 4, 5], 3, True),
        ([5, 4, 4, 6], 3, False),
        ([1, 1, 1, 1, 1], 0, False),
    ],
)
def test_it_ends_when_nothing_got_better_for_long(
    history: list[float], patience: int, over: bool
) -> None:
    assert is_exhausted(history, patience) == over

"""Order and variation of samples: functions of (seed, pass, index), and of nothing else."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.data.samples import DRAWS, SampleStream, Zoom

counts, sizes = st.integers(1, 40), st.integers(1, 16)


@given(count=counts, size=sizes, passes=st.integers(1, 4))
def test_no_sample_comes_twice_before_each_other_came_once(
    count: int, size: int, passes: int
) -> None:
    stream = SampleStream(count, seed=3)
    steps = stream.count_steps(passes, size)
    seen = np.concatenate([stream.batch(step, size).indices for step in range(steps)])
    assert len(seen) == steps * size
    for number in range(passes):
        assert sorted(seen[number * count : (number + 1) * count]) == list(range(count))


@given(count=counts, size=sizes, ranks=st.sampled_from([1, 2, 4]))
def test_the_order_is_the_same_for_any_size_of_batch(count: int, size: int, ranks: int) -> None:
    stream = SampleStream(count, seed=5)
    small = [stream.batch(step, size) for step in range(2 * ranks)]
    large = [stream.batch(step, size * ranks) for step in range(2)]
    for name in ("indices", "draws"):
        one = np.concatenate([getattr(batch, name) for batch in small])
        other = np.concatenate([getattr(batch, name) for batch in large])
        np.testing.assert_array_equal(one, other)


def test_a_sample_is_varied_otherwise_in_each_pass_and_with_each_seed() -> None:
    def draws_of(index: int, seed: int, step: int) -> tuple[float, ...]:
        batch = SampleStream(10, seed).batch(step, 10)
        return tuple(batch.draws[batch.indices.tolist().index(index)])

    drawn = {draws_of(4, seed, step) for seed in (0, 1) for step in (0, 1, 2)}
    assert len(drawn) == 6
    assert {len(row) for row in drawn} == {len(DRAWS)}
    assert all(0 <= value < 1 for row in drawn for value in row)


def test_what_was_asked_for_between_changes_nothing() -> None:
    stream = SampleStream(7, seed=0)
    before = stream.batch(100, 3)
    for step in range(50):
        stream.batch(step, 5)
    np.testing.assert_array_equal(stream.batch(100, 3).draws, before.draws)


@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    zoom=st.sampled_from([(1.0, 1.0), (0.5, 2.0), (0.75, 1.0), (1.0, 3.0)]),
    seed=st.integers(0, 99),
)
def test_a_square_lies_in_its_image_where_that_is_large_enough(
    height: int, width: int, zoom: tuple[float, float], seed: int
) -> None:
    cut = Zoom(32, *zoom)
    draws = np.random.default_rng(seed).random((5, len(DRAWS)))
    places = cut.place(draws, np.array([[height, width]] * 5))
    for top, left, side in places.tolist():
        assert 32 / zoom[1] <= side <= cut.window
        assert 0 <= top <= max(0, height - side)
        assert 0 <= left <= max(0, width - side)


def test_corners_are_reached_evenly() -> None:
    draws = np.random.default_rng(0).random((4000, len(DRAWS)))
    places = Zoom(30).place(draws, np.array([[33, 30]] * 4000))
    tops = Counter(places[:, 0].tolist())
    assert sorted(tops) == [0, 1, 2, 3]
    assert min(tops.values()) == pytest.approx(1000, rel=0.1)
    assert set(places[:, 1].tolist()) == {0}

"""Lists that nobody published: the same everywhere, stratified, and no picture in two of them."""

import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from train.data.dataset import ClassInfo, FileInfo
from train.data.formats import Source
from train.data.split import SPLIT, SplitSettings, choose_lists, split_groups
from train.data.survey import Checked, Survey
from train.data.truths import Truth
from train.errors import DataError

CLASSES = 4


def make_survey(
    presence: Mapping[str, Sequence[int]], pictures: dict[str, str] | None = None
) -> Survey:
    """Images by name, with the classes that they have."""
    checked = {}
    for key, classes in presence.items():
        counts = np.zeros(256, np.int64)
        counts[list(classes)] = 9
        image = FileInfo(size=1, sha256=(pictures or {}).get(key, key))
        checked[key] = Checked(key, 3, 3, image, ".png", Truth(None), counts, [])
    infos = [ClassInfo(name=f"c{i}", color=(i, i, i)) for i in range(CLASSES)]
    images = {key: Path(key) for key in presence}
    return Survey(Source("pairs", infos, None, images, dict(images)), checked)


SETS = st.dictionaries(
    st.text("abcdef", min_size=3, max_size=6),
    st.sets(st.integers(0, CLASSES - 1), min_size=1).map(sorted),
    min_size=12,
    max_size=60,
)


@settings(max_examples=50, deadline=None)
@given(SETS, st.integers(0, 99), st.randoms())
def test_a_split_does_not_depend_on_the_order_of_names(
    presence: dict[str, Sequence[int]], seed: int, chance: random.Random
) -> None:
    split = SplitSettings(val=0.25, test=0.1, seed=seed)
    shuffled = list(presence.items())
    chance.shuffle(shuffled)
    one = choose_lists(make_survey(presence), split)[0]
    assert one == choose_lists(make_survey(dict(shuffled)), split)[0]
    keys = [key for name in ("train", "val", "test") for key in one[name]]
    assert sorted(keys) == sorted(presence)


@settings(max_examples=50, deadline=None)
@given(SETS, st.integers(0, 99))
def test_shares_are_kept_to_an_image(presence: dict[str, Sequence[int]], seed: int) -> None:
    lists = split_groups(
        make_survey(presence), sorted(presence), SplitSettings(val=0.25, test=0.25, seed=seed)
    )
    for name in ("val", "test"):
        assert abs(len(lists[name]) - 0.25 * len(presence)) <= 1


def test_a_rare_class_is_in_all_lists() -> None:
    """Three of a hundred images have it: by chance, val would often go without."""
    for seed in range(20):
        presence = {f"{n:03}": [0, 1] for n in range(97)} | {f"rare{n}": [0, 3] for n in range(3)}
        lists = choose_lists(make_survey(presence), SplitSettings(val=0.2, seed=seed))[0]
        assert sum(key.startswith("rare") for key in lists["val"]) == 1
        assert len(lists["val"]) == 20


def test_another_seed_is_another_split() -> None:
    survey = make_survey({f"{n:03}": [0] for n in range(50)})
    splits = [choose_lists(survey, SplitSettings(seed=seed))[0]["val"] for seed in (0, 0, 1)]
    assert splits[0] == splits[1] != splits[2]


def test_groups_stay_together() -> None:
    presence = {f"video{n // 10}_{n:03}": [n % 2] for n in range(100)}
    lists = choose_lists(make_survey(presence), SplitSettings(group_by=r"^video\d"))[0]
    videos = [{key.split("_")[0] for key in lists[name]} for name in ("train", "val")]
    assert not videos[0] & videos[1]
    assert len(lists["val"]) == 20


def test_the_same_picture_is_never_in_two_lists() -> None:
    presence = {f"{n:03}": [0] for n in range(40)}
    pictures = {key: f"picture {int(key) // 2}" for key in presence}
    lists = choose_lists(make_survey(presence, pictures), SplitSettings(val=0.3, test=0.2))[0]
    train, val, test = ({pictures[k] for k in lists[name]} for name in SPLIT)
    assert not train & val | train & test | val & test


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (SplitSettings(val=0.6, test=0.4), "leave too little"),
        (SplitSettings(val=0.0), "leave too little"),
        (SplitSettings(group_by="("), "no regular expression"),
    ],
)
def test_settings_that_no_split_can_follow_are_refused(split: SplitSettings, message: str) -> None:
    with pytest.raises(DataError, match=message):
        choose_lists(make_survey({"a": [0], "b": [0], "c": [0]}), split)


def test_one_image_is_too_few() -> None:
    with pytest.raises(DataError, match="train list is empty"):
        choose_lists(make_survey({"a": [0]}), SplitSettings())

"""Lists that nobody published: the same everywhere, stratified, and no picture in two of them."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from train.data.dataset import SPLIT, ClassInfo, FileInfo, ListName
from train.data.formats import Source
from train.data.split import SplitSettings, choose_lists, split_groups
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


def publish(survey: Survey, lists: dict[ListName, list[str]]) -> Survey:
    return replace(survey, source=replace(survey.source, lists=lists))


TEN = {f"i{n}": [0, n % CLASSES] for n in range(10)}
KEYS = sorted(TEN)


def test_a_test_list_without_val_stays_the_test_list() -> None:
    survey = publish(make_survey(TEN), {"train": KEYS[:6], "test": KEYS[6:]})
    lists, findings = choose_lists(survey, SplitSettings(val=0.2, test=0.1))
    assert lists["test"] == KEYS[6:]
    assert sorted([*lists["train"], *lists["val"]]) == KEYS[:6]
    assert len(lists["val"]) == 1
    assert any("No val list was published: 1 images" in f.message for f in findings)


def test_train_is_what_val_and_test_leave() -> None:
    survey = publish(make_survey(TEN), {"val": KEYS[:2], "test": KEYS[2:4]})
    lists, _ = choose_lists(survey, SplitSettings())
    assert (lists["train"], lists["val"], lists["test"]) == (KEYS[4:], KEYS[:2], KEYS[2:4])


def test_a_val_list_of_all_images_is_no_split() -> None:
    lists, findings = choose_lists(publish(make_survey(TEN), {"val": KEYS}), SplitSettings())
    assert (len(lists["train"]), len(lists["val"])) == (8, 2)
    assert any("they are made anew" in f.message for f in findings)


def test_large_groups_leave_one_for_val() -> None:
    presence = {f"{v}_{n:02}": [0] for v in "abc" for n in range(30)}
    lists, _ = choose_lists(make_survey(presence), SplitSettings(group_by="^."))
    assert {len(lists["train"]), len(lists["val"])} == {60, 30}


def test_an_expression_that_matches_nothing_is_told() -> None:
    _, findings = choose_lists(make_survey(TEN), SplitSettings(group_by="video"))
    (finding,) = findings
    assert "matches nothing in 10 names: i0, i1, i2 and 7 more" in finding.message
    assert "one by one" in finding.fix


def test_groups_are_not_made_of_published_lists_and_that_is_told() -> None:
    survey = publish(make_survey(TEN), {"train": KEYS[:8], "val": KEYS[8:]})
    lists, findings = choose_lists(survey, SplitSettings(group_by="i"))
    assert lists["val"] == KEYS[8:]
    assert "Lists were published" in findings[0].message


def test_what_stays_together_is_told_where_a_list_is_empty() -> None:
    survey = make_survey(TEN, dict.fromkeys(TEN, "the same"))
    with pytest.raises(DataError, match="10 labelled images, 1 when those that stay together"):
        choose_lists(survey, SplitSettings())


def test_names_of_both_sides_are_told_where_none_match() -> None:
    survey = make_survey(TEN)
    checked = {key: replace(each, truth=None) for key, each in survey.checked.items()}
    source = replace(survey.source, masks={"other": Path("other.png")})
    with pytest.raises(DataError, match="images are called as i0, masks as other"):
        choose_lists(Survey(source, checked), SplitSettings())


def test_train_and_val_are_never_the_same_images() -> None:
    """One image to train on is too few, whatever lists there are."""
    survey = publish(make_survey(TEN), {"train": KEYS[:1], "test": KEYS[1:]})
    with pytest.raises(DataError, match="list is empty"):
        choose_lists(survey, SplitSettings())

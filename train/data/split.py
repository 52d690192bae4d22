"""Which image goes to which list: as published, else by a seeded, stratified split.

A split depends on the seed, the names, the pictures and the classes in their masks alone: not on
the machine, nor on the order in which a folder lists its files. Pictures that are the same, and
those of one group, stay together.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from train.data.dataset import LISTS, ListName
from train.data.findings import Finding, name_some
from train.data.survey import Survey
from train.errors import DataError

Lists = dict[ListName, list[str]]
SPLIT: tuple[ListName, ...] = ("train", "val", "test")


@dataclass(frozen=True)
class SplitSettings:
    """Shares of the labelled images where no list was published; 0 to 1.

    Images whose names give the same match of `group_by` (its groups, where it has some) stay
    together.
    """

    val: float = 0.2
    test: float = 0.0
    seed: int = 0
    group_by: str = ""


def choose_lists(survey: Survey, split: SplitSettings) -> tuple[Lists, list[Finding]]:
    """The lists of a surveyed dataset, and what a person should know of them.

    Raises:
        DataError: nothing is labelled, a published list names an image or mask that is not there,
            or no image is left to train or to validate on.
    """
    check_split(split)
    source = survey.source
    usable = {key for key, each in survey.checked.items() if not each.is_broken}
    labelled = sorted(key for key in usable if survey.checked[key].truth)
    if not labelled:
        raise DataError(
            f"No image of the {source.layout} dataset has a mask that can be used.",
            fix="Check that images and masks have the same names but for the ending.",
        )
    if source.lists.get("train") and source.lists.get("val"):
        lists, findings = _take_published(survey, labelled)
    else:
        lists, findings = split_groups(survey, labelled, split), []
    lists["unlabelled"] = sorted(key for key in usable if not survey.checked[key].truth)
    for name in ("train", "val"):
        if not lists[name]:
            raise DataError(
                f"The {name} list is empty: {len(labelled)} labelled images are too few for "
                f"--val {split.val} --test {split.test}.",
                fix="Label more images or change --val and --test.",
            )
    return lists, [*findings, *_judge_train(survey, lists)]


def check_split(split: SplitSettings) -> None:
    """Refuse settings that no split can follow.

    Raises:
        DataError: the shares leave nothing to train on, or the groups are no regular expression.
    """
    if not (0 < split.val < 1 and 0 <= split.test < 1 and split.val + split.test < 1):
        raise DataError(
            f"--val {split.val} and --test {split.test} leave too little to train on.",
            fix="Give shares of the labelled images, such as --val 0.2 --test 0.1.",
        )
    try:
        re.compile(split.group_by)
    except re.error as error:
        raise DataError(
            f"--group-by {split.group_by!r} is no regular expression ({error}).",
            fix=r"Give one that finds what a group has in common, such as --group-by '^\w+?_'.",
        ) from error


def split_groups(survey: Survey, labelled: Sequence[str], split: SplitSettings) -> Lists:
    """Iterative stratification: the rarest class first, to the list that lacks most of it.

    Reference:
        Sechidis, Tsoumakas and Vlahavas 2011, "On the Stratification of Multi-Label Data".
    """
    groups = _group(survey, labelled, split.group_by)
    order = sorted(groups, key=lambda group: _rank(split.seed, group[0]))
    present_GC = np.array([_sum_presence(survey, group) for group in order])
    sizes_G = np.array([len(group) for group in order])
    shares_L = np.array([1 - split.val - split.test, split.val, split.test])
    wanted_L = _round_shares(shares_L, len(labelled))
    wanted_LC = shares_L[:, None] * present_GC.sum(axis=0)
    chosen_G = _assign(present_GC, sizes_G, wanted_L, wanted_LC)
    lists: Lists = {name: [] for name in LISTS}
    for group, place in zip(order, chosen_G, strict=True):
        lists[SPLIT[place]] += group
    return {name: sorted(keys) for name, keys in lists.items()}


def _assign(
    present_GC: NDArray[np.int64],
    sizes_G: NDArray[np.int64],
    wanted_L: NDArray[np.float64],
    wanted_LC: NDArray[np.float64],
) -> list[int]:
    """The list of each group; `wanted` are images, and images with each class, that lists lack."""
    chosen_G = [-1] * len(sizes_G)
    left_L, left_LC = wanted_L.copy(), wanted_LC.copy()
    open_G = np.ones(len(sizes_G), np.bool_)
    while open_G.any():
        counts_C = present_GC[open_G].sum(axis=0)
        if counts_C.any():
            rarest = int(np.argmin(np.where(counts_C > 0, counts_C, np.iinfo(np.int64).max)))
            group = int(np.flatnonzero(open_G & (present_GC[:, rarest] > 0))[0])
            need_L = left_LC[:, rarest]
        else:
            group, need_L = int(np.flatnonzero(open_G)[0]), left_L
        room_L = left_L >= min(sizes_G[group], max(left_L.max(), 0))
        place = max(range(len(left_L)), key=lambda n: (bool(room_L[n]), need_L[n], left_L[n], -n))
        chosen_G[group] = place
        open_G[group] = False
        left_L[place] -= sizes_G[group]
        left_LC[place] -= present_GC[group]
    return chosen_G


def _round_shares(shares_L: NDArray[np.float64], total: int) -> NDArray[np.float64]:
    """Whole images; a list that is wanted gets one at least."""
    counts = np.round(shares_L * total)
    counts[1] = max(1, counts[1])
    counts[0] = total - counts[1:].sum()
    return counts


def _group(survey: Survey, keys: Sequence[str], pattern: str) -> list[list[str]]:
    """Keys that have to stay together: of one group, or of the same picture."""
    leader = {key: key for key in keys}

    def find(key: str) -> str:
        while leader[key] != key:
            key = leader[key]
        return key

    first: dict[str, str] = {}
    for key in sorted(keys):
        marks = [f"picture {survey.checked[key].image.sha256}"]
        if pattern and (found := re.search(pattern, key)):
            marks.append(f"group {found.groups() or found.group()}")
        for mark in marks:
            other = find(first.setdefault(mark, key))
            leader[find(key)] = other
    groups: dict[str, list[str]] = {}
    for key in sorted(keys):
        groups.setdefault(find(key), []).append(key)
    return list(groups.values())


def _sum_presence(survey: Survey, group: Sequence[str]) -> NDArray[np.int64]:
    """How many of the group's images have each class."""
    classes = len(survey.source.classes)
    counts_C = np.zeros(classes, np.int64)
    for key in group:
        counts_C += survey.count(key)[:classes] > 0
    return counts_C


def _rank(seed: int, key: str) -> bytes:
    return hashlib.sha256(f"{seed}:{key}".encode()).digest()


def _take_published(survey: Survey, labelled: Sequence[str]) -> tuple[Lists, list[Finding]]:
    """The lists as published, but for a picture that train shares with val or test."""
    known, source = set(labelled), survey.source
    lists: Lists = {name: source.lists.get(name, []) for name in LISTS}
    for name, keys in lists.items():
        _check_published(survey, name, keys)
    lists = {name: [key for key in keys if key in known] for name, keys in lists.items()}
    findings = []
    listed = {key for keys in lists.values() for key in keys}
    if unlisted := [key for key in labelled if key not in listed]:
        message = f"{len(unlisted)} labelled images are in no list and are left out: "
        findings.append(Finding("unlisted", "note", f"{message}{name_some(unlisted)}."))
    shared = _find_shared(survey, lists)
    if shared:
        lists["train"] = [key for key in lists["train"] if key not in shared]
        pairs = [
            f"{survey.source.images[a].name} = {survey.source.images[b].name}"
            for a, b in shared.items()
        ]
        message = (
            f"{len(shared)} pictures of train are in val or test, too, and are left out of train: "
            f"{name_some(pairs)}."
        )
        files = tuple(str(source.images[key]) for key in shared)
        findings.append(Finding("shared_picture", "warning", message, files=files))
    return lists, findings


def _find_shared(survey: Survey, lists: Mapping[ListName, Sequence[str]]) -> dict[str, str]:
    """Images of train, each with the image of val or test that is the same."""
    held_out = {survey.checked[k].image.sha256: k for n in ("val", "test") for k in lists[n]}
    return {
        key: held_out[survey.checked[key].image.sha256]
        for key in lists["train"]
        if survey.checked[key].image.sha256 in held_out
    }


def _check_published(survey: Survey, name: str, keys: Sequence[str]) -> None:
    source = survey.source
    if len(set(keys)) < len(keys):
        twice = sorted({key for key in keys if keys.count(key) > 1})
        raise DataError(
            f"The {name} list names {name_some(twice)} twice.", fix="Remove the second."
        )
    for key in keys:
        if key not in source.images:
            raise DataError(
                f"The {name} list names {key}, which has no image.",
                fix=f"Restore the image, or remove {key} from the {name} list.",
            )
        if key not in source.masks and name != "test":
            raise DataError(
                f"{source.images[key]} is in the {name} list and has no mask.",
                fix=f"Restore the mask of {key}, or remove it from the {name} list.",
            )


def _judge_train(survey: Survey, lists: Lists) -> list[Finding]:
    """Classes that are validated and never learnt."""
    classes = survey.source.classes
    found = {
        name: np.sum([survey.count(key) for key in lists[name]], axis=0)[: len(classes)]
        for name in ("train", "val")
    }
    lost = [c.name for i, c in enumerate(classes) if found["val"][i] and not found["train"][i]]
    if not lost:
        return []
    message = f"No mask of train has a pixel of {', '.join(lost)}, which val has."
    fix = "Move an image that has some to train, or split by another --seed."
    return [Finding("absent_from_train", "warning", message, fix)]

"""Which image goes to which list: as published, else by a seeded, stratified split.

A split depends on the seed, the names, the pictures and the classes in their masks alone: not on
the machine, nor on the order in which a folder lists its files. Pictures that are the same, and
those of one group, stay together.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from train.data.dataset import LISTS, SPLIT, ListName
from train.data.findings import Finding, name_some
from train.data.survey import Survey
from train.errors import DataError

Lists = dict[ListName, list[str]]


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
    usable = {key for key, each in survey.checked.items() if not each.is_broken}
    labelled = sorted(key for key in usable if survey.checked[key].truth)
    if not labelled:
        raise _explain_unlabelled(survey)
    if any(survey.source.lists.values()):
        lists, findings = _take_published(survey, labelled, split)
    else:
        lists, findings = split_groups(survey, labelled, split), _judge_groups(labelled, split)
    lists["unlabelled"] = sorted(key for key in usable if not survey.checked[key].truth)
    for name in ("train", "val"):
        if not lists[name]:
            groups = len(_group(survey, labelled, split.group_by))
            raise DataError(
                f"The {name} list is empty: {len(labelled)} labelled images, {groups} when those "
                "that stay together are counted as one, are too few for "
                f"--val {split.val} --test {split.test}.",
                fix="Label more images, or change --val, --test or --group-by.",
            )
    return lists, [*findings, *_judge_train(survey, lists)]


def _explain_unlabelled(survey: Survey) -> DataError:
    source = survey.source
    if any(each.is_broken for each in survey.checked.values()):
        return DataError(
            f"No mask of the {source.layout} dataset can be used.",
            fix="Mend them: segaway inspect.",
        )
    shown = name_some(sorted(source.images)[:1]) or "none"
    drawn = name_some(sorted(source.masks)[:1]) or "none"
    return DataError(
        f"No image of the {source.layout} dataset has a mask: images are called as {shown}, masks "
        f"as {drawn}.",
        fix="Give images and masks the same names but for the ending.",
    )


def _judge_groups(labelled: Sequence[str], split: SplitSettings) -> list[Finding]:
    """Whether `--group-by` finds something in the names."""
    if not split.group_by:
        return []
    alone = [key for key in labelled if not re.search(split.group_by, key)]
    if not alone:
        return []
    message = f"--group-by {split.group_by!r} matches nothing in {len(alone)} names: "
    fix = "These are split one by one; mend the expression if that is not meant."
    return [Finding("no_group", "warning", f"{message}{name_some(alone)}.", fix, tuple(alone))]


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
    for place in (1, 0):
        if place not in chosen_G and len(chosen_G) > 1:
            # Groups that are larger than what a list lacks: the smallest is the least wrong.
            chosen_G[int(np.argmin(sizes_G))] = place
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
    counts_C = present_GC.sum(axis=0)
    # Of each class, and of all, the groups in order; those that are placed are passed over.
    waiting = [iter(np.flatnonzero(present_GC[:, c]).tolist()) for c in range(len(counts_C))]
    rest = iter(range(len(sizes_G)))
    for _ in range(len(sizes_G)):
        if counts_C.any():
            rarest = int(np.argmin(np.where(counts_C > 0, counts_C, np.iinfo(np.int64).max)))
            group = next(g for g in waiting[rarest] if chosen_G[g] < 0)
            need_L = left_LC[:, rarest]
        else:
            group, need_L = next(g for g in rest if chosen_G[g] < 0), left_L
        room_L = left_L >= min(sizes_G[group], max(left_L.max(), 0))
        place = max(range(len(left_L)), key=lambda n: (bool(room_L[n]), need_L[n], left_L[n], -n))
        chosen_G[group] = place
        counts_C -= present_GC[group]
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
    return hashlib.sha256(f"{seed}:{key}".encode(errors="surrogateescape")).digest()


def _take_published(
    survey: Survey, labelled: Sequence[str], split: SplitSettings
) -> tuple[Lists, list[Finding]]:
    """The lists as published, but for a picture that train shares with val or test.

    Where train or val is missing, it is taken from what the other lists leave.
    """
    known, published = set(labelled), survey.source.lists
    lists: Lists = {name: published.get(name, []) for name in LISTS}
    for name, keys in lists.items():
        _check_published(survey, name, keys)
    lists = {name: [key for key in keys if key in known] for name, keys in lists.items()}
    findings = _tell_regrouped(split)
    held_out = {*lists["val"], *lists["test"]}
    if not lists["train"]:
        lists["train"] = [key for key in labelled if key not in held_out]
        if not lists["train"]:
            message = "The lists leave no image to train on: they are made anew."
            findings.append(Finding("no_train", "warning", message))
            return split_groups(survey, labelled, split), findings
    elif left_out := sorted(known - held_out - {*lists["train"]}):
        message = f"{len(left_out)} labelled images are in no list and are left out: "
        findings.append(Finding("unlisted", "note", f"{message}{name_some(left_out)}."))
    if shared := _find_shared(survey, lists):
        lists["train"] = [key for key in lists["train"] if key not in shared]
        findings.append(_tell_shared(survey, shared))
    if not lists["val"] and lists["train"]:
        alone = replace(split, test=0.0)
        again = split_groups(survey, lists["train"], alone)
        lists["train"], lists["val"] = again["train"], again["val"]
        message = f"No val list was published: {len(lists['val'])} images of train are taken."
        findings = [*findings, Finding("no_val", "note", message)]
    return lists, findings


def _tell_regrouped(split: SplitSettings) -> list[Finding]:
    if not split.group_by:
        return []
    message = "Lists were published: --group-by only counts for what they leave open."
    return [Finding("no_group", "warning", message, "Remove the lists to split by groups.")]


def _tell_shared(survey: Survey, shared: Mapping[str, str]) -> Finding:
    images = survey.source.images
    pairs = [f"{images[a].name} = {images[b].name}" for a, b in shared.items()]
    message = (
        f"{len(shared)} pictures of train are in val or test, too, and are left out of train: "
        f"{name_some(pairs)}."
    )
    files = tuple(str(images[key]) for key in shared)
    return Finding("shared_picture", "warning", message, files=files)


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
        twice = sorted(key for key, count in Counter(keys).items() if count > 1)
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

"""What the values of a dataset's masks stand for, judged by all masks together.

Nothing is decided file by file that is true of the whole.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from train.data.dataset import ClassInfo
from train.data.findings import Finding, name_some
from train.data.formats import Drawn, Source
from train.data.masks import VOID, Mask, voc_color

Counts = NDArray[np.int64]
"""Pixels by value, 256 of them."""
Settled = tuple[Source, list[Finding]]

BINARY = ("background", "foreground")
LEAST_NOISE = 3
MOST_UNNAMED = 64


def settle_values(source: Source, counts: Mapping[str, Counts]) -> Settled:
    """The source with its classes, and with what its masks' values stand for.

    Both are known from the layout, or follow from the values that all masks hold: `counts` has the
    pixels of each mask.
    """
    total = sum(counts.values(), np.zeros(256, np.int64))
    present = np.flatnonzero(total).tolist()
    if source.task == "multilabel" or not present:
        return source, []
    classes = len(source.classes)
    if source.values is not None:
        unknown = [value for value in present if value not in source.values]
        return source, [_name_beyond(source, counts, unknown)] if unknown else []
    is_open = source.ignore_index is None and not source.fixed_classes and classes < 3
    if is_open and (settled := _settle_two(source, counts)):
        return settled
    beyond = [v for v in present if v >= classes and v != source.ignore_index]
    if classes and not beyond:
        return source, []
    if classes in (0, 2) and not source.colors_bind and (split := split_greys(total)):
        values, message = split
        names = source.classes or _name_classes(BINARY)
        settled_source = replace(source, classes=names, ignore_index=None, values=values)
        return settled_source, [Finding("noisy_greys", "warning", message)]
    if not classes:
        return _take_values(source, present)
    if beyond == [VOID] and source.ignore_index is None:
        message = "The masks hold 255 beside the ids of classes: it is taken for void."
        return replace(source, ignore_index=VOID), [Finding("void", "note", message)]
    return source, [_name_beyond(source, counts, beyond)]


def _settle_two(source: Source, counts: Mapping[str, Counts]) -> Settled | None:
    """Masks of one thing on its background, however they write it."""
    held = {key: frozenset(np.flatnonzero(each).tolist()) for key, each in counts.items()}
    present = frozenset().union(*held.values())
    one_name = len(source.classes) == 1
    named = [ClassInfo(name=BINARY[0], color=voc_color(0)), *source.classes] if one_name else None
    names = named or source.classes or _name_classes(BINARY)
    front = f"Class 0 is the background, in front of {source.classes[0].name}. " if named else ""
    if present == {0, VOID}:
        message = f"{front}The masks hold 0 and 255: 255 is taken for class 1, and nothing is void."
        settled = replace(source, classes=names, ignore_index=None, values={0: 0, VOID: 1})
        return settled, [Finding("two_values", "note", message)]
    if present == {0, 1} and named:
        return replace(source, classes=names), [Finding("two_values", "note", front.strip())]
    if present != {0, 1, VOID}:
        return None
    if any({1, VOID} <= values for values in held.values()):
        message = f"{front}The masks hold 255 beside 0 and 1: it is taken for void."
        settled = replace(source, classes=names, ignore_index=VOID)
        return (settled, [Finding("void", "note", message)]) if source.classes else None
    ones, full = (next(k for k, values in held.items() if v in values) for v in (1, VOID))
    message = (
        f"Some masks hold 0 and 1, as {_locate(source, ones)}, others 0 and 255, as "
        f"{_locate(source, full)}: 255 may be the same as 1, or void."
    )
    fix = "Save all masks with the same values."
    return source, [Finding("mixed_values", "error", message, fix)]


def split_greys(total: Counts) -> tuple[dict[int, int], str] | None:
    """Two clusters of greys as two ids, and what to say of it; None where there are not two.

    The threshold is Otsu's: it leaves the least variance within the two.

    Reference:
        Otsu 1979, "A threshold selection method from gray-level histograms".
    """
    present = np.flatnonzero(total)
    if len(present) < 3:
        return None
    greys, weights = np.arange(256), total / total.sum()
    low = np.cumsum(weights)[:-1]
    means = np.cumsum(weights * greys)
    mean_low = means[:-1] / np.maximum(low, 1e-12)
    mean_high = (means[-1] - means[:-1]) / np.maximum(1 - low, 1e-12)
    between = low * (1 - low) * (mean_high - mean_low) ** 2
    # The middle of all thresholds that are equally good: the gap between the clusters is empty.
    best = np.flatnonzero(between >= between.max() * (1 - 1e-9))
    threshold = int(best[len(best) // 2])
    spread = float((weights * (greys - means[-1]) ** 2).sum())
    gap = mean_high[threshold] - mean_low[threshold]
    # Noise that JPEG leaves is a small part of the variance, and on both sides; a third cluster is
    # no small part, and void, which is 255 beside ids, is one value alone.
    sides = [int((present <= threshold).sum()), int((present > threshold).sum())]
    if between.max() < 0.95 * spread or gap < 16 or min(sides) < LEAST_NOISE:
        return None
    values = {int(grey): int(grey > threshold) for grey in range(256)}
    message = (
        f"The masks hold {len(present)} greys in two clusters, around {mean_low[threshold]:.0f} "
        f"and {mean_high[threshold]:.0f}: up to {threshold} is taken for class 0, the rest for 1."
    )
    return values, message


def count_classes(source: Source, counts: Counts) -> Counts:
    """Pixels by class id from pixels by value."""
    found = np.zeros(256, np.int64)
    if source.task == "multilabel":
        for bit in range(len(source.classes)):
            found[bit] = counts[[v for v in range(VOID) if v >> bit & 1]].sum()
        found[VOID] = counts[VOID]
        return found
    for value in np.flatnonzero(counts):
        class_id = source.values.get(int(value), VOID) if source.values else int(value)
        found[class_id] += counts[value]
    return found


def _take_values(source: Source, present: list[int]) -> Settled:
    """Classes that nobody has named: the values of the masks, where they can be ids."""
    ids = [value for value in present if value != VOID]
    if not ids or len(ids) > MOST_UNNAMED or ids[-1] > 4 * len(ids) + 8:
        message = (
            f"The masks hold {len(present)} values, {name_some(map(str, present))}, and no file "
            "names the classes: they may be noise or colours."
        )
        fix = (
            "Write class_names.list beside the folders: one name a line, class 0 first; or, where "
            "greys stand for classes, class_dict.csv: NAME,GREY,GREY,GREY a line."
        )
        return source, [Finding("no_classes", "error", message, fix)]
    names = [f"class_{value}" for value in ids]
    message = f"No file names the classes: they are called {name_some(names)}, by their values."
    fix = "Write class_names.list beside the folders: one name a line, class 0 first."
    values = {value: i for i, value in enumerate(ids)} | {VOID: VOID}
    settled = replace(
        source,
        classes=_name_classes(names),
        ignore_index=VOID,
        values=values if ids != list(range(len(ids))) else None,
    )
    return settled, [Finding("unnamed_classes", "note", message, fix)]


def _name_classes(names: Sequence[str]) -> list[ClassInfo]:
    return [ClassInfo(name=name, color=voc_color(i)) for i, name in enumerate(names)]


def _name_beyond(source: Source, counts: Mapping[str, Counts], beyond: list[int]) -> Finding:
    """Ids that no class has, and the first file that has one."""
    bad = [key for key, each in counts.items() if each[beyond].any()]
    files = tuple(_locate(source, key) for key in bad)
    first = [value for value in beyond if counts[bad[0]][value]]
    named = source.class_source or f"the {source.layout} layout"
    last = len(source.classes) - 1
    message = (
        f"{files[0]} has the ids {name_some(map(str, first))}; {named} names {last + 1} classes, "
        f"0 to {last}."
    )
    return Finding(
        "ids_beyond", "error", message, "Name every class there, or mend the mask.", files
    )


def _locate(source: Source, key: str) -> str:
    mask = source.masks[key]
    return str(mask.origin if isinstance(mask, Drawn) else mask)


def apply_values(source: Source, ids: Mask) -> Mask:
    """The ids of a mask whose values stand for them."""
    if not source.values:
        return ids
    table = np.full(256, VOID, np.uint8)
    for value, class_id in source.values.items():
        table[value] = class_id
    return table[ids]

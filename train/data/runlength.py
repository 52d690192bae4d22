"""Masks as text: runs of pixels as `start length` pairs, as Kaggle's cloud data has them.

Pixels are numbered from 1, down the first column, then down the second: `1 3` is the top left
pixel and the two below it. A run may go on at the top of the next column.
"""

import numpy as np
from numpy.typing import NDArray

from train.data.masks import VOID, Mask
from train.errors import DataError

Bits = NDArray[np.bool_]
NUMBERS = b"0123456789 \t\r\n"


def encode(mask_HW: Bits) -> str:
    """The runs of true pixels, in ascending order, as long as they can be; blank where none is.

    Shape:
        mask_HW: H x W, bool.
    """
    if not mask_HW.size:
        return ""
    edges = _find_edges(mask_HW)
    if mask_HW[0, 0]:
        edges = np.concatenate([[0], edges])
    if mask_HW[-1, -1]:
        edges = np.concatenate([edges, [mask_HW.size]])
    runs = np.stack([edges[::2] + 1, edges[1::2] - edges[::2]], axis=1)
    return " ".join(map(str, runs.ravel().tolist()))


def decode(text: str, height: int, width: int) -> Bits:
    """The mask that `text` describes.

    Shape:
        H x W, bool, its columns in one piece in memory (Fortran order).

    Raises:
        DataError: the text is no list of pairs of numbers; a run is empty, leaves the image, or
            begins before the end of the one in front of it.
    """
    starts, lengths = _parse(text).reshape(-1, 2).T
    ends = np.concatenate([[1], starts + lengths])
    gaps = starts - ends[:-1]
    # The sums of huge numbers wrap around: that is seen as a run that ends before its beginning.
    wrong = (gaps < 0) | (lengths < 1) | (ends[1:] - 1 > height * width) | (ends[1:] < starts)
    if wrong.any():
        place = int(wrong.argmax())
        start, length = int(starts[place]), int(lengths[place])
        raise DataError(
            f"Run {place + 1}, {start} {length}, {_explain(start, length, height, width)}.",
            fix="Give ascending runs as pairs of start (from 1, down the columns) and length, "
            "made for an image of that size.",
        )
    counts = np.empty(2 * len(starts) + 1, np.int64)
    counts[:-1:2], counts[1::2], counts[-1] = gaps, lengths, height * width + 1 - ends[-1]
    values = np.zeros(len(counts), np.bool_)
    values[1::2] = True
    return np.repeat(values, counts).reshape(width, height).T


def encode_classes(mask_HW: Mask, classes: int, multilabel: bool) -> list[str]:
    """The runs of each class of a mask of ids, or of bits where the classes overlap; no void's."""
    if multilabel:
        known = mask_HW != VOID
        return [encode((mask_HW >> k & 1).astype(np.bool_) & known) for k in range(classes)]
    return [encode(mask_HW == k) for k in range(classes)]


def _find_edges(mask_HW: Bits) -> NDArray[np.int64]:
    """The positions (from 0, down the columns) where the value is not the one in front of it."""
    if mask_HW.flags.f_contiguous:
        flat = mask_HW.T.ravel()
        return np.flatnonzero(flat[1:] != flat[:-1]) + 1
    # Sought row by row, as it lies in memory: to turn the mask costs more than all the rest.
    height, width = mask_HW.shape
    rows, columns = np.divmod(np.flatnonzero(mask_HW[1:] != mask_HW[:-1]), width)
    tops = (np.flatnonzero(mask_HW[0, 1:] != mask_HW[-1, :-1]) + 1) * height
    return np.sort(np.concatenate([columns * height + rows + 1, tops]))


def _parse(text: str) -> NDArray[np.int64]:
    """The numbers of a text, an even count of them."""
    if text.encode("ascii", "replace").translate(None, NUMBERS):
        raise DataError(
            f"The runs are no list of whole numbers above 0: {text[:40]!r}.",
            fix="Give pairs of start and length with spaces between them, or nothing.",
        )
    if text.isspace() or not text:
        return np.zeros(0, np.int64)
    numbers = np.fromstring(text, np.int64, sep=" ")
    if len(numbers) % 2:
        raise DataError(
            f"The runs end in the middle of a pair: {len(numbers)} numbers, {text[-40:]!r}.",
            fix="Look whether the end of the text is missing.",
        )
    return numbers


def _explain(start: int, length: int, height: int, width: int) -> str:
    """What is wrong with a run."""
    if start < 1:
        return "begins before pixel 1"
    if length < 1:
        return "has no pixel"
    if start + length - 1 > height * width:
        return f"leaves the image of {height} x {width} pixels"
    return "begins before the end of the run in front of it"

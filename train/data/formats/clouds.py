"""Kaggle's "Understanding Clouds from Satellite Images": `train.csv` and `train_images/`.

Each row is `IMAGE_LABEL,RUNS`, the runs as `train.data.runlength` reads them, blank where an image
has none of the label; the classes overlap. Predictions are handed in at 350 x 525.
Source: the competition's data page (kaggle.com/c/understanding_cloud_organization).
"""

import re
from pathlib import Path

import numpy as np

from train.data.dataset import ClassInfo
from train.data.formats import (
    IMAGE_SUFFIXES,
    Drawn,
    Gathering,
    Source,
    index_by_stem,
    normalise,
)
from train.data.formats._boxes import read_first
from train.data.formats._drawings import read_rows, tell_absent
from train.data.masks import Mask, voc_color
from train.data.runlength import decode
from train.errors import DataError

TABLE = "train.csv"
COLUMNS = ("Image_Label", "EncodedPixels")
FOLDERS = ("train_images", "test_images")
SUBMISSION_SIZE = (350, 525)
MOST_BITS = 7
"""A mask's byte has eight bits, and one value is void."""
IMAGE = re.compile(
    rf"(.+?(?:{'|'.join(re.escape(ending) for ending in IMAGE_SUFFIXES)}))_(.+)$", re.I
)


def recognise(folder: Path) -> bool:
    """The table and its pictures are there, and the table begins as it does."""
    begins = read_first(folder / TABLE)[:1] == [COLUMNS[0].lower()]
    return begins and (folder / FOLDERS[0]).is_dir()


def read(folder: Path) -> Source:
    """The pictures and the runs of each; an image of the table is labelled."""
    table = folder / TABLE
    labels, runs = _read_table(table)
    found = Gathering()
    for part in FOLDERS:
        found.add(part, None, index_by_stem(folder / part), {})
    images = found.images
    masks: dict[str, Drawn] = {}
    for image, rows in runs.items():
        key = normalise(Path(image).stem)
        if key in masks:
            raise DataError(
                f"{table} names {image} and another image of that name.", fix="Rename one of them."
            )
        masks[key] = Drawn(table, _Drawing(table, image, labels, rows))
    absent = sorted(key for key in masks if key not in images)
    fix = "Unpack train_images.zip beside it, whole."
    return Source(
        layout="clouds",
        classes=[ClassInfo(name=name, color=voc_color(i + 1)) for i, name in enumerate(labels)],
        ignore_index=None,
        images=images,
        masks={key: mask for key, mask in masks.items() if key in images},
        class_source=table,
        task="multilabel",
        runlength_size=SUBMISSION_SIZE,
        findings=tell_absent(absent, TABLE, fix),
    )


class _Drawing:
    """Draws the mask of an image from its rows of the table."""

    def __init__(self, table: Path, image: str, labels: list[str], rows: dict[str, str]) -> None:
        self._table, self._image, self._labels, self._rows = table, image, labels, rows

    def __call__(self, height: int, width: int) -> Mask:
        mask = np.zeros((height, width), np.uint8)
        for bit, label in enumerate(self._labels):
            try:
                mask |= decode(self._rows.get(label, ""), height, width).astype(np.uint8) << bit
            except DataError as error:
                raise DataError(
                    f"{self._table}: {self._image}_{label}: {error}", fix=error.fix
                ) from error
        return mask


def _read_table(path: Path) -> tuple[list[str], dict[str, dict[str, str]]]:
    """The labels, sorted, and of each image its runs by label."""
    rows = read_rows(path)
    _, header = next(rows, (0, []))
    if [name.strip() for name in header] != [*COLUMNS]:
        raise DataError(
            f"{path} begins with {','.join(header)!r}; its columns are {','.join(COLUMNS)}.",
            fix="Take the table as it was published.",
        )
    found: dict[str, dict[str, str]] = {}
    for number, row in rows:
        image, label = _split(row[0])
        if len(row) != len(COLUMNS) or not image or not label:
            raise DataError(
                f"{path}: line {number} is no IMAGE_LABEL,RUNS: {','.join(row)[:60]!r}.",
                fix="Mend that line.",
            )
        if label in found.setdefault(image, {}):
            raise DataError(
                f"{path}: line {number} is a second row of {row[0]}.", fix="Remove one of them."
            )
        found[image][label] = row[1]
    labels = sorted({label for rows_of in found.values() for label in rows_of})
    if not 0 < len(labels) <= MOST_BITS:
        raise DataError(
            f"{path} has {len(labels)} labels; a mask of overlapping classes has room for 1 to "
            f"{MOST_BITS}.",
            fix="Take the rows of some labels out.",
        )
    return labels, found


def _split(word: str) -> tuple[str, str]:
    """Image and label: between them is the underscore after the image's ending."""
    found = IMAGE.match(word)
    image, _, label = (found[1], "", found[2]) if found else word.rpartition("_")
    return image.strip(), label.strip()

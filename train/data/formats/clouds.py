"""Kaggle's "Understanding Clouds from Satellite Images": `train.csv` and `train_images/`.

Each row is `IMAGE_LABEL,RUNS`, the runs as `train.data.runlength` reads them, blank where an image
has none of the label; the classes overlap. Predictions are handed in at 350 x 525.
Source: the competition's data page (kaggle.com/c/understanding_cloud_organization).
"""

import csv
from pathlib import Path

import numpy as np

from train.data.dataset import ClassInfo
from train.data.formats import Drawn, Source, index_by_stem, read_text
from train.data.formats._drawings import tell_absent
from train.data.masks import Mask, voc_color
from train.data.runlength import decode
from train.errors import DataError

TABLE = "train.csv"
COLUMNS = ("Image_Label", "EncodedPixels")
FOLDERS = ("train_images", "test_images")
SUBMISSION_SIZE = (350, 525)


def recognise(folder: Path) -> bool:
    """The table and its pictures are there."""
    return (folder / TABLE).is_file() and (folder / FOLDERS[0]).is_dir()


def read(folder: Path) -> Source:
    """The pictures and the runs of each; an image of the table is labelled."""
    table = folder / TABLE
    labels, runs = _read_table(table)
    images = {name: path for part in FOLDERS for name, path in _index(folder / part).items()}
    masks = {
        Path(image).stem: Drawn(table, _Drawing(table, image, labels, rows))
        for image, rows in runs.items()
    }
    there = {path.name for path in images.values()}
    absent = sorted(image for image in runs if image not in there)
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


def _index(folder: Path) -> dict[str, Path]:
    return index_by_stem(folder) if folder.is_dir() else {}


def _read_table(path: Path) -> tuple[list[str], dict[str, dict[str, str]]]:
    """The labels, sorted, and of each image its runs by label."""
    rows = csv.reader(read_text(path).splitlines())
    header = next(rows, [])
    if [name.strip() for name in header] != [*COLUMNS]:
        raise DataError(
            f"{path} begins with {','.join(header)!r}; its columns are {','.join(COLUMNS)}.",
            fix="Take the table as it was published.",
        )
    found: dict[str, dict[str, str]] = {}
    for number, row in enumerate(rows, start=2):
        image, _, label = row[0].rpartition("_") if row else ("", "", "")
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
    if not found:
        raise DataError(f"{path} has no rows.", fix="Take the table as it was published.")
    return sorted({label for rows_of in found.values() for label in rows_of}), found

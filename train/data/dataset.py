"""`Dataset`: an extracted, separated dataset on disk, described by its `dataset.json`."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from train.errors import DataError

MANIFEST = "dataset.json"
ListName = Literal["train", "val", "test", "unlabelled"]
SPLIT: tuple[ListName, ...] = ("train", "val", "test")
LISTS: tuple[ListName, ...] = (*SPLIT, "unlabelled")
Color = tuple[int, int, int]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ClassInfo(_Frozen):
    """One class; its id is its place in `Dataset.classes`."""

    name: str
    color: Color = Field(description="Red, green, blue, 0 to 255.")


class Sample(_Frozen):
    """One image, and its mask where it has one. Paths are relative to the dataset's folder."""

    id: str
    image: str
    mask: str | None
    width: int
    height: int


class FileInfo(_Frozen):
    """A file as it must arrive."""

    size: int
    sha256: str


class Dataset(_Frozen):
    """Everything that the trainer and the laptop need to know of a dataset, but the pixels.

    Masks hold class ids, one byte a pixel; `ignore_index` marks pixels that count nowhere.
    """

    version: Literal[1] = 1
    name: str
    layout: str
    task: Literal["multiclass", "multilabel"] = "multiclass"
    classes: list[ClassInfo]
    fixed_classes: bool = Field(
        False, description="The classes are the layout's own: some of them may appear nowhere."
    )
    ignore_index: int | None
    runlength_size: tuple[int, int] | None = Field(
        None, description="Height and width that predictions are scaled to as runs of pixels."
    )
    fingerprint: str = Field(
        description="SHA-256 of the content, whatever the paths and the names."
    )
    pixels: dict[str, int] = Field(description="Labelled pixels per class, over all masks.")
    lists: dict[ListName, list[Sample]]
    files: dict[str, FileInfo] = Field(description="Every file but dataset.json itself.")

    @property
    def counts(self) -> dict[str, int]:
        """Samples per list."""
        return {name: len(self.lists[name]) for name in LISTS}

    @property
    def class_names(self) -> list[str]:
        return [info.name for info in self.classes]

    @property
    def pixel_share(self) -> dict[str, float]:
        """Share of each class among the labelled pixels, void left out."""
        total = sum(self.pixels.values()) or 1
        return {name: count / total for name, count in self.pixels.items()}

    @property
    def size_bytes(self) -> int:
        return sum(file.size for file in self.files.values())


def load_dataset(folder: Path) -> Dataset:
    """The dataset in `folder`.

    Raises:
        DataError: no manifest there, or one that cannot be read.
    """
    path = folder / MANIFEST
    try:
        return Dataset.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise DataError(
            f"{folder} holds no {MANIFEST}: it is not a separated dataset.",
            fix=f"segaway separate {folder} --to {folder}-separated",
        ) from error
    except (OSError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(
            f"{path} cannot be read: {reason}", fix="Remove that folder and separate again."
        ) from error


def save_dataset(dataset: Dataset, folder: Path) -> None:
    """Write the manifest into `folder`, whole or not at all."""
    partial = folder / f"{MANIFEST}.partial"
    partial.write_text(dataset.model_dump_json(indent=1), encoding="utf-8")
    os.replace(partial, folder / MANIFEST)


def fingerprint(
    classes: Iterable[ClassInfo],
    ignore_index: int | None,
    lists: Mapping[ListName, list[Sample]],
    digests: Mapping[str, str],
) -> str:
    """SHA-256 over classes, lists and `digests`: what each file of the lists holds, hashed.

    The same data extracted twice, anywhere, has the same fingerprint.
    """
    content = {
        "classes": [info.model_dump() for info in classes],
        "ignore_index": ignore_index,
        "lists": {
            name: [
                [s.id, digests[s.image], digests[s.mask] if s.mask else None] for s in lists[name]
            ]
            for name in LISTS
        },
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

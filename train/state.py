"""Checkpoints: everything that a training needs to go on as if it had never stopped."""

import io
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from train.config import TrainConfig
from train.data.dataset import Dataset
from train.errors import TrainError

Row = dict[str, float | int | None]


@dataclass
class Progress:
    """Where a training stands. `batch` is the number of batches done in `epoch`."""

    epoch: int = 0
    batch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    elapsed_s: float = 0.0
    best_miou: float = -1.0
    best_epoch: int = 0
    rows: list[Row] = field(default_factory=list)


def write_atomically(path: Path, content: bytes) -> None:
    """Replace `path` by `content`, durably: after a crash it holds the old or the new."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as writer:
        writer.write(content)
        writer.flush()
        os.fsync(writer.fileno())
    os.replace(partial, path)
    _sync_folder(path.parent)


def save_checkpoint(
    path: Path,
    config: TrainConfig,
    dataset: Dataset,
    model: nn.Module,
    optimizer: Optimizer,
    progress: Progress,
) -> None:
    """Write a checkpoint, durably and whole. It names the model and the classes it belongs to."""
    content = {
        "version": 1,
        "identity": _identity(config, dataset),
        "classes": [info.model_dump() for info in dataset.classes],
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "progress": asdict(progress),
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_atomically(path, buffer.getvalue())


def load_checkpoint(
    path: Path,
    config: TrainConfig,
    dataset: Dataset,
    model: nn.Module,
    optimizer: Optimizer | None = None,
) -> Progress:
    """Restore `model` and, where given, `optimizer` in place; the progress at that time.

    Raises:
        TrainError: the file is damaged, or belongs to another model, dataset or seed.
    """
    try:
        content: Mapping[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        identity = content["identity"]
    except Exception as error:  # torch.load documents no narrower set for damaged files
        raise TrainError(
            f"{path} is no checkpoint that can be read ({error}).",
            fix="Remove it: the run starts again from the beginning.",
        ) from error
    mine = _identity(config, dataset)
    other = [key for key in mine if mine[key] != identity.get(key)]
    if other:
        key = other[0]
        raise TrainError(
            f"{path} belongs to another training: its {key} is {identity.get(key)}, "
            f"not {mine[key]}.",
            fix="Use a new output folder, or the settings that the checkpoint was made with.",
        )
    model.load_state_dict(content["model"])
    if optimizer:
        optimizer.load_state_dict(content["optimizer"])
    return Progress(**content["progress"])


def _identity(config: TrainConfig, dataset: Dataset) -> dict[str, Any]:
    """What must be equal for a checkpoint to be gone on with."""
    settings = config.model_dump(include={"model", "width", "depth", "seed", "crop", "batch"})
    return {**settings, "dataset": dataset.fingerprint}


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

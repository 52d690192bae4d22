"""Checkpoints: everything that a training needs to go on as if it had never stopped."""

import hashlib
import io
import itertools
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from train.augment import MEAN, STD
from train.config import TrainConfig
from train.data.dataset import Dataset
from train.errors import TrainError
from train.events import Checkpoint
from train.postprocess import Postprocess

VERSION = 2
FOLDER = "checkpoints"
PARTIAL = ".partial"
# Settings that shape the weights' way: another value of one of them is another training.
IDENTITY = (
    *("model", "width", "depth", "deep_supervision", "seed", "crop", "batch", "flip"),
    *("scale_min", "scale_max", "jitter", "loss", "class_weights", "auxiliary", "optimizer"),
    "ema",
)

Row = dict[str, float | int | None]
State = dict[str, Any]


@dataclass
class Progress:
    """Where a training stands: `epoch` validations and `step` optimiser steps are done.

    `losses` and `loss_sum` are of the epoch that goes on; `events` are those that the checkpoint
    itself is the subject of, for the log of a training that is killed right after writing it.
    """

    batch: int
    epoch: int = 0
    step: int = 0
    losses: int = 0
    loss_sum: float = 0.0
    elapsed_s: float = 0.0
    validation_s: float = 0.0
    best: float | None = None
    best_epoch: int = 0
    best_scores: dict[str, Any] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    events: list[str] = field(default_factory=list)

    def history(self, name: str) -> list[float]:
        """A metric after each validation, as what is better the larger it is."""
        values = [float(row[name] or 0.0) for row in self.rows]
        return [-value for value in values] if name == "loss" else values


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Replace `path` by `content`, durably: after a crash it holds the old or the new.

    Where that fails nothing is left of it: on a full disk, others need the room.
    """
    partial = path.with_name(path.name + PARTIAL)
    try:
        with partial.open("wb") as writer:
            writer.write(content)
            writer.flush()
            os.fsync(writer.fileno())
        os.replace(partial, path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


class DamagedCheckpoint(TrainError):
    """A file that is no checkpoint, or not a whole one."""


class Checkpoints:
    """The checkpoints of a training: `last.pt` to go on from, older ones of it, and `best.pt`."""

    def __init__(self, config: TrainConfig, dataset: Dataset) -> None:
        self._config, self._dataset = config, dataset
        self._folder = config.output / FOLDER
        self._folder.mkdir(parents=True, exist_ok=True)
        self.last, self.best = self._folder / "last.pt", self._folder / "best.pt"

    def restore(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        average: AveragedModel | None,
        warn: Callable[[str], None],
    ) -> Progress | None:
        """Put the newest state that can be read into these, in place; None: there is none.

        Raises:
            TrainError: none can be read, or it belongs to another training.
        """
        paths = [path for path in self._generations() if path.exists()]
        for path in paths:
            try:
                content = read_checkpoint(path, self._config, self._dataset)
            except DamagedCheckpoint as error:
                if path == paths[-1]:
                    raise
                warn(f"{error} The one before it is gone on from.")
                continue
            model.load_state_dict(content["model"])
            optimizer.load_state_dict(content["optimizer"])
            if average:
                average.module.load_state_dict(content["average"])
                # Not the first: that one would be copied.
                average.n_averaged.fill_(1)
            return Progress(**content["progress"])
        return None

    def save_last(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        average: AveragedModel | None,
        progress: Progress,
    ) -> None:
        """Write what the training can be gone on from, durably; keep what was there, as asked."""
        self._keep_older()
        self._write(
            self.last,
            model=model.state_dict(),
            optimizer=optimizer.state_dict(),
            average=average.module.state_dict() if average else None,
            progress=asdict(progress),
        )

    def save_best(self, model: nn.Module, progress: Progress) -> None:
        """Write the model that masks are predicted with, durably.

        One that is there and better is kept: it is of a later epoch of a training that was killed
        and now does that epoch again, on a device that does not do it exactly the same.
        """
        if self.best.exists():
            there = Progress(**self.read_best()["progress"])
            if there.best is not None and (progress.best is None or there.best > progress.best):
                progress.best, progress.best_epoch = there.best, there.best_epoch
                progress.best_scores = there.best_scores
                return
        self._write(self.best, model=model.state_dict(), progress=asdict(progress))

    def add_postprocess(self, postprocess: Postprocess | None) -> None:
        """Let the best checkpoint know how its probabilities become masks, durably."""
        content = self.read_best() | {"postprocess": postprocess and postprocess.as_dict()}
        _save(self.best, content)

    def announce(self, path: Path, progress: Progress) -> Checkpoint:
        """The event that tells of a checkpoint."""
        relative = path.relative_to(self._config.output).as_posix()
        return Checkpoint(path=relative, epoch=progress.epoch, step=progress.step)

    def read_best(self) -> State:
        """The content of the best checkpoint."""
        return read_checkpoint(self.best, self._config, self._dataset)

    def _generations(self) -> list[Path]:
        older = [self._folder / f"last-{number}.pt" for number in range(1, self._config.keep)]
        return [self.last, *older]

    def _keep_older(self) -> None:
        for newer, older in reversed(list(itertools.pairwise(self._generations()))):
            if newer.exists():
                partial = older.with_name(older.name + PARTIAL)
                partial.unlink(missing_ok=True)
                # A second name, not another one: at no moment is there none.
                os.link(newer, partial)
                os.replace(partial, older)

    def _write(self, path: Path, **state: Any) -> None:
        config, dataset = self._config, self._dataset
        content: State = {
            "version": VERSION,
            "config": config.model_dump(mode="json", exclude={"dataset", "output", "status_url"}),
            "identity": make_identity(config, dataset),
            "dataset": {
                "name": dataset.name,
                "task": dataset.task,
                "ignore_index": dataset.ignore_index,
                "classes": [info.model_dump(mode="json") for info in dataset.classes],
            },
            "normalisation": {"mean": list(MEAN), "std": list(STD)},
            "postprocess": None,
            **state,
        }
        _save(path, content)


def read_checkpoint(path: Path, config: TrainConfig, dataset: Dataset) -> State:
    """The content of a checkpoint of this training.

    Raises:
        DamagedCheckpoint: it cannot be read.
        TrainError: it belongs to another model, dataset or seed.
    """
    try:
        content: State = torch.load(path, map_location="cpu", weights_only=True)
        identity: Mapping[str, Any] = content["identity"]
    except Exception as error:  # torch.load documents no narrower set for damaged files
        raise DamagedCheckpoint(
            f"{path} is no checkpoint that can be read ({error}).",
            fix="Remove it: the run goes on from an older one, or begins again.",
        ) from error
    mine = make_identity(config, dataset)
    other = [key for key in mine if mine[key] != identity.get(key)]
    if other:
        key = other[0]
        raise TrainError(
            f"{path} belongs to another training: its {key} is {identity.get(key)}, "
            f"not {mine[key]}.",
            fix="Use a new output folder, or the settings that the checkpoint was made with.",
        )
    return content


def make_identity(config: TrainConfig, dataset: Dataset) -> State:
    """What must be equal for a checkpoint to be gone on with."""
    settings = config.model_dump(mode="json", include=set(IDENTITY))
    return {**{name: settings[name] for name in IDENTITY}, "dataset": dataset.fingerprint}


def hash_identity(config: TrainConfig, dataset: Dataset) -> str:
    """A short name of what `make_identity` says."""
    text = json.dumps(make_identity(config, dataset), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _save(path: Path, content: State) -> None:
    # Not into the file itself: torch has no words for a disk that is full.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_atomically(path, buffer.getbuffer())


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

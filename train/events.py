"""What the trainer says while it works: one JSON object a line in `events.jsonl`.

The second of the trainer's two doors: the trainer writes with `EventLog`, everyone else reads
with `parse_event`. A reader skips kinds that it does not know, so that an old laptop can follow
a new trainer.
"""

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from train.errors import Cause, TrainError


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True)

    v: Literal[1] = 1
    at: float = Field(0.0, description="Seconds since the epoch, UTC; set when it is written.")


class Started(_Event):
    """The trainer has its data and its model; `step` is above 0 when it resumes."""

    kind: Literal["started"] = "started"
    dataset: str
    counts: dict[str, int]
    classes: list[str]
    model: str
    parameters: int
    device: str
    epochs: int | None
    steps: int | None = Field(description="Optimiser steps in all; none when minutes decide.")
    step: int
    seed: int


class Step(_Event):
    """Progress inside an epoch, about once a second."""

    kind: Literal["step"] = "step"
    epoch: int
    step: int
    progress: float = Field(ge=0, le=1)
    loss: float
    lr: float
    images_per_s: float


class Epoch(_Event):
    """An epoch and its validation are over."""

    kind: Literal["epoch"] = "epoch"
    epoch: int
    step: int
    loss: float
    miou: float
    pixel_accuracy: float
    iou: dict[str, float | None]
    best: bool


class Checkpoint(_Event):
    """A checkpoint is on disk, whole; `path` is relative to the run's folder."""

    kind: Literal["checkpoint"] = "checkpoint"
    path: str
    epoch: int
    step: int


class Image(_Event):
    """Masks are being predicted: `done` of `total` are written."""

    kind: Literal["image"] = "image"
    done: int
    total: int


class Warned(_Event):
    """Training goes on, but somebody should know."""

    kind: Literal["warning"] = "warning"
    message: str


class Finished(_Event):
    """Everything asked for is on disk."""

    kind: Literal["finished"] = "finished"
    metrics: dict[str, float]
    seconds: float


class Failed(_Event):
    """The trainer stopped before its end; `fix` says what mends it."""

    kind: Literal["failed"] = "failed"
    message: str
    fix: str
    cause: Cause = "internal"


Event = Started | Step | Epoch | Checkpoint | Image | Warned | Finished | Failed
_ADAPTER: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="kind")])


def parse_event(line: str | bytes) -> Event | None:
    """The event of one line, or None for a kind or version that this reader does not know."""
    try:
        return _ADAPTER.validate_json(line)
    except ValidationError:
        return None


class EventLog:
    """Appends events to a file; each line is one write, so that no reader sees half of one.

    Raises:
        TrainError: another trainer writes to it; or nobody may.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise TrainError(
                f"Another trainer is writing to {path.parent}.",
                fix="Wait for it, or give this one another output folder.",
            ) from error
        self._end_line()

    def emit(self, event: Event) -> None:
        """Write `event`, stamped with the time."""
        stamped = event.model_copy(update={"at": round(self._clock(), 3)})
        os.write(self._fd, stamped.model_dump_json().encode() + b"\n")

    def close(self) -> None:
        os.close(self._fd)

    def _end_line(self) -> None:
        """Close a line that a trainer left open when the disk was full, or when it was killed."""
        size = os.fstat(self._fd).st_size
        if size and os.pread(self._fd, 1, size - 1) != b"\n":
            os.write(self._fd, b"\n")

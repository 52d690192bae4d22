"""What the trainer says while it works: one JSON object a line in `events.jsonl`.

The second of the trainer's two doors: the trainer writes with `EventLog`, everyone else reads
with `parse_event`. A reader skips kinds that it does not know, so that an old laptop can follow
a new trainer.
"""

import ctypes
import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from train.errors import Cause, TrainError


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True)

    v: Literal[1] = 1
    at: float = Field(0.0, description="Seconds since the epoch, UTC; set when it is written.")


class Started(_Event):
    """The trainer has its data and its model; `step` is above 0 when it resumes.

    `identity` is the same for trainings that give the same weights.
    """

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
    batch: int = 0
    precision: str = "fp32"
    ranks: int = 1
    identity: str = ""


class Step(_Event):
    """Progress inside an epoch; `loss` is the mean of the epoch's steps so far."""

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
    metrics: dict[str, float] = {}


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
EVENTS = "events.jsonl"
RESERVED_BYTES = 1 << 16
# Of linux/falloc.h: what is reserved does not make the file longer.
FALLOC_FL_KEEP_SIZE = 1
# Where in a training an event is: no two of one kind are at the same place.
_PLACE = ("kind", "epoch", "step", "path", "done")
_ADAPTER: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="kind")])


def parse_event(line: str | bytes) -> Event | None:
    """The event of one line, or None for a kind or version that this reader does not know."""
    try:
        return _ADAPTER.validate_json(line)
    except ValidationError:
        return None


class SilentLog:
    """Where one process of several says what another one has said."""

    def emit(self, event: Event) -> None:
        """Nothing."""

    def repeat(self, lines: Iterable[str]) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class EventLog:
    """Appends events to a file; each line is one write, so that no reader sees half of one.

    What a training does again, because it was killed after the last checkpoint, is not said
    again: who follows the file meets each event once.

    Raises:
        TrainError: another trainer writes to it; or nobody may.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._path = path
        self._identity = ""
        self._said: set[tuple[str, ...]] = set()
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise TrainError(
                f"Another trainer is writing to {path.parent}.",
                fix="Wait for it, or give this one another output folder.",
            ) from error
        self._end_line()
        self._room = 0
        self._reserve()
        for line in path.read_bytes().splitlines():
            if event := parse_event(line):
                self._is_new(event)

    def emit(self, event: Event) -> None:
        """Write `event`, stamped with the time, unless this training has said it."""
        if not self._is_new(event):
            return
        stamped = event.model_copy(update={"at": round(self._clock(), 3)})
        self._room -= os.write(self._fd, stamped.model_dump_json().encode() + b"\n")
        if self._room < RESERVED_BYTES // 2:
            self._reserve()

    def repeat(self, lines: Iterable[str]) -> None:
        """Write events that a checkpoint was saved with, unless they were said before."""
        for line in lines:
            if event := parse_event(line):
                self.emit(event)

    def close(self) -> None:
        os.close(self._fd)

    def _reserve(self) -> None:
        """Take room on the disk behind the end: when it is full, there is some to say so.

        Raises:
            OSError: it is full.
        """
        end = os.fstat(self._fd).st_size
        libc = ctypes.CDLL(None, use_errno=True)
        offset, length = ctypes.c_int64(end), ctypes.c_int64(RESERVED_BYTES)
        if libc.fallocate(self._fd, FALLOC_FL_KEEP_SIZE, offset, length) == 0:
            self._room = RESERVED_BYTES
        elif ctypes.get_errno() == errno.ENOSPC:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))

    def _is_new(self, event: Event) -> bool:
        if isinstance(event, Started):
            if event.identity != self._identity:
                self._said.clear()
            self._identity = event.identity
        if not isinstance(event, Step | Epoch | Checkpoint | Image):
            return True
        key = tuple(str(getattr(event, name, "")) for name in _PLACE)
        is_new = key not in self._said
        self._said.add(key)
        return is_new

    def _end_line(self) -> None:
        """Close a line that a trainer left open when the disk was full, or when it was killed."""
        size = os.fstat(self._fd).st_size
        if size and os.pread(self._fd, 1, size - 1) != b"\n":
            os.write(self._fd, b"\n")

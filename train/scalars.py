"""The trainer's events as TensorBoard's scalars."""

import threading
from collections.abc import Iterator
from pathlib import Path

from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from train.events import Epoch, Event, Started, Step, parse_event

POLL_S = 0.5


def read_scalars(event: Event) -> tuple[int, dict[str, float]]:
    """Where on the axis an event's numbers stand, and the numbers; none for most kinds.

    A step's are over the optimiser's steps, an epoch's over the epochs.
    """
    if isinstance(event, Step):
        step = {"loss": event.loss, "lr": event.lr, "images_per_s": event.images_per_s}
        return event.step, {f"step/{name}": value for name, value in step.items()}
    if isinstance(event, Epoch):
        epoch = {"loss": event.loss, "miou": event.miou, "pixel_accuracy": event.pixel_accuracy}
        # A class that no mask has is in no metric, and in no curve.
        iou = {f"iou/{name}": value for name, value in event.iou.items() if value is not None}
        return event.epoch, {**{f"epoch/{name}": value for name, value in epoch.items()}, **iou}
    return 0, {}


def follow_scalars(events: Path, folder: Path, ended: threading.Event) -> None:
    """Write what the events say into `folder`, and what they go on to say, until `ended`.

    The file need not be there yet.
    """
    writer = EventFileWriter(str(folder))
    try:
        for lines in _follow_lines(events, ended):
            for line in lines:
                if event := parse_event(line):
                    _write(writer, event)
            writer.flush()
    finally:
        writer.close()


def _write(writer: EventFileWriter, event: Event) -> None:
    if isinstance(event, Started):
        # Of the second on: what was said after the step that it goes on from is said again. No
        # epoch has a greater number than the step that it ended with.
        start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        writer.add_event(
            event_pb2.Event(wall_time=event.at, step=event.step + 1, session_log=start)
        )
    step, scalars = read_scalars(event)
    if scalars:
        values = [summary_pb2.Summary.Value(tag=t, simple_value=v) for t, v in scalars.items()]
        summary = summary_pb2.Summary(value=values)
        writer.add_event(event_pb2.Event(wall_time=event.at, step=step, summary=summary))


def _follow_lines(path: Path, ended: threading.Event) -> Iterator[list[bytes]]:
    """The whole lines that there are, then those that come."""
    offset = 0
    while not ended.is_set():
        content = _read_from(path, offset)
        whole = content[: content.rfind(b"\n") + 1]
        offset += len(whole)
        if whole:
            yield whole.splitlines()
        else:
            ended.wait(POLL_S)


def _read_from(path: Path, offset: int) -> bytes:
    try:
        with path.open("rb") as reader:
            reader.seek(offset)
            return reader.read()
    except FileNotFoundError:
        return b""

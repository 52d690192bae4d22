"""The trainer's events as TensorBoard's scalars, and its sample masks as images."""

import io
import math
import threading
from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from train.events import Epoch, Event, Started, Step, parse_event

POLL_S = 0.5
SAMPLES = "samples"
LARGEST_SIDE = 1024
MOST_IMAGES = 16
RGB_CHANNELS = 3
# Numbers of an epoch's event that say where it stands.
PLACES = ("v", "at", "epoch", "step")

Values = list[summary_pb2.Summary.Value]


def read_scalars(event: Event) -> tuple[int, dict[str, float]]:
    """Where on the axis an event's numbers stand, and the numbers; none for most kinds.

    A step's are over the optimiser's steps, an epoch's over the epochs.
    """
    if isinstance(event, Step):
        step = {"loss": event.loss, "lr": event.lr, "images_per_s": event.images_per_s}
        return event.step, {f"step/{name}": value for name, value in step.items()}
    if isinstance(event, Epoch):
        return event.epoch, dict(_read_epoch(event))
    return 0, {}


def _read_epoch(event: Epoch) -> Iterator[tuple[str, float]]:
    """Each number of the event and of its metrics; a class that no mask has is in no curve."""
    for name, value in {**event.metrics, **dict(event)}.items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if is_number and math.isfinite(value) and name not in PLACES:
            yield f"epoch/{name}", value
    for name, value in event.iou.items():
        if value is not None:
            yield f"iou/{name}", value


def read_samples(folder: Path) -> Values:
    """The sample masks that are in `folder` now, in the colours of their palettes.

    One that is being written, or cannot be decoded, is left out.
    """
    values: Values = []
    for path in sorted(folder.glob("*.png"))[:MOST_IMAGES]:
        try:
            with Image.open(path) as image:
                shown = image.convert("RGB")
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            continue
        # Colours of a palette must not be mixed.
        scale = max(1, max(shown.size) / LARGEST_SIDE)
        size = (max(1, round(shown.width / scale)), max(1, round(shown.height / scale)))
        shown = shown.resize(size, Image.Resampling.NEAREST)
        content = io.BytesIO()
        shown.save(content, "PNG")
        made = summary_pb2.Summary.Image(
            height=shown.height,
            width=shown.width,
            colorspace=RGB_CHANNELS,
            encoded_image_string=content.getvalue(),
        )
        values.append(summary_pb2.Summary.Value(tag=f"{SAMPLES}/{path.stem}", image=made))
    return values


def follow_scalars(events: Path, folder: Path, ended: threading.Event) -> None:
    """Write what the events say into `folder`, and what they go on to say, until `ended`.

    The file need not be there yet. The sample masks beside it are shown with the last epoch of
    what is read at once: those of the epochs before it are there no more.
    """
    writer = EventFileWriter(str(folder))
    try:
        for lines in _follow_lines(events, ended):
            found = [event for event in map(parse_event, lines) if event]
            epochs = [event for event in found if isinstance(event, Epoch)]
            for event in found:
                is_last = bool(epochs) and event is epochs[-1]
                _write(writer, event, read_samples(events.parent / SAMPLES) if is_last else [])
            writer.flush()
    finally:
        writer.close()


def _write(writer: EventFileWriter, event: Event, images: Values) -> None:
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
        summary = summary_pb2.Summary(value=[*values, *images])
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

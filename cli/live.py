"""A training as it is watched: one live line on a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.live import Live
from rich.text import Text

from cli.console import Console, format_duration
from cli.meter import Meter
from remote.follow import Reconnecting
from train.events import (
    Checkpoint,
    Epoch,
    Event,
    Failed,
    Finished,
    Image,
    Started,
    Step,
    Warned,
    parse_event,
)

PLAIN_STEP_S = 10.0
BAR_WIDTH = 20


class View:
    """Shows events as they come. `cost_usd` is asked for the cost so far."""

    def __init__(
        self,
        console: Console,
        cost_usd: Callable[[], float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console
        self._cost_usd = cost_usd
        self._clock = clock
        self._live = Live(Text(""), console=console.rich, auto_refresh=False, transient=True)
        self._rest = b""
        self._miou: float | None = None
        self._first: tuple[float, float] | None = None
        self._told = -PLAIN_STEP_S
        self._epochs = ""
        self._meter = Meter()

    def __enter__(self) -> Self:
        if self._console.is_live:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def recall(self, events: bytes, telemetry: bytes = b"") -> None:
        """What was shown before, of both files: known again, not shown again."""
        self._meter.feed(telemetry)
        *lines, self._rest = events.split(b"\n")
        for event in map(parse_event, lines):
            if isinstance(event, Started):
                self._epochs = f"/{event.epochs}" if event.epochs else ""
            elif isinstance(event, Epoch):
                self._miou = event.miou

    def feed(self, content: bytes) -> None:
        """Bytes of events.jsonl, cut anywhere."""
        *lines, self._rest = (self._rest + content).split(b"\n")
        for line in lines:
            if event := parse_event(line):
                self.show(event)

    def feed_telemetry(self, content: bytes) -> None:
        """Bytes of telemetry.csv, cut anywhere; a GPU that idles is said aloud."""
        for text in self._meter.feed(content):
            self._say(f"Warning: {text}")

    def show(self, event: Event) -> None:
        """One event."""
        match event:
            case Started():
                self._first = None
                self._epochs = f"/{event.epochs}" if event.epochs else ""
                self._say(
                    f"{event.dataset}: {event.counts['train']} train, {event.counts['val']} val; "
                    f"{event.model}, {event.parameters / 1e6:.1f} M parameters, on {event.device}"
                    + (f", going on from step {event.step}" if event.step else "")
                )
            case Step():
                self._show_step(event)
            case Epoch():
                self._miou = event.miou
                self._say(
                    f"epoch {event.epoch}{self._epochs}  loss {event.loss:.4f}  mIoU "
                    f"{event.miou:.4f}  pixel accuracy {event.pixel_accuracy:.4f}"
                    + ("  best" if event.best else "")
                )
            case Image():
                self._status(f"masks {event.done}/{event.total}", force=event.done == event.total)
            case Warned():
                self._say(f"Warning: {event.message}")
            case Checkpoint() | Finished() | Failed():
                pass  # the end is told by who watches, with what the supervisor knows of it

    def reconnecting(self, item: Reconnecting) -> None:
        """The link broke: say so, since when, and that training goes on."""
        since = format_duration(self._clock() - item.since_s)
        self._say(f"Reconnecting for {since}; training goes on. {item.reason}")

    def _show_step(self, event: Step) -> None:
        miou = "" if self._miou is None else f"  mIoU {self._miou:.4f}"
        filled = round(BAR_WIDTH * event.progress)
        self._status(
            f"{'━' * filled}{'─' * (BAR_WIDTH - filled)} {event.progress:4.0%}  epoch {event.epoch}"
            f"{self._epochs}  step {event.step}  loss {event.loss:.4f}{miou}  "
            f"{event.images_per_s:.1f} images/s  ETA {self._eta(event)}  "
            f"{self._cost_usd():.2f} USD  {self._meter.text}"
        )

    def _eta(self, event: Step) -> str:
        """Time left, by the trainer's own clock since it was first heard of."""
        if self._first is None:
            self._first = (event.at, event.progress)
        began, progress = self._first
        if event.progress <= progress:
            return "?"
        return format_duration(
            (event.at - began) * (1 - event.progress) / (event.progress - progress)
        )

    def _status(self, text: str, force: bool = False) -> None:
        """The line that is redrawn; a plain line now and then where nothing can be."""
        if self._console.is_live:
            self._live.update(Text(text, no_wrap=True), refresh=True)
        elif force or self._clock() - self._told >= PLAIN_STEP_S:
            self._told = self._clock()
            self._console.say(text)

    def _say(self, text: str) -> None:
        self._console.say(text)

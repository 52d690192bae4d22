"""The log and the events of a job, from a byte offset, across reconnects."""

import json
import random
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

from remote import shell
from remote.calls import check_answer
from remote.errors import CommandFailed, TransferError, Unreachable
from remote.host import Host, Result, Stream
from remote.job import JobStatus, parse_status

FILES = ("events.jsonl", "log.txt", "telemetry.csv")
SILENCE_S = 15.0
BACKOFF_S = (0.5, 30.0)
TRIES = 4


@dataclass(frozen=True)
class Chunk:
    """Bytes of a file that begin at `offset`; chunks of a file are in order and without gaps."""

    file: str
    offset: int
    content: bytes


@dataclass(frozen=True)
class Reconnecting:
    """The link broke at `since_s` (monotonic); the job goes on without it."""

    since_s: float
    reason: str


Item = Chunk | Reconnecting | JobStatus


def follow_job(
    host: Host,
    root: str,
    run: str,
    offsets: dict[str, int],
    patience_s: float = 600.0,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Generator[Item]:
    """Everything that the job writes from `offsets` on, each byte once; its status at the end.

    A link that breaks is made anew, with growing pauses, for `patience_s`.

    Raises:
        Unreachable: the host did not answer for `patience_s`.
        CommandFailed, TransferError: it does, but its agent fails, again and again.
    """
    offsets = dict(offsets)
    broken_since: float | None = None
    pause_s, failures = BACKOFF_S[0], 0
    while True:
        try:
            with host.stream(shell.follow_files(root, run, offsets), SILENCE_S) as stream:
                for item in _read_frames(stream, host):
                    broken_since, pause_s, failures = None, BACKOFF_S[0], 0
                    if isinstance(item, Chunk):
                        offsets[item.file] = item.offset + len(item.content)
                    if item:
                        yield item
                    if isinstance(item, JobStatus):
                        return
        except Unreachable as error:
            broken_since = broken_since if broken_since is not None else clock()
            if clock() - broken_since > patience_s:
                raise
            yield Reconnecting(broken_since, str(error))
        except (CommandFailed, TransferError):
            failures += 1
            if failures > TRIES:
                raise
        sleep(pause_s * random.uniform(0.5, 1.0))
        pause_s = min(2 * pause_s, BACKOFF_S[1])


def _read_frames(stream: Stream, host: Host) -> Generator[Chunk | JobStatus | None]:
    """The frames of one connection; None for a beat.

    Raises:
        Unreachable: the stream ended before the job's end was told.
        CommandFailed: so it did because the agent failed.
    """
    while line := stream.read_line():
        head: dict[str, Any] = json.loads(line) if line.endswith(b"\n") else {"beat": 0}
        if "job" in head:
            yield parse_status(head["job"])
            return
        if "file" in head:
            content = stream.read_exactly(head["size"])
            # A frame that was cut counts as far as it came: the next connection asks for the rest.
            yield Chunk(head["file"], head["offset"], content)
        else:
            yield None
    code, errors = stream.wait()
    if code:
        check_answer(host, "follow", Result(code, b"", errors))
    raise Unreachable(
        f"The connection to {host.address} ended.",
        fix="segaway attach RUN goes on where it stopped.",
    )

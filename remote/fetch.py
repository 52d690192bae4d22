"""Results down: only what is not here yet, verified by content hash."""

import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from remote import shell
from remote.agent.files import CHUNK_BYTES, BadTransfer, Manifest, find_lacking, unpack
from remote.calls import call_agent, check_answer
from remote.errors import TransferError, Unreachable
from remote.host import Host, Result, Stream
from remote.sync import Progress

CREDIT_BYTES = 2**22  # with small ones, most of the time would go into asking for the next
SILENCE_S = 60.0


@dataclass(frozen=True)
class Fetched:
    """What a fetch moved; afterwards all `files_total` files are here and right."""

    files: int
    files_total: int
    size_bytes: int


def fetch_folder(host: Host, root: str, source: str, target: Path, progress: Progress) -> Fetched:
    """Make the local folder `target` hold the files of `source`. Waits; safe to repeat.

    Local files that the far side does not have are left alone.

    Raises:
        TransferError: a file did not arrive as it was, or cannot be written here.
    """
    manifest: Manifest = call_agent(host, root, "manifest", source)
    try:
        target.mkdir(parents=True, exist_ok=True)
        lacking = find_lacking(target, manifest)
        if lacking:
            wanted = {path: manifest[path] for path in lacking}
            receive_files(host, root, source, target, wanted, progress)
    except BadTransfer as error:
        raise TransferError(
            f"Results of {source}: {error}.", fix="Repeat segaway fetch: it continues."
        ) from error
    except OSError as error:
        raise TransferError(
            f"{error.filename or target}: {error.strerror or error}; the results are still on the "
            "node.",
            fix="Mend that and repeat segaway fetch.",
        ) from error
    size = sum(manifest[path]["size"] for path in lacking)
    return Fetched(len(lacking), len(manifest), size)


def receive_files(
    host: Host,
    root: str,
    source: str,
    target: Path,
    lacking: Manifest,
    progress: Progress = lambda *_: None,
    share: float = 1.0,
    changed: set[str] | None = None,
) -> None:
    """Bring files of `source` to `target`, over a share of the link. Waits.

    A file that was replaced while it was sent goes into `changed`, where that is given.

    Raises:
        BadTransfer: one did not arrive as it was; those before it have.
    """
    files, size = len(lacking), sum(info["size"] for info in lacking.values())

    def report(done: int, received: int) -> None:
        progress(done, files, received, size)

    with host.stream(shell.call_agent(root, "send", source), SILENCE_S) as stream:
        credit_bytes = CREDIT_BYTES if share < 1 else None
        asked = {"paths": sorted(lacking), "credit_bytes": credit_bytes}
        stream.write(json.dumps(asked).encode() + b"\n")
        reader = PacedReader(stream, CREDIT_BYTES, share) if share < 1 else stream
        broken: BadTransfer | None = None
        try:
            unpack(target, reader, report, changed)
        except BadTransfer as error:
            broken = error
        while reader.read():
            pass  # what pads the stream: its writer is to end well
        code, errors = stream.wait()
        check_answer(host, "send", Result(code, b"", errors))
        if broken:
            raise broken


class PacedReader:
    """Reads a paced stream with a share of the link: rests after each credit as is due.

    The other end is `remote.agent.files.PacedWriter`.
    """

    def __init__(
        self,
        stream: Stream,
        credit_bytes: int,
        share: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._stream, self._credit_bytes, self._rest = stream, credit_bytes, 1 / share - 1
        self._clock, self._sleep = clock, sleep
        self._left = 0
        self._asked_s = clock()

    def read(self, size: int = CHUNK_BYTES) -> bytes:
        """Up to `size` bytes; empty at the end."""
        if not self._left:
            self._sleep(self._rest * (self._clock() - self._asked_s))
            self._ask()
        content = self._stream.read(min(size, self._left))
        self._left -= len(content)
        return content

    def _ask(self) -> None:
        self._asked_s, self._left = self._clock(), self._credit_bytes
        with contextlib.suppress(Unreachable):  # at the stream's end nobody listens any more
            self._stream.write(b".")

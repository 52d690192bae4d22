"""The growing files of a run, from byte offsets on, as frames."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

from .files import CHUNK_BYTES
from .jobs import read_status

if TYPE_CHECKING:
    from collections.abc import Iterator

POLL_S = 0.2
BEAT_S = 2.0


def follow(run: Path, offsets: dict[str, int]) -> Iterator[bytes]:
    """Frames: a JSON line, and the bytes that it announces.

    {"file": NAME, "offset": N, "size": N} and N bytes; {"beat": TIME} when nothing happens; at the
    end, when the job is over and everything is sent, {"job": STATE}.
    """
    beaten = 0.0
    while True:
        state = read_status(run)  # before the files: what it wrote before its end is seen then
        sent = False
        for name, offset in list(offsets.items()):
            for chunk in _read_from(run / name, offset):
                head = {"file": name, "offset": offsets[name], "size": len(chunk)}
                yield json.dumps(head).encode() + b"\n" + chunk
                offsets[name] += len(chunk)
                sent = True
        if state["state"] != "running" and not sent:
            yield json.dumps({"job": state}).encode() + b"\n"
            return
        if time.monotonic() - beaten > BEAT_S:
            beaten = time.monotonic()
            yield json.dumps({"beat": time.time()}).encode() + b"\n"
        if not sent:
            time.sleep(POLL_S)


def _read_from(path: Path, offset: int) -> Iterator[bytes]:
    try:
        with path.open("rb") as reader:
            reader.seek(offset)
            yield from iter(lambda: reader.read(CHUNK_BYTES), b"")
    except FileNotFoundError:
        return

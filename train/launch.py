"""One process for each GPU, started and ended together; what torchrun does, without its agent.

Each gets the environment that torchrun gives (RANK, WORLD_SIZE, ...). SIGTERM is handed on; when
one of them fails, the others, who would wait for it for ever, are ended.
"""

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

FAILURES = "SEGAWAY_RANK_FAILURES"
"""Variable: the folder into which ranks other than the first write what went wrong."""
POLL_S = 0.05
# A rank that stops at SIGTERM writes a checkpoint first.
GRACE_S = 30.0
PR_SET_PDEATHSIG = 1
LOOPBACK = "127.0.0.1"

Process = subprocess.Popen[bytes]


def launch_ranks(argv: Sequence[str], count: int) -> tuple[int, dict[str, Any] | None]:
    """Run `python -m train ARGV` as `count` ranks, to their end. Waits.

    The exit code of the first that failed, else 0; and, of a rank that has no event log, what
    `note_failure` was told.
    """
    with tempfile.TemporaryDirectory(prefix="segaway-ranks-") as folder:
        shared = {"MASTER_ADDR": LOOPBACK, "MASTER_PORT": str(_find_port()), FAILURES: folder}
        ranks = [_start(argv, rank, count, shared) for rank in range(count)]
        signal.signal(signal.SIGTERM, lambda *_: _send(ranks, signal.SIGTERM))
        code = _wait(ranks)
        notes = sorted(Path(folder).glob("*.json"))
        return code, json.loads(notes[0].read_text()) if notes else None


def note_failure(**fields: Any) -> bool:
    """Tell the launcher why this rank fails; False where it is the first, or alone."""
    rank = os.environ.get("RANK", "0")
    if rank == "0":
        return False
    if folder := os.environ.get(FAILURES):
        (Path(folder) / f"{int(rank):05}.json").write_text(json.dumps(fields))
    return True


def _start(argv: Sequence[str], rank: int, count: int, shared: dict[str, str]) -> Process:
    place = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count)}
    return subprocess.Popen(
        [sys.executable, "-m", "train", *argv],
        env={**os.environ, **shared, **place},
        preexec_fn=_die_with_parent,  # noqa: PLW1509  # no thread runs here
    )


def _wait(ranks: list[Process]) -> int:
    """Until all have ended; the code of the first to fail, which ends the others."""
    code, limit = 0, float("inf")
    while any(process.poll() is None for process in ranks):
        failed = [p.returncode for p in ranks if p.returncode]
        if failed and not code:
            code, limit = failed[0], time.monotonic() + GRACE_S
            _send(ranks, signal.SIGTERM)
        if time.monotonic() > limit:
            _send(ranks, signal.SIGKILL)
        time.sleep(POLL_S)
    codes = [p.returncode for p in ranks if p.returncode]
    return code or (codes[0] if codes else 0)


def _send(ranks: list[Process], number: signal.Signals) -> None:
    for process in ranks:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)


def _find_port() -> int:
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        return int(listener.getsockname()[1])


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

"""Why a trainer ended, in words."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any, NamedTuple

from .runners import UNSEEN

STOPPED = 143
KILLED = 137
SIGNALS = {132: "illegal instruction", 134: "abort", 135: "bus error", 139: "segmentation fault"}
FULL_BYTES = 2**16
TAIL_BYTES = 2**14
GPU_ERROR = re.compile(
    rb"CUDA error|CUBLAS_STATUS|CUDNN_STATUS|NVRM: Xid|uncorrectable ECC|cudaError"
)


class Ending(NamedTuple):
    """How an attempt ended; `again` when another attempt may end better."""

    state: str
    cause: str
    message: str
    fix: str
    again: bool


class Evidence:
    """What is known before an attempt, so that what it changed can be seen afterwards."""

    def __init__(self, run: Path) -> None:
        self._run = run
        self._oom_kills = count_oom_kills()
        self._events = _size(run / "events.jsonl")
        self._log = _size(run / "log.txt")

    def diagnose(self, code: int, asked_to_stop: bool) -> Ending:
        """Why the attempt ended with `code`."""
        if code == 0:
            return Ending("finished", "", "", "", False)
        if code == STOPPED:
            message = "" if asked_to_stop else "Somebody on the node stopped the trainer (SIGTERM)."
            return Ending("stopped", "stopped", message, "", not asked_to_stop)
        if code == KILLED:
            return self._diagnose_kill(asked_to_stop)
        if code == UNSEEN:
            return self._find_last_words() or Ending(
                "failed",
                "engine",
                "The container engine was killed, and the trainer ended unseen.",
                "",
                True,
            )
        return (
            self._find_last_words()
            or self._find_full_disk()
            or self._find_gpu_error()
            or _describe_crash(code)
        )

    def _diagnose_kill(self, asked_to_stop: bool) -> Ending:
        if count_oom_kills() > self._oom_kills:
            return Ending(
                "failed",
                "out_of_memory",
                "The kernel killed the trainer: it used more memory than it may.",
                "Go on with a smaller --batch or --crop in a new run, or with more --memory in "
                "this one.",
                True,
            )
        if asked_to_stop:
            return Ending("stopped", "stopped", "It had to be killed after the grace.", "", False)
        return Ending(
            "failed", "killed", "The trainer was killed from outside (SIGKILL).", "", True
        )

    def _find_last_words(self) -> Ending | None:
        """The trainer's own: a last event that says how it ended."""
        lines = _read_tail(self._run / "events.jsonl", self._events).split(b"\n")
        for line in reversed(lines):
            with contextlib.suppress(ValueError, AttributeError):
                event: dict[str, Any] = json.loads(line)
                if event.get("kind") == "finished":
                    return Ending("finished", "", "", "", False)
                if event.get("kind") == "failed":
                    cause = event.get("cause", "internal")
                    again = cause in ("internal", "gpu", "disk_full")
                    return Ending("failed", cause, event["message"], event["fix"], again)
        return None

    def _find_full_disk(self) -> Ending | None:
        if shutil.disk_usage(self._run).free > FULL_BYTES:
            return None
        return Ending(
            "failed",
            "disk_full",
            "The volume is full; the last checkpoint is kept.",
            "Free space on it (segaway ssh RUN), then go on with segaway run --resume RUN.",
            True,
        )

    def _find_gpu_error(self) -> Ending | None:
        found = GPU_ERROR.search(_read_tail(self._run / "log.txt", self._log))
        if not found:
            return None
        return Ending(
            "failed",
            "gpu",
            f"The GPU failed: {found.group().decode()}; log.txt has the rest.",
            "Go on with segaway run --resume RUN; if it comes again, take another node.",
            True,
        )


def _describe_crash(code: int) -> Ending:
    if code in SIGNALS:
        message = f"The trainer crashed: {SIGNALS[code]}."
    elif code in (125, 126, 127):
        message = f"The trainer could not be run in its container (exit code {code})."
    else:
        message = f"The trainer ended with exit code {code} and without a word."
    return Ending("failed", "crashed", message, "segaway logs RUN has its last lines.", True)


def count_oom_kills() -> int:
    """How often the kernel has killed for want of memory since it started; 0 where unknown."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _read_tail(path: Path, begin: int) -> bytes:
    """The last bytes of a file, none before `begin`."""
    try:
        with path.open("rb") as reader:
            reader.seek(max(begin, reader.seek(0, os.SEEK_END) - TAIL_BYTES))
            return reader.read()
    except OSError:
        return b""

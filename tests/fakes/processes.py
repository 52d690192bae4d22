"""The test bed's hold on processes: which one it was, and how it ends."""

import contextlib
import signal
import time
from pathlib import Path
from typing import Any

import psutil

DEATH_TIMEOUT_S = 20.0
# Of a container that has just been made, the cgroup is empty too.
CGROUP_AGE_S = 60.0


def note_process(pid: int) -> dict[str, Any]:
    """What tells the process from a later one with its id."""
    return {"pid": pid, "born": psutil.Process(pid).create_time()}


def is_same(known: dict[str, Any] | None) -> bool:
    """Whether the process that was noted still runs: process ids are used again."""
    if not known:
        return False
    try:
        process = psutil.Process(known["pid"])
        return _runs(process) and bool(process.create_time() == known["born"])
    except psutil.Error:
        return False


def end_family(known: dict[str, Any] | None) -> None:
    """Kill the process that was noted, and its children; returns when they are gone.

    Raises:
        TimeoutError: the system does not let go of them.
    """
    if not known or not is_same(known):
        return
    with contextlib.suppress(psutil.Error):
        doomed = psutil.Process(known["pid"])
        family = [*doomed.children(), doomed]
        for process in family:
            with contextlib.suppress(psutil.Error):
                process.send_signal(signal.SIGKILL)
        limit = time.monotonic() + DEATH_TIMEOUT_S
        while left := [process.pid for process in family if _runs(process)]:
            if time.monotonic() > limit:
                raise TimeoutError(f"the processes {left} do not end")
            time.sleep(0.02)


def sweep_cgroups() -> None:
    """Remove what the containers of a node that died suddenly have left in the host's cgroups."""
    root = Path("/sys/fs/cgroup")
    for pattern in ("libpod_parent/libpod-*", "*/libpod_parent/libpod-*"):
        for folder in root.glob(pattern):
            # A cgroup that is in use cannot be removed.
            with contextlib.suppress(OSError):
                if folder.is_dir() and time.time() - folder.stat().st_mtime > CGROUP_AGE_S:
                    folder.rmdir()


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False

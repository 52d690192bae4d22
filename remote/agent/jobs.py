"""A job: the trainer under a supervisor that owes nothing to the connection that started it.

The job's own files lie beside the runs, out of the trainer's reach, in `.segaway/jobs/RUN`:
`job.json` (what `read_status` says), `job.lock` (held while the supervisor lives), `heartbeat`.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

JOB = "job.json"
LOCK = "job.lock"
HEARTBEAT = "heartbeat"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

STOP_POLL_S = 0.05
KILL_PATIENCE_S = 10.0


def job_folder(run: Path) -> Path:
    """Where the files of the job of a run's folder lie."""
    return run.parent.parent / ".segaway" / "jobs" / run.name


def start_job(run: Path, spec: dict[str, Any]) -> dict[str, Any]:
    """Start the trainer under a supervisor of its own; at once what `read_status` says.

    Safe to repeat: a job that runs goes on, one that finished stays finished; one that was stopped,
    failed or lost is started again, and continues from its checkpoint.
    """
    from .supervisor import supervise

    run.mkdir(parents=True, exist_ok=True)
    job_folder(run).mkdir(parents=True, exist_ok=True)
    state = read_status(run)
    if state["state"] in ("running", "finished"):
        return state
    attempt = 1
    if state["state"] == "lost":
        attempt = state["attempt"] + 1
        end_leftover(state)
    ready, told = os.pipe()
    if os.fork() == 0:
        os.setsid()
        os.close(ready)
        if os.fork() == 0:
            supervise(run, spec, attempt, told)
        os._exit(0)
    os.close(told)
    os.wait()
    with os.fdopen(ready) as reader:
        answer = reader.read()
    if answer != "started":
        return {"state": "failed", "exit_code": None, "refused": answer or "the supervisor died"}
    return read_status(run)


def read_status(run: Path) -> dict[str, Any]:
    """The job's state: none, running, finished, stopped, failed or lost, and how it came to it.

    The supervisor holds a lock as long as it lives: a job that says running and has no lock is
    lost, which is what a killed supervisor or a rebooted node leaves.
    """
    folder = job_folder(run)
    try:
        state: dict[str, Any] = json.loads((folder / JOB).read_text())
    except FileNotFoundError:
        return {"state": "none", "exit_code": None}
    if state["state"] == "running" and not is_locked(folder / LOCK):
        state = json.loads((folder / JOB).read_text())  # it may have ended between the two looks
        if state["state"] == "running":
            state.update(_describe_loss(state))
    return state


def _describe_loss(state: dict[str, Any]) -> dict[str, Any]:
    if state["boot_id"] != read_boot_id():
        return {"state": "lost", "cause": "rebooted", "message": "The node was restarted."}
    return {
        "state": "lost",
        "cause": "unsupervised",
        "message": "The trainer's supervisor on the node was killed.",
    }


def read_boot_id() -> str:
    """The kernel's name for the time since it started; empty where it gives none."""
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return ""


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock file `path`."""
    try:
        with path.open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        pass
    return False


def end_leftover(state: dict[str, Any]) -> None:
    """End a trainer that outlived its supervisor: two must not write to one folder."""
    container = state["spec"].get("container")
    if container:
        subprocess.run(container["remove"], capture_output=True, check=False)
    elif is_trainer(state):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(state["pid"], signal.SIGKILL)


def is_trainer(state: dict[str, Any]) -> bool:
    """Whether the job's process is there. After a reboot its id may be somebody else's."""
    try:
        command = Path(f"/proc/{state['pid']}/cmdline").read_bytes().split(b"\0")[:-1]
    except OSError:
        return False
    return command == [part.encode() for part in state["spec"]["argv"]]


def stop_job(run: Path, grace_s: float) -> dict[str, Any]:
    """Ask the trainer to stop, kill it after `grace_s`; its state then. Safe to repeat."""
    state = read_status(run)
    if state["state"] == "lost":
        end_leftover(state)
    elif state["state"] == "running":
        write_json(job_folder(run) / "stop.json", {"grace_s": grace_s})
        with contextlib.suppress(ProcessLookupError):
            os.kill(state["supervisor"], signal.SIGTERM)
        limit = time.monotonic() + grace_s + KILL_PATIENCE_S
        while time.monotonic() < limit and read_status(run)["state"] == "running":
            time.sleep(STOP_POLL_S)
    return read_status(run)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Replace `path`, durably: after a crash it holds the old or the new."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("w") as writer:
        json.dump(content, writer)
        writer.flush()
        os.fsync(writer.fileno())
    os.replace(partial, path)

"""The supervisor: runs the trainer, beats, samples, says how it ended, and starts it again.

A job's spec: {"argv", "cwd", "env"} for a process; {"container": {...}} for a container, see
runners.py; "retries": how many times a trainer that failed is started again; "owner": the uid that
the trainer runs under, when that is not this one's.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import signal
import time
from pathlib import Path
from typing import Any, NoReturn

from . import jobs
from .diagnosis import Ending, Evidence
from .files import append_line
from .runners import Runner, StartError, make_runner
from .telemetry import Sampler

WAIT_S = 0.5
STOP_GRACE_S = 30.0
LONGEST_PAUSE_S = 60.0
RESERVE = "reserve"
RESERVE_BYTES = 2**16


def supervise(run: Path, spec: dict[str, Any], attempt: int, told: int) -> NoReturn:
    """Hold the lock, see the trainer to its end, write down how it ended."""
    folder = jobs.job_folder(run)
    try:
        lock = os.open(folder / jobs.LOCK, os.O_RDWR | os.O_CREAT, 0o600)  # held until the end
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        detach(run)
        prepare_folder(run, spec.get("owner"))
        Job(run, spec, attempt, told).see_through()
    except BlockingIOError:
        os.write(told, b"started")
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.write(told, str(error).encode())
    finally:
        os._exit(0)


def detach(run: Path) -> None:
    """Give up everything that ties this process to the connection; output goes to log.txt."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    nothing = os.open(os.devnull, os.O_RDONLY)
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
    log = os.open(run / "log.txt", flags, 0o644)
    os.dup2(nothing, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)


def prepare_folder(run: Path, owner: int | None) -> None:
    """Let the trainer's user write to the run's folder and to what earlier attempts left there."""
    if owner is not None and os.geteuid() == 0:
        for path in (run, *run.rglob("*")):
            os.chown(path, owner, owner, follow_symlinks=False)


class Job:
    """One supervised job; `see_through` returns when it is over."""

    def __init__(self, run: Path, spec: dict[str, Any], attempt: int, told: int) -> None:
        self._run, self._spec, self._told = run, spec, told
        self._folder = jobs.job_folder(run)
        self._runner: Runner = make_runner(spec)
        self._stopping = False
        self._reserve = self._folder / RESERVE
        self._state: dict[str, Any] = {
            "state": "running",
            "spec": spec,
            "attempt": attempt,
            "exit_code": None,
            "boot_id": jobs.read_boot_id(),
            "supervisor": os.getpid(),
            "started_s": time.time(),
        }

    def see_through(self) -> None:
        """Attempt after attempt, until one ends well, none may help, or a stop was asked for."""
        signal.signal(signal.SIGTERM, self._ask_to_stop)
        with contextlib.suppress(OSError):
            self._reserve.write_bytes(bytes(RESERVE_BYTES))
        Sampler(self._run).start()
        while True:
            ending = self._attempt()
            if self._stopping or not ending.again or self._attempts_left() < 1:
                break
            self._announce_retry(ending)
            self._pause()
            if self._stopping:
                break
            self._state["attempt"] += 1
        self._runner.remove()
        self._write(ending)

    def _attempts_left(self) -> int:
        attempts: int = self._spec.get("retries", 0) + 1
        return attempts - int(self._state["attempt"])

    def _attempt(self) -> Ending:
        evidence = Evidence(self._run)
        try:
            pid = self._runner.start()
        except StartError as error:
            if self._told >= 0:
                raise
            return Ending("failed", "engine", f"It could not be started: {error}.", "", True)
        self._save({**self._state, "pid": pid})
        self._tell_started()
        code = self._wait()
        ending = evidence.diagnose(code, self._stopping)
        self._state["exit_code"] = 0 if ending.state == "finished" else code
        return ending

    def _tell_started(self) -> None:
        if self._told >= 0:
            os.write(self._told, b"started")
            os.close(self._told)
            self._told = -1

    def _wait(self) -> int:
        heartbeat, stopped = self._folder / jobs.HEARTBEAT, False
        while True:
            with contextlib.suppress(OSError):
                heartbeat.write_text(str(time.time()))
            if self._stopping and not stopped:
                stopped = True
                self._runner.stop(self._read_grace())
            code = self._runner.wait(WAIT_S)
            if code is not None:
                return code

    def _ask_to_stop(self, _number: int, _frame: object) -> None:
        self._stopping = True

    def _read_grace(self) -> float:
        try:
            asked: dict[str, float] = json.loads((self._folder / "stop.json").read_text())
            return asked["grace_s"]
        except (OSError, ValueError, KeyError):
            return STOP_GRACE_S

    def _announce_retry(self, ending: Ending) -> None:
        """In the log, and as an event, so that everyone who watches is told."""
        number = self._state["attempt"]
        message = (
            f"{ending.message} Starting again from the last checkpoint "
            f"({number} of {self._spec['retries']})."
        )
        event = {"v": 1, "kind": "warning", "at": round(time.time(), 3), "message": message}
        with contextlib.suppress(OSError):
            print(f"segaway: {message}", flush=True)
            append_line(self._run / "events.jsonl", json.dumps(event))

    def _pause(self) -> None:
        limit = time.monotonic() + min(LONGEST_PAUSE_S, 2.0 ** (self._state["attempt"] - 1))
        while time.monotonic() < limit and not self._stopping:
            time.sleep(WAIT_S)

    def _write(self, ending: Ending) -> None:
        words = {"cause": ending.cause, "message": ending.message, "fix": ending.fix}
        self._save({**self._state, **words, "state": ending.state, "ended_s": time.time()})

    def _save(self, state: dict[str, Any]) -> None:
        """On a full disk, too: room for it is kept."""
        path = self._folder / jobs.JOB
        try:
            jobs.write_json(path, state)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            self._reserve.unlink()
            jobs.write_json(path, state)

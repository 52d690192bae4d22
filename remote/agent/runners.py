"""Two ways to run the trainer under the supervisor: a process of its own, or a container.

Both have `start`, `wait` for at most a time, `stop` with a grace, and `remove` what is left.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Protocol

ENGINE_PATIENCE_S = 120.0
ENGINE_PAUSE_S = 1.0
UNSEEN_S = 10.0
UNSEEN = 255
LOG_TAIL_LINES = 50


class StartError(Exception):
    """The trainer could not be started."""


class Runner(Protocol):
    """What the supervisor asks of either."""

    def start(self) -> int: ...

    def wait(self, timeout_s: float) -> int | None: ...

    def stop(self, grace_s: float) -> None: ...

    def remove(self) -> None: ...


def make_runner(spec: dict[str, Any]) -> Runner:
    """The runner that a job's spec asks for."""
    return ContainerRunner(spec["container"]) if spec.get("container") else ProcessRunner(spec)


class ProcessRunner:
    """The trainer as a process, in a session of its own."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self._spec = spec
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> int:
        """The trainer's process id."""
        try:
            self._process = subprocess.Popen(
                self._spec["argv"],
                cwd=self._spec["cwd"],
                env={**os.environ, **self._spec["env"]},
                stdin=subprocess.DEVNULL,
                close_fds=True,
                start_new_session=True,
            )
        except OSError as error:
            raise StartError(str(error)) from error
        return self._process.pid

    def wait(self, timeout_s: float) -> int | None:
        """The exit code, 128 + N after signal N; None when it runs on."""
        assert self._process
        try:
            code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None
        return code if code >= 0 else 128 - code

    def stop(self, grace_s: float) -> None:
        """SIGTERM, and SIGKILL after the grace; returns when it has ended."""
        assert self._process
        for number, patience_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 10.0)):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)
            if self.wait(patience_s) is not None:
                return

    def remove(self) -> None:
        """Nothing is left of a process; what it started goes with its group."""
        if self._process:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)


class ContainerRunner:
    """The trainer in a detached container, driven by the engine's command lines.

    `commands` has start, wait, state, stop, remove and logs, each an argv; state prints JSON with
    Running, ExitCode and Pid.

    The engine's word alone is not enough. One that is killed takes a container's exit code with
    it, and may say for ever that the container runs; one that is restarted does not answer for a
    while, or starts the container anew. So the container's own process is looked at, too.
    """

    def __init__(self, commands: dict[str, Any]) -> None:
        self._commands = commands
        self._waiter: subprocess.Popen[bytes] | None = None
        self._process: tuple[int, str] | None = None
        self._silent_since: float | None = None

    def start(self) -> int:
        """Start the container, in place of one that may be left over; its process id."""
        self.remove()
        result = self._call("start")
        if result.returncode:
            raise StartError(_last_line(result.stderr))
        self._silent_since = None
        self._process = self._find_process(self._read_state() or {})
        return self._process[0] if self._process else 0

    def wait(self, timeout_s: float) -> int | None:
        """The exit code, UNSEEN when the engine lost it; None when the trainer runs on."""
        if self._waiter is None:
            self._waiter = subprocess.Popen(
                self._commands["wait"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        try:
            self._waiter.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None if self._is_alive() else self._look()
        self._waiter = None
        return self._look()

    def _look(self) -> int | None:
        """How it stands, by the engine and by the process that it names."""
        state = self._read_state()
        if state is None:
            return self._bear(ENGINE_PATIENCE_S)
        if state["Running"]:
            self._process = self._find_process(state)
            return None if self._process else self._bear(UNSEEN_S)
        self._end_waiter()
        self._copy_log()
        return int(state["ExitCode"]) & 0xFF

    def _bear(self, patience_s: float) -> int | None:
        """Nothing is known for the moment; after `patience_s` of it, the end was not seen."""
        now = time.monotonic()
        self._silent_since = now if self._silent_since is None else self._silent_since
        if now - self._silent_since < patience_s:
            time.sleep(ENGINE_PAUSE_S)
            return None
        self._end_waiter()
        return UNSEEN

    def _is_alive(self) -> bool:
        alive = self._process is not None and read_birth(self._process[0]) == self._process[1]
        if alive:
            self._silent_since = None
        return alive

    def _find_process(self, state: dict[str, Any]) -> tuple[int, str] | None:
        """The container's process and when it was born: ids are used again."""
        pid = state.get("Pid", 0)
        birth = read_birth(pid) if pid else ""
        return (pid, birth) if birth else None

    def _read_state(self) -> dict[str, Any] | None:
        result = self._call("state")
        if result.returncode:
            return None
        state: dict[str, Any] = json.loads(result.stdout)
        return state

    def _end_waiter(self) -> None:
        if self._waiter:
            self._waiter.kill()
            self._waiter.wait()
            self._waiter = None

    def _copy_log(self) -> None:
        """What the container itself wrote; the trainer's own words are in log.txt already."""
        result = self._call("logs")
        lines = (result.stdout + result.stderr).splitlines()[-LOG_TAIL_LINES:]
        with contextlib.suppress(OSError):
            sys.stdout.buffer.write(b"".join(line + b"\n" for line in lines))
            sys.stdout.buffer.flush()

    def stop(self, grace_s: float) -> None:
        """SIGTERM, and SIGKILL after the grace; returns when it has ended."""
        grace = str(round(grace_s))
        self._call("stop", [part.replace("GRACE_S", grace) for part in self._commands["stop"]])

    def remove(self) -> None:
        """No container of that name is there, running or not."""
        self._call("remove")

    def _call(self, name: str, argv: list[str] | None = None) -> subprocess.CompletedProcess[bytes]:
        try:
            return subprocess.run(
                argv or self._commands[name],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
            )
        except OSError as error:
            raise StartError(str(error)) from error


def read_birth(pid: int) -> str:
    """When a process started, in the kernel's ticks; empty where there is none, or a dead one."""
    try:
        # The name before it may hold anything, so count from its closing bracket.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]


def _last_line(text: bytes) -> str:
    lines = text.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "the engine said nothing"

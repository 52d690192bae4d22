"""The dead-man switch: destroys the machine that it runs on, when nobody else does.

    guard.py tick                 look once and act; a timer calls it every 20 s
    guard.py extend DEADLINE_S    move the deadline; stdin: a new token, or nothing
    guard.py fetched              note that the results of the job, which is over, are at home
    guard.py status               what it knows, as JSON; extend and fetched answer so, too

One file, for Python 3.9 and newer. guard.json has run, label, api_url, deadline_s, idle_s and root,
the folder where the volume is mounted; linger_s, grace_s and transfer_s may be there. A machine
that is only switched off bills on, so it is deleted, by the cloud's API. Where guard.json is lost,
the settings of the last tick hold; where no deadline is left, the idle limit does. With neither
file it knows no label to act on: a sweep has to find it.
"""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import json
import math
import os
import re
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

BEHIND_S, AHEAD_S = 60.0, 600.0  # so far the clock may be off before a witness is asked
LATE_S, CALL_S, REQUEST_S, POLL_S = 300.0, 60.0, 15.0, 0.5
DEFAULTS = {
    **{"run": "", "label": "", "api_url": "", "root": "", "deadline_s": math.inf},
    **{"idle_s": 1800, "linger_s": 300, "grace_s": 60, "transfer_s": 120},
}
NO_CHECK_TIME = 0x200000  # OpenSSL's X509_V_FLAG_NO_CHECK_TIME: the wrong clock may be ours
DEADLINE = "the deadline has passed"
VERBS = (("tick", 0), ("extend", 1), ("fetched", 0), ("status", 0), ("job", 2))
OVER = ("finished", "stopped", "failed", "lost")


def read_clocks() -> tuple[float, float, str]:
    """The clock; the seconds since the boot, which nobody sets; and that boot's name."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return time.time(), time.clock_gettime(time.CLOCK_BOOTTIME), boot


def settle_time(
    old: dict[str, Any], wall_s: float, up_s: float, boot: str, ask: Callable[[], float | None]
) -> tuple[float, dict[str, Any]]:
    """What time it is, and what to remember of it.

    The clock is believed as long as it fits the kernel's count of seconds since a moment that a
    witness confirmed; else the witness is. Unless it answers: in the same boot the count is, and
    after a restart the later of the clock and the least that can have passed.
    """
    same, known_s = old.get("boot") == boot, wall_s
    if old:
        known_s = old["at_s"] + up_s - old["up_s"] if same else old["last_s"] + up_s
    fits = known_s - BEHIND_S <= wall_s <= known_s + AHEAD_S
    if not (same and fits and old["sure"]):
        seen_s = ask()
        if seen_s is not None or not same:
            known_s = wall_s = max(known_s, wall_s) if seen_s is None else seen_s
            old = {"boot": boot, "at_s": known_s, "up_s": up_s, "sure": seen_s is not None}
    now_s = wall_s if fits else known_s
    return now_s, {**old, "last_s": now_s}


def choose_machine(machines: list[Any], label: str, own: set[str]) -> Any:
    """This machine's id among them: its label, and its address where that can be told.

    By the label alone only where it is exactly ours: a machine behind NAT does not know its
    address. None, when there is any doubt: somebody else's machine must not go.
    """
    ours = [m for m in machines if re.fullmatch(re.escape(label) + r"([-.].*)?", m["label"])]
    here = [m for m in ours if own & set(m["ipv4"])]
    named = [m for m in ours if m["label"] == label or not own]
    found = here or named
    return found[0]["id"] if len(found) == 1 and len(label) > 2 else None


def find_job(root: Path, run: str) -> dict[str, Any]:
    """The job's state, and what it takes to end it; its files are those of the agent's jobs.py."""
    folder = root / ".segaway" / "jobs" / run
    try:
        job: dict[str, Any] = json.loads((folder / "job.json").read_text())
    except OSError:
        return {"state": "none"}
    if job["state"] == "running" and not is_locked(folder / "job.lock"):
        job = json.loads((folder / "job.json").read_text())  # it may have ended in between
        job["state"] = "lost" if job["state"] == "running" else job["state"]
    agents = sorted(root.glob(".segaway/agent-*.pyz"), key=lambda path: path.stat().st_mtime)
    return {
        **{key: job.get(key) for key in ("state", "pid", "supervisor")},
        "argv": job["spec"].get("argv"),
        "remove": (job["spec"].get("container") or {}).get("remove"),
        "agent": str(agents[-1]) if agents else "",
        "mark": f"{job['state']} {job.get('started_s')} {job.get('ended_s')}",
    }


def is_locked(path: Path) -> bool:
    """Whether a supervisor holds it, which it does as long as it lives."""
    try:
        with path.open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        pass
    return False


def kill_job(job: dict[str, Any]) -> None:
    """End what a stop has left: the supervisor first, which might start the trainer again."""
    with contextlib.suppress(OSError):
        if job["state"] == "running" and job["supervisor"]:
            os.kill(job["supervisor"], signal.SIGKILL)
    if job["remove"]:
        call(job["remove"], CALL_S)
    with contextlib.suppress(OSError):
        command = Path(f"/proc/{job['pid']}/cmdline").read_bytes().split(b"\0")[:-1]
        if command == [part.encode() for part in job["argv"] or []]:
            os.killpg(job["pid"], signal.SIGKILL)


def count_connections() -> int:
    """How many SSH connections there are: port 22 here, state 1."""
    count = 0
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            lines = Path("/proc/net", name).read_text().splitlines()[1:]
            count += sum(f[1].endswith(":0016") and f[3] == "01" for f in map(str.split, lines))
    return count


def find_addresses() -> set[str]:
    """This machine's own IPv4 addresses, as the kernel's routing has them."""
    with contextlib.suppress(OSError):
        text = Path("/proc/net/fib_trie").read_text()
        found = set(re.findall(r"-- ([\d.]+)\n\s+/32 host LOCAL", text))
        return {address for address in found if not address.startswith("127.")}
    return set()


def is_mounted(folder: str) -> bool:
    """Asked of the kernel: a look at the folder would hang where its device does."""
    return any(line.split()[1] == folder for line in Path("/proc/mounts").read_text().splitlines())


def call(argv: list[str], timeout_s: float) -> tuple[int | None, str]:
    """Exit code and output; no code after the timeout, also where not even SIGKILL helps."""
    pipe, null = subprocess.PIPE, subprocess.DEVNULL
    child = subprocess.Popen(argv, stdin=null, stdout=pipe, start_new_session=True, text=True)
    try:
        output = child.communicate(timeout=timeout_s)[0]
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        return None, ""
    return child.returncode, output


def request(url: str, method: str, path: str, **headers: str) -> tuple[int, str | None, bytes]:
    """The answer's status, date and body. No proxy, no redirect: a token goes to nobody else."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=REQUEST_S)
    if parts.scheme == "https":
        context = ssl.create_default_context()
        context.verify_flags |= NO_CHECK_TIME
        connection = http.client.HTTPSConnection(parts.netloc, timeout=REQUEST_S, context=context)
    with contextlib.closing(connection):
        connection.request(method, parts.path.rstrip("/") + path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.getheader("Date"), answer.read()


def ask_time(url: str) -> float | None:
    """The time by the API's clock, of any answer; None where there is none."""
    try:
        return parsedate_to_datetime(request(url, "GET", "/regions")[1] or "").timestamp()
    except (OSError, ValueError, TypeError, http.client.HTTPException):
        return None


def is_time(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and value > 0


def parse_time(text: str) -> float | None:
    with contextlib.suppress(ValueError):
        return float(text) if is_time(float(text)) else None
    return None


def read_json(path: Path) -> dict[str, Any]:
    """Empty where there is nothing that can be read."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write_file(path: Path, text: str) -> None:
    """Replace it, durably: after a crash it is the old or the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with partial.open("w") as writer:
            writer.write(text)
            writer.flush()
            os.fsync(writer.fileno())
        os.replace(partial, path)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def say(text: str) -> None:
    with contextlib.suppress(OSError):
        print(text, flush=True)


def safely(action: Callable[..., Any], *arguments: Any) -> Any:
    """What it returns; None where it fails: nothing keeps the end from coming."""
    try:
        return action(*arguments)
    except Exception as error:
        # Only a system's error is known to have no token in its text.
        say(f"{action.__name__}: {error if isinstance(error, OSError) else type(error).__name__}")
        return None


class Guard:
    """What a call of this program knows. `etc` holds guard.json and token, `var` what it learns."""

    def __init__(self, etc: Path, var: Path) -> None:
        self.etc, self.var = etc, var
        self.state = read_json(var / "guard.json")
        self.wall_s, self.up_s, self.boot = read_clocks()

    def settings(self) -> dict[str, Any]:
        """guard.json; for what it lacks, what the last tick saw."""
        known = {**DEFAULTS, **self.state.get("settings", {})}
        for key, value in read_json(self.etc / "guard.json").items():
            none = value == 0 and key != "deadline_s"
            fine = none or is_time(value) if key.endswith("_s") else isinstance(value, str)
            if fine and value != "":
                known[key] = value
        return known

    def find_job(self) -> dict[str, Any]:
        """The job, looked at by a child: a volume that hangs must not hang us. Else as last seen"""
        settings = self.settings()
        argv = [sys.executable, __file__, "job", settings["root"], settings["run"]]
        code, output = call(argv, CALL_S)
        job: dict[str, Any] = json.loads(output) if code == 0 else self.state.get("job", {})
        return job or {"state": "none"}

    def now(self, ask: Callable[[], float | None]) -> float:
        """The time, which is remembered."""
        old = self.state.get("time", {})
        now_s, self.state["time"] = settle_time(old, self.wall_s, self.up_s, self.boot, ask)
        return now_s

    def is_fetched(self, job: dict[str, Any]) -> bool:
        """Whether the results were fetched as this end of the job left them."""
        with contextlib.suppress(OSError):
            return job["state"] in OVER and (self.var / "fetched").read_text() == job["mark"]
        return False

    def save(self) -> None:
        """On a full disk nothing is remembered, and all goes on."""
        safely(write_file, self.var / "guard.json", json.dumps(self.state))

    def tick(self) -> bool:
        """Look once, and act; true. What a tick that is killed has not done, the next one does."""
        settings = self.state["settings"] = self.settings()
        now_s = safely(self.now, lambda: ask_time(settings["api_url"])) or self.wall_s
        job = self.state["job"] = safely(self.find_job) or {"state": "none"}
        self.note_activity(job)
        self.state["tick_s"] = now_s
        if self.state.get("ending") and self.is_put_off(now_s):
            say("the end is put off")
            del self.state["ending"]
            self.state["seen"] = {"boot": self.boot, "active_up_s": self.up_s}
            with contextlib.suppress(OSError):
                (self.var / "fetched").unlink()
        reason = self.find_reason(settings, now_s, job)
        if reason and not self.state.get("ending"):
            say(f"ends this machine: {reason}")
            known = {"reason": reason, "deadline_s": settings["deadline_s"]}
            self.state["ending"] = {**known, "done": {}}
        self.save()
        if self.state.get("ending"):
            self.end(now_s)
        return True

    def note_activity(self, job: dict[str, Any]) -> None:
        """In seconds since the boot, which no clock can change."""
        seen = self.state.get("seen", {})
        if seen.get("boot") != self.boot:
            seen = {"boot": self.boot, "active_up_s": self.up_s}
        if job["state"] == "running" or safely(count_connections):
            seen["active_up_s"] = self.up_s
        if self.is_fetched(job):
            seen.setdefault("fetched_up_s", self.up_s)
        else:
            seen.pop("fetched_up_s", None)
        self.state["seen"] = seen

    def find_reason(self, settings: dict[str, Any], now_s: float, job: dict[str, Any]) -> str:
        """Why the machine has to go; empty as long as it may stay."""
        seen = self.state["seen"]
        if now_s >= settings["deadline_s"]:
            return DEADLINE
        if self.up_s - seen.get("fetched_up_s", math.inf) >= settings["linger_s"]:
            return "the results are at home"
        if job["state"] != "running" and self.up_s - seen["active_up_s"] >= settings["idle_s"]:
            return "nobody has used it"
        return ""

    def is_put_off(self, now_s: float) -> bool:
        """Whether somebody moved the deadline since, or it was seen by a clock that was wrong."""
        ending, deadline_s = self.state["ending"], self.settings()["deadline_s"]
        moved = deadline_s != ending["deadline_s"] or ending["reason"] == DEADLINE
        return bool(moved and now_s < deadline_s)

    def end(self, now_s: float) -> None:
        """Step after step, each once in a boot; the last one until there is nobody to take it."""
        done = self.state["ending"]["done"]
        for step in (self.stop_job, self.await_transfers, self.unmount, self.destroy):
            name = step.__name__
            if self.is_put_off(now_s):
                return
            if done.get(name) != self.boot:
                safely(step)
            if name != "destroy":
                done[name] = self.boot
                self.save()

    def stop_job(self) -> None:
        """By its agent, so that it can write a checkpoint; then by force."""
        settings, job = self.settings(), self.state["job"]
        grace_s = settings["grace_s"]
        if job["state"] == "running":
            say("stops the job")
            run = f"{settings['root']}/runs/{settings['run']}"
            argv = [sys.executable, job["agent"], "stop", run, str(grace_s)]
            if (safely(call, argv, 2 * grace_s) or [None])[0] != 0:
                safely(os.kill, job["supervisor"], signal.SIGTERM)
                wait_until(lambda: self.find_job()["state"] != "running", grace_s)
            job = safely(self.find_job) or job
        if job["state"] in ("running", "lost"):
            say("kills what is left of the job")
            kill_job(job)

    def await_transfers(self) -> None:
        """As long as somebody is connected, but not for long, and not when it is late already."""
        settings = self.settings()
        if self.state["tick_s"] - settings["deadline_s"] <= LATE_S:
            wait_until(lambda: not count_connections(), settings["transfer_s"])

    def unmount(self) -> None:
        """The volume has all that was written, whoever still uses it."""
        root = self.settings()["root"]
        call(["sync"], CALL_S)
        if root.strip("/") and is_mounted(root):
            say(f"unmounts {root}")
            if call(["umount", "-R", root], CALL_S)[0] != 0:
                call(["umount", "-R", "-l", root], CALL_S)
                call(["sync"], CALL_S)

    def destroy(self) -> None:
        """Delete this machine; whatever comes in between, the next tick tries again."""
        settings, token = self.settings(), self.read_token()
        if not token:
            return say("it has no token: it cannot delete this machine")
        headers = {"Authorization": f"Bearer {token}"}
        wanted = json.dumps({"label": {"+contains": settings["label"]}})
        url, path = settings["api_url"], "/linode/instances"
        answer = request(url, "GET", f"{path}?page_size=500", **headers, **{"X-Filter": wanted})
        if answer[0] != 200:
            return complain(answer)
        machines = json.loads(answer[2])["data"]
        found = choose_machine(machines, settings["label"], find_addresses())
        if found is None:
            return say(f"no machine of {len(machines)} is surely this one, {settings['label']}")
        say(f"deletes this machine, {found}")
        answer = request(url, "DELETE", f"{path}/{int(found)}", **headers)
        return None if answer[0] in (200, 404) else complain(answer)

    def note_fetched(self) -> bool:
        """Of this end of the job: what a later attempt leaves is to be fetched again."""
        job = self.find_job()
        if job["state"] in OVER:
            write_file(self.var / "fetched", job["mark"])
        return job["state"] in OVER

    def read_token(self) -> str:
        with contextlib.suppress(OSError):
            return (self.etc / "token").read_text().strip()
        return ""

    def extend(self, deadline_s: float, token: str) -> None:
        """Move the deadline, and keep the token unless there is a new one."""
        if token:
            write_file(self.etc / "token", token + "\n")
        known = {**self.settings(), "deadline_s": deadline_s}
        write_file(self.etc / "guard.json", json.dumps(known))

    def describe(self) -> dict[str, Any]:
        """What `status` answers."""
        deadline_s = self.settings()["deadline_s"]
        return {
            "deadline_s": deadline_s if math.isfinite(deadline_s) else None,
            "now_s": self.now(lambda: None),
            "has_token": bool(self.read_token()),
            "last_tick_s": self.state.get("tick_s"),
            "reason": self.state.get("ending", {}).get("reason"),
            "fetched": self.is_fetched(self.find_job()),
        }


def complain(answer: tuple[int, str | None, bytes]) -> None:
    """Say why the API did not do it; its own words, where it gives any."""
    words = "the token was refused" if answer[0] == 401 else answer[2].decode(errors="replace")
    say(f"the API answered {answer[0]}: {words[:200]}")


def wait_until(is_so: Callable[[], bool], timeout_s: float) -> None:
    limit = time.monotonic() + timeout_s
    while not is_so() and time.monotonic() < limit:
        time.sleep(POLL_S)


def main(argv: list[str]) -> int | str:
    """Do what the first argument names. A text that is returned says what was wrong."""
    os.umask(0o077)
    verb, rest = argv[0] if argv else "", argv[1:]
    if (verb, len(rest)) not in VERBS:
        return __doc__ or ""
    if verb == "job":
        print(json.dumps(find_job(Path(rest[0]), rest[1])))
        return 0
    etc = Path(os.environ.get("SEGAWAY_GUARD_ETC", "/etc/segaway"))
    var = Path(os.environ.get("SEGAWAY_GUARD_STATE", "/var/lib/segaway"))
    if verb == "tick":
        alone = os.open(etc, os.O_RDONLY)  # a folder can be locked on a full disk, too
        try:
            fcntl.flock(alone, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return 0
        guard = Guard(etc, var)
        if not safely(guard.tick):
            guard.state = {}  # it may be what it remembers that it stumbles over
            safely(guard.tick)
        os.close(alone)
        return 0
    guard = Guard(etc, var)
    if verb == "extend":
        deadline_s = parse_time(rest[0])
        if deadline_s is None:
            return "a deadline is a number of seconds since 1970"
        guard.extend(deadline_s, sys.stdin.readline().strip())
    elif verb == "fetched" and not guard.note_fetched():
        return "the job is not over"
    print(json.dumps(guard.describe()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

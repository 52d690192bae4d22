"""systemctl, without a systemd behind it: services and timers of /etc/systemd/system.

Each running unit is a process of its own, which the machine's process 1 buries. Its output goes to
/var/log/journal-NAME.log.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

ETC, RUN, POWER = Path("/etc/systemd/system"), Path("/run/units"), Path("/run/power")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SPAN_S = {
    **{"us": 1e-6, "usec": 1e-6, "ms": 1e-3, "msec": 1e-3, "s": 1.0, "sec": 1.0, "second": 1.0},
    **{"seconds": 1.0, "m": 60.0, "min": 60.0, "minute": 60.0, "minutes": 60.0, "h": 3600.0},
    **{"hr": 3600.0, "hour": 3600.0, "hours": 3600.0, "d": 86400.0, "day": 86400.0},
    **{"days": 86400.0, "": 1.0},
}
# What this stand-in for a machine needs so that its programs are found, and its containers run.
MACHINE_S_OWN = ("PATH", "OMP_NUM_THREADS", "CONTAINERS_CONF")
Section = dict[str, list[str]]


def read_unit(name: str) -> dict[str, Section]:
    """The unit's sections. Ends the program where there is no such unit."""
    path = ETC / name
    if not path.exists():
        sys.exit(f"Failed to start {name}: Unit {name} not found.")
    sections: dict[str, Section] = {}
    section: Section = {}
    lines = path.read_text().replace("\\\n", " ").splitlines()
    for line in map(str.strip, lines):
        if line.startswith("["):
            section = sections.setdefault(line.strip("[]"), {})
        elif line and line[0] not in "#;":
            key, _, value = line.partition("=")
            section.setdefault(key.strip(), []).append(value.strip())
    return sections


def get(section: Section, key: str, default: str = "") -> str:
    """The last of the values that the key is given."""
    return (section.get(key) or [default])[-1]


def parse_span(text: str) -> float:
    """A systemd time span, in seconds."""
    parts = re.findall(r"([\d.]+)\s*([a-z]*)", text)
    return sum(float(number) * SPAN_S[unit] for number, unit in parts)


def make_environment(service: Section) -> dict[str, str]:
    environment = {"PATH": PATH, "HOME": "/root", "LANG": "C"}
    environment |= {key: os.environ[key] for key in MACHINE_S_OWN if key in os.environ}
    for line in service.get("Environment", []):
        environment |= dict(word.partition("=")[::2] for word in shlex.split(line))
    for name in service.get("EnvironmentFile", []):
        path = Path(name.lstrip("-"))
        if name.startswith("-") and not path.exists():
            continue
        for line in path.read_text().splitlines():
            if line.strip() and not line.lstrip().startswith(("#", ";")):
                key, _, value = line.strip().partition("=")
                environment[key] = " ".join(shlex.split(value))
    return environment


def run_service(name: str) -> int:
    """All its commands, one after the other; the status of the one that failed."""
    service = read_unit(name).get("Service", {})
    environment = make_environment(service)
    for line in [*service.get("ExecStartPre", []), *service.get("ExecStart", [])]:
        bare = line.lstrip("-@:+!")
        may_fail = "-" in line[: len(line) - len(bare)]
        words = [expand(word, environment) for word in shlex.split(bare)]
        try:
            code = subprocess.run(
                words, env=environment, cwd=get(service, "WorkingDirectory", "/"), check=False
            ).returncode
        except OSError as error:
            print(f"{name}: {error}", flush=True)
            code = 203
        if code and not may_fail:
            return code
    return 0


def expand(word: str, environment: dict[str, str]) -> str:
    found = re.sub(r"\$\{(\w+)\}", lambda match: environment.get(match[1], ""), word)
    found = re.sub(r"^\$(\w+)$", lambda match: environment.get(match[1], ""), found)
    return found.replace("$$", "$").replace("%%", "%")


def run_timer(name: str) -> None:
    """Starts its service whenever it is time, for as long as the machine lives."""
    timer = read_unit(name).get("Timer", {})
    unit = get(timer, "Unit", name.replace(".timer", ".service"))
    began, boot = time.monotonic(), float((RUN / "boot").read_text())
    firsts = [began + parse_span(text) for text in timer.get("OnActiveSec", [])]
    firsts += [boot + parse_span(text) for text in timer.get("OnBootSec", [])]
    firsts += [parse_calendar(text) for text in timer.get("OnCalendar", [])]
    repeats = [parse_span(text) for text in timer.get("OnUnitActiveSec", [])]
    dues = sorted(firsts)
    while dues:
        time.sleep(max(0.0, dues.pop(0) - time.monotonic()))
        started = time.monotonic()
        activate(unit, waits=True)
        # Of those that have gone by meanwhile, one is enough.
        dues = sorted(due for due in dues if due > started)
        if repeats:
            dues = sorted([*dues, started + min(repeats)])


def parse_calendar(text: str) -> float:
    """A moment of the monotonic clock. Only whole dates are understood, in UTC."""
    moment = datetime.strptime(text.removesuffix(" UTC"), "%Y-%m-%d %H:%M:%S")
    left_s = moment.replace(tzinfo=UTC).timestamp() - time.time()
    return time.monotonic() + left_s if left_s > 0 else float("inf")


def spawn(name: str) -> None:
    """A process that is the running unit."""
    log = open(f"/var/log/journal-{name}.log", "ab")  # noqa: SIM115  # the child has it
    command = [sys.executable, "-IS", sys.argv[0], "__run", name]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/"
    )
    (RUN / f"{name}.pid").write_text(str(process.pid))


def run_unit(name: str) -> int:
    """Be the unit."""
    if name.endswith(".timer"):
        run_timer(name)
        return 0
    code = run_service(name)
    (RUN / f"{name}.result").write_text(str(code))
    return code


def find_pid(name: str) -> int:
    """The unit's process; 0 where it does not run."""
    try:
        pid = int((RUN / f"{name}.pid").read_text())
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, ValueError):
        return 0
    return pid if name.encode() in words and state != "Z" else 0


def activate(name: str, waits: bool) -> int:
    """Start it, unless it runs. Of one that does something once, the end is waited for."""
    sections = read_unit(name)
    if find_pid(name):
        return 0
    (RUN / f"{name}.result").unlink(missing_ok=True)
    spawn(name)
    if not waits or get(sections.get("Service", {}), "Type") != "oneshot":
        return 0
    while find_pid(name):
        time.sleep(0.01)
    result = RUN / f"{name}.result"
    return int(result.read_text()) if result.exists() else 1


def deactivate(name: str) -> None:
    """Kill it, and all that it has started."""
    if pid := find_pid(name):
        os.killpg(pid, signal.SIGTERM)
        limit = time.monotonic() + 5
        while find_pid(name) and time.monotonic() < limit:
            time.sleep(0.01)
        if find_pid(name):
            os.killpg(pid, signal.SIGKILL)
    (RUN / f"{name}.result").unlink(missing_ok=True)


def find_state(name: str) -> str:
    """As is-active says it."""
    if find_pid(name):
        is_once = name.endswith(".service") and (
            get(read_unit(name).get("Service", {}), "Type") == "oneshot"
        )
        return "activating" if is_once else "active"
    result = RUN / f"{name}.result"
    if not result.exists():
        return "inactive"
    if result.read_text() != "0":
        return "failed"
    stays = get(read_unit(name).get("Service", {}), "RemainAfterExit").lower()
    return "active" if stays in ("yes", "true", "1") else "inactive"


def find_wants(name: str) -> list[Path]:
    """The links that make it start at boot."""
    targets = read_unit(name).get("Install", {}).get("WantedBy", [])
    return [ETC / f"{target}.wants" / name for line in targets for target in line.split()]


def enable(name: str) -> None:
    """It starts at each boot from here on."""
    for link in find_wants(name):
        link.parent.mkdir(exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(ETC / name)


def disable(name: str) -> None:
    """It starts at no boot."""
    for link in ETC.glob(f"*.wants/{name}"):
        link.unlink()


def boot() -> None:
    """What is enabled starts."""
    RUN.mkdir(exist_ok=True)
    for name in sorted({link.name for link in ETC.glob("*.wants/*")}):
        if (ETC / name).exists() and name.endswith((".service", ".timer")):
            activate(name, waits=False)


def main(words: Sequence[str]) -> int:
    """One command line."""
    flags = {word for word in words if word.startswith("-")}
    verb, *names = [word for word in words if not word.startswith("-")]
    names = [name if "." in name else f"{name}.service" for name in names]
    waits = "--no-block" not in flags
    RUN.mkdir(exist_ok=True)
    if verb in ("daemon-reload", "reset-failed", "daemon-reexec"):
        return 0
    if verb in ("poweroff", "halt", "reboot"):
        POWER.write_text("reboot" if verb == "reboot" else "poweroff")
        return 0
    if verb == "__boot":
        boot()
        return 0
    if verb == "__run":
        return run_unit(names[0])
    if verb == "is-active":
        states = [find_state(name) for name in names]
        if not flags & {"-q", "--quiet"}:
            print("\n".join(states))
        return 0 if "active" in states else 3
    if verb == "is-enabled":
        enabled = [any(ETC.glob(f"*.wants/{name}")) for name in names]
        print("\n".join("enabled" if one else "disabled" for one in enabled))
        return 0 if any(enabled) else 1
    return max([change(verb, name, "--now" in flags, waits) for name in names], default=0)


def change(verb: str, name: str, now: bool, waits: bool) -> int:
    """One verb that changes one unit; its status."""
    if verb not in ("enable", "disable", "start", "stop", "restart", "try-restart"):
        sys.exit(f"Unknown command verb {verb}.")
    if verb in ("enable", "disable"):
        (enable if verb == "enable" else disable)(name)
        verb = {"enable": "start", "disable": "stop"}[verb] if now else ""
    if verb in ("stop", "restart", "try-restart"):
        deactivate(name)
    if verb in ("start", "restart", "try-restart"):
        return activate(name, waits)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

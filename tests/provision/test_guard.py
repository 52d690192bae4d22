"""The dead-man switch by itself: what time it is, whether to end, and what it deletes."""

import errno
import fcntl
import io
import json
import os
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from provision import guard
from provision.guard import choose_machine, settle_time
from tests.conftest import wait_until
from tests.provision.api import BUSY, DROP, Api

DAY_S = 86400.0
START_S = 2e9
LABEL = "segaway-r-abcde-node"
SURE = {"boot": "a", "at_s": START_S, "up_s": 100.0, "sure": True, "last_s": START_S + 40}


def silent() -> None:
    """A witness that cannot be reached."""


@pytest.mark.parametrize(
    ("wall_s", "boot", "witness_s", "now_s"),
    [
        pytest.param(START_S + 51, "a", 0.0, START_S + 51, id="a clock that fits is believed"),
        pytest.param(START_S - 9, "a", 0.0, START_S - 9, id="also a little behind"),
        pytest.param(START_S - DAY_S, "a", START_S + 50, START_S + 50, id="set back: the witness"),
        pytest.param(START_S - DAY_S, "a", None, START_S + 50, id="set back: the count"),
        pytest.param(START_S + DAY_S, "a", START_S + 50, START_S + 50, id="leapt: the witness"),
        pytest.param(START_S + DAY_S, "a", None, START_S + 50, id="leapt: the count"),
        pytest.param(START_S + 200, "b", START_S + 999, START_S + 999, id="rebooted: the witness"),
        pytest.param(START_S + DAY_S, "b", None, START_S + DAY_S, id="rebooted: it may have been"),
        pytest.param(START_S - DAY_S, "b", None, START_S + 190, id="rebooted: at least the count"),
    ],
)
def test_it_knows_the_time(wall_s: float, boot: str, witness_s: float | None, now_s: float) -> None:
    assert settle_time(SURE, wall_s, 150.0, boot, lambda: witness_s)[0] == now_s


def test_without_a_memory_it_asks_and_else_believes_the_clock() -> None:
    assert settle_time({}, START_S, 9.0, "a", lambda: START_S + 5)[0] == START_S + 5
    now_s, known = settle_time({}, START_S, 9.0, "a", silent)
    assert (now_s, known["sure"]) == (START_S, False)


def test_a_witness_is_asked_once_in_a_boot_while_the_clock_is_right() -> None:
    asked: list[int] = []

    def ask() -> float:
        asked.append(1)
        return START_S

    known: dict[str, Any] = {}
    for second in range(0, 3000, 20):
        _, known = settle_time(known, START_S + second, 10.0 + second, "a", ask)
    assert len(asked) == 1


# What happens between two ticks: how long it takes, by how much somebody sets the clock, and
# whether the machine is off for a while and starts again.
EVENTS = st.lists(
    st.tuples(
        st.floats(0, 3 * DAY_S), st.floats(-400 * DAY_S, 400 * DAY_S), st.booleans(), st.booleans()
    ),
    max_size=30,
)


class Universe:
    """True time, and the clocks of a machine in it."""

    def __init__(self) -> None:
        self.true_s, self.set_s, self.up_s, self.boot = START_S, 0.0, 50.0, 0
        self.known: dict[str, Any] = {}

    def live(self, passed_s: float, set_s: float, reboots: bool) -> None:
        self.true_s += passed_s + (5.0 if reboots else 0.0)
        self.up_s = 5.0 if reboots else self.up_s + passed_s
        self.boot += reboots
        self.set_s += set_s

    def tick(self, has_witness: bool) -> float:
        """How far ahead of the truth its idea of the time is."""
        witness_s = self.true_s if has_witness else None
        wall_s = self.true_s + self.set_s
        now_s, self.known = settle_time(
            self.known, wall_s, self.up_s, str(self.boot), lambda: witness_s
        )
        return now_s - self.true_s


@given(EVENTS)
def test_with_a_witness_no_clock_makes_it_late_or_early(
    events: list[tuple[float, float, bool, bool]],
) -> None:
    universe = Universe()
    for passed_s, set_s, reboots, _ in events:
        universe.live(passed_s, set_s, reboots)
        assert -guard.BEHIND_S - 1 <= universe.tick(True) <= guard.AHEAD_S + 1


@given(EVENTS)
def test_a_witness_that_answers_now_and_then_is_enough_where_nothing_reboots(
    events: list[tuple[float, float, bool, bool]],
) -> None:
    universe = Universe()
    universe.tick(True)
    for passed_s, set_s, _, has_witness in events:
        universe.live(passed_s, set_s, False)
        assert -guard.BEHIND_S - 1 <= universe.tick(has_witness) <= guard.AHEAD_S + 1


@given(EVENTS)
def test_without_a_witness_a_clock_that_nobody_sets_keeps_it_right(
    events: list[tuple[float, float, bool, bool]],
) -> None:
    universe = Universe()
    for passed_s, _, reboots, _ in events:
        universe.live(passed_s, 0.0, reboots)
        assert abs(universe.tick(False)) < 1


@given(EVENTS)
def test_without_a_witness_no_clock_makes_it_forget_what_it_lived_through(
    events: list[tuple[float, float, bool, bool]],
) -> None:
    """Time that it was off is unknown then; all other time counts."""
    universe, lived_s = Universe(), 0.0
    universe.tick(False)
    for passed_s, set_s, reboots, _ in events:
        universe.live(passed_s, set_s, reboots)
        lived_s += 5.0 if reboots else passed_s
        # Each boot may lose as much as a clock may be off unnoticed.
        slack_s = (guard.BEHIND_S + 1) * (universe.boot + 1)
        assert universe.true_s + universe.tick(False) >= START_S + lived_s - slack_s


def machine(number: int, label: str, *addresses: str) -> dict[str, Any]:
    return {"id": number, "label": label, "ipv4": list(addresses)}


@pytest.mark.parametrize(
    ("machines", "own", "found"),
    [
        ([machine(1, LABEL, "1.1.1.1")], {"1.1.1.1"}, 1),
        ([machine(1, f"{LABEL}-1700000000", "1.1.1.1")], {"1.1.1.1", "10.0.0.2"}, 1),
        ([machine(1, f"{LABEL}.x", "1.1.1.1")], set(), 1),
        ([machine(1, LABEL, "1.1.1.1")], {"10.0.0.2"}, 1),
        ([machine(1, LABEL, "1.1.1.1"), machine(2, f"{LABEL}-2", "2.2.2.2")], {"2.2.2.2"}, 2),
        ([machine(1, f"{LABEL}-1", "1.1.1.1")], {"10.0.0.2"}, None),
        ([machine(1, f"{LABEL}2", "1.1.1.1")], {"1.1.1.1"}, None),
        ([machine(1, f"my-{LABEL}", "1.1.1.1")], {"1.1.1.1"}, None),
        ([machine(1, f"{LABEL}-1", "1.1.1.1"), machine(2, f"{LABEL}-2", "2.2.2.2")], set(), None),
        ([machine(1, LABEL, "1.1.1.1"), machine(2, f"{LABEL}-2", "1.1.1.1")], {"1.1.1.1"}, None),
        ([], {"1.1.1.1"}, None),
    ],
    ids=[
        *("label and address", "a label that goes on", "no address known", "behind NAT"),
        *("the address decides", "a longer label alone", "another number", "another beginning"),
        *("two of a kind", "two with our address", "none"),
    ],
)
def test_only_what_is_surely_this_machine_is_chosen(
    machines: list[dict[str, Any]], own: set[str], found: int | None
) -> None:
    assert choose_machine(machines, LABEL, own) == found


def test_no_label_chooses_no_machine() -> None:
    assert choose_machine([machine(1, "", "1.1.1.1")], "", {"1.1.1.1"}) is None


class Node:
    """A machine's folders and clocks, and the guard's program on it, run in this process."""

    def __init__(self, folder: Path, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        self.etc, self.var, self.root = folder / "etc", folder / "var", folder / "volume"
        self.api = api
        self.clock = [START_S, 100.0, "a"]
        self.connections = 0
        self.etc.mkdir()
        self.write_settings(deadline_s=START_S + 1000)
        (self.etc / "token").write_text("right\n")
        monkeypatch.setenv("SEGAWAY_GUARD_ETC", str(self.etc))
        monkeypatch.setenv("SEGAWAY_GUARD_STATE", str(self.var))
        monkeypatch.setattr(guard, "read_clocks", lambda: tuple(self.clock))
        monkeypatch.setattr(guard, "count_connections", lambda: self.connections)
        monkeypatch.setattr(guard, "find_addresses", lambda: {"1.1.1.1"})
        monkeypatch.setattr(guard, "ask_time", lambda _url: self.clock[0])
        call = guard.call
        # This machine's own disks are not the ones to wait for.
        skip = (0, "")
        monkeypatch.setattr(guard, "call", lambda a, t: skip if a[0] == "sync" else call(a, t))

    def write_settings(self, **changes: Any) -> None:
        settings = {
            **{"run": "r", "label": LABEL, "api_url": self.api.url()},
            **{"idle_s": 600, "root": str(self.root), "transfer_s": 0, "grace_s": 1},
        }
        (self.etc / "guard.json").write_text(json.dumps({**settings, **changes}))

    def write_job(self, **changes: Any) -> None:
        folder = self.root / ".segaway" / "jobs" / "r"
        folder.mkdir(parents=True, exist_ok=True)
        job = {"state": "finished", "started_s": 1, "ended_s": 2, "pid": 0, "supervisor": None}
        (folder / "job.json").write_text(json.dumps({**job, "spec": {}, **changes}))

    def pass_s(self, seconds: float) -> None:
        self.clock[0] += seconds  # type: ignore[operator]  # seconds, both
        self.clock[1] += seconds  # type: ignore[operator]

    def call(self, *argv: str) -> int | str:
        mask = os.umask(0o022)
        try:
            return guard.main(list(argv))
        finally:
            # It is a process of its own on a node; here others come after it.
            os.umask(mask)

    def tick(self) -> None:
        assert self.call("tick") == 0


@pytest.fixture
def api() -> Iterator[Api]:
    api = Api()
    api.add(7, LABEL, "1.1.1.1")
    yield api
    api.close()


@pytest.fixture
def node(tmp_path: Path, api: Api, monkeypatch: pytest.MonkeyPatch) -> Node:
    return Node(tmp_path, api, monkeypatch)


@pytest.fixture
def late(node: Node) -> Node:
    """One whose deadline has passed."""
    node.pass_s(1000)
    return node


def test_before_its_deadline_a_machine_stays(node: Node, api: Api) -> None:
    node.connections = 1
    for _ in range(3):
        node.pass_s(300)
        node.tick()
    assert not api.deleted


def test_at_its_deadline_a_machine_goes(late: Node, api: Api) -> None:
    late.tick()
    assert api.deleted == [7]


@pytest.mark.parametrize(
    "mood",
    [BUSY, DROP, (429, {"errors": [{"reason": "Too many requests"}]}), (500, {})],
    ids=["busy", "lost", "too many", "broken"],
)
def test_what_the_api_refuses_for_now_is_asked_again(
    late: Node, api: Api, mood: tuple[int, dict[str, Any]]
) -> None:
    api.moods = [mood, mood]
    for _ in range(2):
        late.tick()
        assert not api.deleted
        late.pass_s(20)
    late.tick()
    assert api.deleted == [7]


def test_an_api_that_is_away_is_asked_again(late: Node, api: Api) -> None:
    late.write_settings(deadline_s=START_S + 1000, api_url="http://127.0.0.1:1/v4")
    late.tick()
    late.write_settings(deadline_s=START_S + 1000)
    late.tick()
    assert api.deleted == [7]


def test_a_machine_that_is_gone_already_is_no_error(late: Node, api: Api) -> None:
    api.moods = [(404, {"errors": [{"reason": "Not found"}]})]
    late.tick()
    assert api.asked[-1] == "DELETE /v4/linode/instances/7"


def test_a_refused_token_is_said_and_a_new_one_tried(
    late: Node, api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    (late.etc / "token").write_text("wrong\n")
    late.tick()
    told = capsys.readouterr().out
    assert "the token was refused" in told
    assert "wrong" not in told
    (late.etc / "token").write_text("right")
    late.tick()
    assert api.deleted == [7]


def test_a_token_that_cannot_be_sent_is_not_told(
    late: Node, capsys: pytest.CaptureFixture[str]
) -> None:
    (late.etc / "token").write_text("secret\nsecret ü")
    late.tick()
    assert "secret" not in capsys.readouterr().out


def test_without_a_token_it_says_that_it_cannot(
    late: Node, api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    (late.etc / "token").unlink()
    late.tick()
    assert "it has no token" in capsys.readouterr().out
    assert not api.deleted


def test_someone_elses_machine_is_left_alone(late: Node, api: Api) -> None:
    api.machines.clear()
    api.add(8, f"{LABEL}-2", "2.2.2.2")
    api.add(9, "precious", "1.1.1.1")
    late.tick()
    assert not api.deleted
    assert not any(line.startswith("DELETE") for line in api.asked)


@pytest.mark.parametrize("spoilt", [None, "", "{", "[]", '{"deadline_s": "soon", "label": ""}'])
def test_settings_that_are_lost_leave_the_deadline_that_was_known(
    node: Node, api: Api, spoilt: str | None
) -> None:
    node.connections = 1
    node.tick()
    (node.etc / "guard.json").unlink()
    if spoilt is not None:
        (node.etc / "guard.json").write_text(spoilt)
    node.pass_s(990)
    node.tick()
    assert not api.deleted
    node.pass_s(10)
    node.tick()
    assert api.deleted == [7]


@pytest.mark.parametrize("deadline_s", [float("inf"), float("nan"), -1, 0, None, "x", True])
def test_a_deadline_cannot_be_removed(node: Node, api: Api, deadline_s: Any) -> None:
    node.connections = 1
    node.tick()
    node.write_settings(deadline_s=deadline_s)
    node.pass_s(1000)
    node.tick()
    assert api.deleted == [7]


def test_without_any_deadline_the_idle_limit_holds(node: Node, api: Api) -> None:
    node.write_settings()
    node.connections = 1
    node.tick()
    node.pass_s(100 * DAY_S)
    node.tick()
    node.connections = 0
    node.pass_s(599)
    node.tick()
    assert not api.deleted
    node.pass_s(1)
    node.tick()
    assert api.deleted == [7]


def test_without_any_settings_nothing_is_touched(late: Node, api: Api) -> None:
    (late.etc / "guard.json").unlink()
    late.tick()
    late.pass_s(DAY_S)
    late.tick()
    assert not api.deleted


def test_a_full_disk_does_not_keep_a_machine(
    late: Node, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_path: Path, _text: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(guard, "write_file", refuse)
    late.tick()
    assert api.deleted == [7]


def test_what_it_cannot_make_sense_of_in_its_memory_is_forgotten(late: Node, api: Api) -> None:
    late.var.mkdir()
    spoilt = {"time": 5, "seen": "x", "ending": {"reason": "x"}, "job": []}
    (late.var / "guard.json").write_text(json.dumps(spoilt))
    late.tick()
    assert api.deleted == [7]


def test_a_disk_that_is_full_is_not_filled_further(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    guard.safely(guard.write_file, tmp_path / "state", "x")
    assert not list(tmp_path.iterdir())


def test_an_error_in_any_step_does_not_keep_a_machine(
    late: Node, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError

    for name in ("find_job", "is_mounted", "wait_until", "call", "kill_job", "ask_time"):
        monkeypatch.setattr(guard, name, fail)
    late.tick()
    assert api.deleted == [7]


def test_a_job_that_cannot_be_looked_at_is_what_it_was(
    node: Node, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a volume that hangs: a training that may still run is not idle."""
    folder = node.root / ".segaway" / "jobs" / "r"
    node.write_job(state="running")
    with (folder / "job.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        node.tick()
        monkeypatch.setattr(guard, "call", lambda _argv, _timeout_s: (None, ""))
        node.pass_s(900)
        node.tick()
    assert not api.deleted


def test_a_running_job_is_not_idle(node: Node, api: Api) -> None:
    folder = node.root / ".segaway" / "jobs" / "r"
    node.write_job(state="running")
    with (folder / "job.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        node.tick()
        node.pass_s(900)
        node.tick()
        assert not api.deleted
    node.tick()  # its supervisor has died now
    node.write_settings(deadline_s=START_S + 2000)
    node.pass_s(600)
    node.tick()
    assert api.deleted == [7]


def test_a_job_that_failed_and_was_not_fetched_waits_for_the_idle_limit(
    node: Node, api: Api
) -> None:
    node.write_job(state="failed")
    node.tick()
    node.pass_s(500)
    node.tick()
    assert not api.deleted
    node.pass_s(100)
    node.tick()
    assert api.deleted == [7]


def test_fetched_results_leave_the_laptop_some_time(
    node: Node, api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    node.write_job()
    assert node.call("fetched") == 0
    assert json.loads(capsys.readouterr().out)["fetched"] is True
    node.tick()
    node.pass_s(299)
    node.tick()
    assert not api.deleted
    node.pass_s(1)
    node.tick()
    assert api.deleted == [7]


def test_a_job_that_still_runs_has_no_results_to_be_fetched(node: Node) -> None:
    assert node.call("fetched") == "the job is not over"


def test_results_of_a_later_attempt_are_not_fetched_yet(node: Node, api: Api) -> None:
    node.write_job(state="stopped")
    node.call("fetched")
    node.tick()
    node.write_job(ended_s=3)
    node.pass_s(400)
    node.tick()
    assert not api.deleted


def test_a_clock_that_leaps_ends_nothing_before_its_time(
    node: Node, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.connections = 1
    node.tick()
    node.clock[0] = START_S + DAY_S
    monkeypatch.setattr(guard, "ask_time", lambda _url: None)
    node.tick()
    assert not api.deleted


def test_a_reboot_in_the_middle_of_the_end_does_not_stop_it(node: Node, api: Api) -> None:
    api.moods = [BUSY]
    node.tick()
    node.pass_s(600)
    node.tick()
    assert not api.deleted
    node.clock = [START_S + 700, 9.0, "b"]
    node.tick()
    assert api.deleted == [7]


def test_a_deadline_that_is_moved_in_the_middle_of_the_end_puts_it_off(
    late: Node, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.moods = [BUSY]
    late.tick()
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert late.call("extend", str(START_S + 5000)) == 0
    late.tick()
    assert not api.deleted
    late.pass_s(599)
    late.tick()
    assert not api.deleted
    late.pass_s(1)
    late.tick()
    assert api.deleted == [7]


def test_a_moved_deadline_is_kept_with_its_new_token(node: Node, api: Api) -> None:
    api.token = "newer"
    node.write_settings(deadline_s=START_S + 1)
    answer = run_program(node, "extend", str(START_S + 500), stdin="newer\n")
    assert answer["deadline_s"] == START_S + 500
    assert (node.etc / "token").read_text() == "newer\n"
    assert (node.etc / "token").stat().st_mode & 0o777 == 0o600
    assert (node.etc / "guard.json").stat().st_mode & 0o777 == 0o600
    node.pass_s(400)
    node.tick()
    assert not api.deleted
    node.pass_s(100)
    node.tick()
    assert api.deleted == [7]


@pytest.mark.parametrize("deadline_s", ["inf", "nan", "-5", "0", "soon"])
def test_what_is_no_time_is_no_deadline(node: Node, deadline_s: str) -> None:
    before = (node.etc / "guard.json").read_text()
    assert "a deadline is" in str(node.call("extend", deadline_s))
    assert (node.etc / "guard.json").read_text() == before


def run_program(node: Node, *argv: str, stdin: str = "", python: str = sys.executable) -> Any:
    """As on a node: the one file, by a plain Python."""
    done = subprocess.run(
        [python, "-I", guard.__file__, *argv],
        env={
            **os.environ,
            **{"SEGAWAY_GUARD_ETC": str(node.etc), "SEGAWAY_GUARD_STATE": str(node.var)},
        },
        input=stdin,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout) if done.stdout.startswith("{") else done.stdout


def test_status_says_what_it_knows(node: Node) -> None:
    node.tick()
    status = run_program(node, "status")
    assert (status["deadline_s"], status["has_token"]) == (START_S + 1000, True)
    assert (status["last_tick_s"], status["reason"], status["fetched"]) == (START_S, None, False)
    assert status["now_s"] > 0


def test_two_ticks_do_not_work_side_by_side(late: Node, api: Api) -> None:
    folder = os.open(late.etc, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    assert run_program(late, "tick") == ""
    assert not api.asked
    os.close(folder)


def test_a_container_is_removed_by_its_engine(tmp_path: Path) -> None:
    job = {"state": "lost", "pid": 0, "argv": None, "remove": ["touch", str(tmp_path / "gone")]}
    guard.kill_job(job)
    assert (tmp_path / "gone").exists()


def test_a_process_that_took_the_jobs_number_is_left_alone() -> None:
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as other:
        command = Path(f"/proc/{other.pid}/cmdline")
        wait_until(lambda: command.read_bytes().startswith(b"sleep"))
        guard.kill_job({"state": "lost", "pid": other.pid, "argv": ["train"], "remove": None})
        assert other.poll() is None
        guard.kill_job({"state": "lost", "pid": other.pid, "argv": ["sleep", "60"], "remove": None})
        wait_until(lambda: other.poll() is not None)


def test_a_command_that_hangs_is_given_up() -> None:
    assert guard.call(["sleep", "60"], 0.1) == (None, "")


def test_any_answer_of_the_api_tells_the_time(api: Api) -> None:
    api.ahead_s = DAY_S
    seen_s = guard.ask_time(api.url())
    assert seen_s is not None
    assert abs(seen_s - time.time() - DAY_S) < 5
    assert guard.ask_time("http://127.0.0.1:1/v4") is None
    assert guard.ask_time("") is None


def serve_tls(folder: Path, not_after: datetime) -> tuple[str, Path]:
    """An address that answers over TLS, and the certificate that is to be trusted for it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "api")])
    host = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(datetime(2020, 1, 1, tzinfo=UTC)).not_valid_after(not_after)
    signed = made.add_extension(host, critical=False).sign(key, hashes.SHA256())
    path = folder / f"{not_after.year}.pem"
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(signed.public_bytes(Encoding.PEM) + secret)
    server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"https://127.0.0.1:{server.server_port}/v4", path


def test_over_tls_the_api_is_known_whatever_our_clock_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A certificate of the past is what one of today is to a clock that is set to the future."""
    past, trusted = serve_tls(tmp_path, datetime(2021, 1, 1, tzinfo=UTC))
    other, _ = serve_tls(tmp_path, datetime(2090, 1, 1, tzinfo=UTC))
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    assert guard.request(past, "GET", "/regions")[0] == 501
    with pytest.raises(ssl.SSLCertVerificationError):
        guard.request(other, "GET", "/regions")


def test_what_it_is_not_asked_to_do_it_does_not_do(late: Node, api: Api) -> None:
    for argv in ([], ["now"], ["extend"], ["tick", "tock"]):
        assert "guard.py tick" in str(late.call(*argv))
    assert not api.asked

"""Whole runs on the emulated Linode, whose nodes are machines that apply their user data."""

import base64
import contextlib
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from provision.base import make_label
from provision.ledger import Ledger
from tests.conftest import (
    LONGER,
    PODMAN,
    SHARED_DATA,
    TINY,
    LinodeLaptop,
    OpenLinode,
    count_epochs,
    need_shared,
    wait_until,
)
from tests.fakes.nodes import BedNode

pytestmark = pytest.mark.slow

PROCESS = ("--engine", "process")
CHECKER = SHARED_DATA.parent / "linode" / "contract_check.py"
EVEN_LONGER = ("--epochs", "4000", "--crop", "32", "--batch", "4")


@pytest.fixture
def laptop(open_linode: OpenLinode) -> LinodeLaptop:
    """A laptop whose nodes are machines."""
    return open_linode(nodes="netns")


def begin(laptop: LinodeLaptop, skies: Path, *flags: str) -> str:
    """A training that has begun and that nobody watches; its run."""
    answer = laptop.good("run", skies, *PROCESS, "--results", "out", "--detach", *flags)
    return str(answer["run"])


def wait_gone(laptop: LinodeLaptop, run: str, timeout_s: float) -> None:
    """Until the account has no node of the run any more."""
    wait_until(lambda: make_label(run, "node") not in laptop.labels(), timeout_s)


def test_a_whole_run_leaves_its_volume_alone_and_the_next_one_uses_it(
    laptop: LinodeLaptop,
) -> None:
    data = need_shared("hyta-waggle.zip")
    flags = (data, "--epochs", "1", *PODMAN, "--results", "out")
    first = laptop.good("run", *flags)
    assert first["state"] == "done"
    volume = make_label(first["run"], "volume")
    assert laptop.labels() == {volume}
    assert (Path(first["results"]) / "report.html").exists()
    (kept,) = laptop.good("volumes")
    assert (kept["label"], kept["dataset"]) == (volume, "hyta-waggle")
    second = laptop.run("run", *flags)
    assert second.code == 0, second.err
    assert "Synced 0 of 65 files, 0 B; the rest was there." in second.out
    assert "image is made" not in second.out
    assert laptop.labels() == {volume}
    assert len(laptop.bodies("/volumes")) == 1
    assert not laptop.emulator.state.complaints


@contextlib.contextmanager
def check_contract(upstream: str, folder: Path) -> Iterator[tuple[str, Path]]:
    """The checker, which we did not write, between segaway and the emulator."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    out = folder / "findings.jsonl"
    spec = ["--spec", str(CHECKER.with_name("spec-observed.json"))]
    proxy = ["--proxy", f"127.0.0.1:{port}", "--upstream", upstream, "--out", str(out)]
    process = subprocess.Popen(
        [sys.executable, str(CHECKER), *spec, *proxy], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout
        assert "proxy" in process.stdout.readline()
        yield f"http://127.0.0.1:{port}", out
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate()


def test_every_request_and_answer_of_a_run_keeps_the_contract(
    laptop: LinodeLaptop, skies: Path
) -> None:
    if not CHECKER.exists():
        pytest.skip("the contract's checker is not at hand: it may not be part of the project")
    upstream = laptop.emulator.url.removesuffix("/v4")
    with check_contract(upstream, laptop.folder) as (url, out):
        laptop.environment["LINODE_URL"] = url
        run = begin(laptop, skies, *LONGER)
        laptop.good("extend", run, "--hours", "1")
        laptop.good("run", "--resume", run)
        laptop.good("runs", "--all")
        laptop.good("volumes", "rm", make_label(run, "volume"), "--yes")
        laptop.good("sweep", "--yes")
    findings = [json.loads(line) for line in out.read_text().splitlines()]
    assert [f for f in findings if f["level"] == "error"] == []
    assert len(laptop.emulator.requests) > 80
    assert not laptop.labels()


def test_the_guard_alone_ends_a_node_at_its_deadline_and_nothing_is_lost(
    laptop: LinodeLaptop, skies: Path
) -> None:
    """The laptop is gone from the start; the node has a reboot behind it."""
    run = begin(laptop, skies, *EVEN_LONGER, "--max-hours", "0.03")
    node = laptop.node(run)
    log = f"/mnt/segaway/runs/{run}/events.jsonl"
    wait_until(lambda: '"epoch"' in node.run(["cat", log], check=False).stdout, 60)
    wait_gone(laptop, run, 240)
    # Its volume has all of it: the run can go on, with a deadline that has been moved.
    assert make_label(run, "volume") in laptop.labels()
    refused = laptop.run("run", "--resume", run)
    assert "The run's deadline has passed" in refused.err
    laptop.good("extend", run, "--hours", "1")
    process = laptop.start("run", "--resume", run)
    out = laptop.folder / "out" / run
    wait_until(lambda: count_epochs(out) > 2, 90)
    process.kill()
    # Whoever is killed may have written half of a line: the whole ones count.
    lines = (out / "events.jsonl").read_text().rpartition("\n")[0].splitlines()
    epochs = [json.loads(line)["epoch"] for line in lines if '"kind":"epoch"' in line]
    assert epochs == sorted(set(epochs))  # it went on from its checkpoint, and began nothing anew
    laptop.good("down", run, "--discard")
    assert laptop.labels() == {make_label(run, "volume")}


def test_the_guard_outlives_a_reboot_of_its_node(laptop: LinodeLaptop, skies: Path) -> None:
    run = begin(laptop, skies, *EVEN_LONGER)
    node = laptop.node(run)
    before = read_boot(node)
    move_end(node, 25)
    ask(laptop, "POST", f"{find_path(laptop, run)}/reboot", {})
    wait_until(lambda: read_boot(node) not in ("", before), 30)
    wait_gone(laptop, run, 120)


def read_boot(node: BedNode) -> str:
    """The kernel's name for the time since the node booted; empty while it does not run."""
    with contextlib.suppress(OSError):
        return node.run(["cat", "/proc/sys/kernel/random/boot_id"]).stdout
    return ""


def move_end(node: BedNode, seconds: float) -> None:
    """The node's deadline is in so many seconds, by the guard's own command."""
    deadline_s = str(time.time() + seconds)
    node.run(["python3", "/etc/segaway/guard.py", "extend", deadline_s])


def find_path(laptop: LinodeLaptop, run: str) -> str:
    """Where the account has the run's node."""
    label = make_label(run, "node")
    instances = laptop.emulator.state.instances.values()
    return next(f"/linode/instances/{one.id}" for one in instances if one.label == label)


def ask(laptop: LinodeLaptop, method: str, path: str, body: Any = None) -> None:
    """By the API, as somebody in the provider's web page would."""
    headers = {"Authorization": f"Bearer {laptop.emulator.token}"}
    url = laptop.emulator.url + path
    answer = requests.request(method, url, headers=headers, json=body, timeout=20)
    assert answer.ok, answer.text


def test_the_guard_ends_a_node_whose_job_hangs(laptop: LinodeLaptop, skies: Path) -> None:
    run = begin(laptop, skies, *EVEN_LONGER)
    node = laptop.node(run)
    move_end(node, 5)
    status = f"/mnt/segaway/.segaway/jobs/{run}/job.json"
    job = json.loads(node.run(["cat", status]).stdout)
    for pid in (job["pid"], job["supervisor"]):
        node.run(["kill", "-STOP", str(pid)])
    wait_gone(laptop, run, 400)


def test_a_deadline_moves_on_node_label_and_record_and_the_old_token_is_revoked(
    laptop: LinodeLaptop, skies: Path
) -> None:
    run = begin(laptop, skies, *EVEN_LONGER, "--max-hours", "2", "--max-cost", "2")
    before = laptop.good("status", run)["deadline_s"]
    tokens = {t.label: t.secret for t in laptop.emulator.state.tokens.values() if run in t.label}
    refused = laptop.run("extend", run, "--hours", "4")
    assert "--max-cost is 2.00. Nothing was moved." in refused.err
    laptop.good("extend", run, "--hours", "4", "--max-cost", "5")
    after = laptop.good("status", run)["deadline_s"]
    assert after == pytest.approx(before + 4 * 3600, abs=1)
    guard = laptop.node(run).run(["python3", "/etc/segaway/guard.py", "status"]).stdout
    assert json.loads(guard)["deadline_s"] == pytest.approx(after, abs=1)
    (found,) = (f for f in laptop.good("runs", "--all")["found"] if f["kind"] == "node")
    assert found["deadline_s"] == pytest.approx(after, abs=60)
    now = {t.label: t.secret for t in laptop.emulator.state.tokens.values() if run in t.label}
    assert len(now) == 1
    assert not set(now) & set(tokens)
    held = laptop.node(run).run(["cat", "/etc/segaway/token"]).stdout.strip()
    assert [held] == list(now.values())
    laptop.good("down", run, "--discard")


def test_a_node_with_another_host_key_is_refused_and_given_back(
    laptop: LinodeLaptop, skies: Path
) -> None:
    laptop.emulator.inject(
        {"method": "POST", "path": "/linode/instances$", "kind": "other-host-key"}
    )
    answer = laptop.run("run", skies, *TINY, *PROCESS)
    assert answer.code == 1
    assert "shows another host key than the one made for this run. Nothing was sent" in answer.err
    assert not laptop.labels()


def test_a_node_whose_driver_does_not_come_is_given_back_with_its_last_words(
    open_linode: OpenLinode, skies: Path
) -> None:
    laptop = open_linode(nodes="netns", driver_delay_s=600.0)
    answer = laptop.run("run", skies, *TINY, *PROCESS, "--boot-minutes", "0.15")
    assert answer.code == 1
    assert re.search(r"is not ready: .* ends with 1", answer.err)
    assert "Its installation said last: " in answer.err
    assert "--boot-minutes" in answer.err
    assert not laptop.labels()


def test_an_address_that_another_machine_has_by_now_is_refused(
    open_linode: OpenLinode, skies: Path
) -> None:
    laptop = open_linode(nodes="netns", reuse_addresses=True)
    run = begin(laptop, skies, *EVEN_LONGER)
    address = laptop.node(run).address
    ask(laptop, "DELETE", find_path(laptop, run))
    wait_gone(laptop, run, 30)
    other = {"label": "somebody-else", "type": "g6-nanode-1", "region": "us-ord"}
    other |= {"image": "linode/debian12", "root_pass": "not-ours-at-all"}
    ask(laptop, "POST", "/linode/instances", other)
    stranger = laptop.emulator.find_node("somebody-else")
    wait_until(lambda: stranger.is_alive() and stranger.is_up(), 30)
    assert stranger.address == address
    for verb in ("attach", "fetch", "sync"):
        refused = laptop.run(verb, run)
        assert refused.code == 3
        assert "shows another host key" in refused.err, refused.err
    log = stranger.run(["sh", "-c", "cat /var/log/*.log"], check=False).stdout
    assert "Accepted" not in stranger.read_console() + log
    laptop.good("down", run, "--discard")
    assert "somebody-else" in laptop.labels()


def test_a_laptop_that_dies_while_its_node_boots_is_gone_on_with(
    open_linode: OpenLinode, skies: Path
) -> None:
    laptop = open_linode(nodes="netns", delay_s=1.0)
    process = laptop.start("run", skies, *TINY, *PROCESS, "--results", "out")
    wait_until(lambda: any(label.endswith("-node") for label in laptop.labels()), 60)
    process.kill()
    process.communicate()
    (run,) = (row["run"] for row in laptop.good("runs"))
    answer = laptop.good("run", "--resume", run)
    assert answer["state"] == "done"
    assert laptop.labels() == {make_label(run, "volume")}
    assert len([b for b in laptop.bodies("/linode/instances") if run in b["label"]]) == 1


class Spy:
    """Everything that any process on this machine had as an argument, while it was looked at."""

    def __init__(self) -> None:
        self.seen: set[bytes] = set()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._ended.wait(0.01):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    self.seen.add(path.read_bytes())

    def end(self) -> bytes:
        self._ended.set()
        self._thread.join()
        return b"\n".join(self.seen)


def read_files(*folders: Path) -> dict[str, bytes]:
    """All that is written below these folders, by path."""
    return {
        str(path): path.read_bytes()
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file()
    }


def list_secrets(laptop: LinodeLaptop, minted: list[str]) -> dict[str, bytes]:
    """What nobody may find, by what it is."""
    (body,) = laptop.bodies("/linode/instances")
    user_data = base64.b64decode(body["metadata"]["user_data"]).decode()
    config: dict[str, Any] = json.loads(user_data.partition("\n")[2])
    key = config["ssh_keys"]["ed25519_private"].splitlines()[2]
    assert minted
    assert minted[0] in user_data
    named = {"token": laptop.environment["LINODE_TOKEN"], "root password": body["root_pass"]}
    return {
        **{name: text.encode() for name, text in named.items()},
        **{f"minted token {n}": text.encode() for n, text in enumerate(minted)},
        "host key": key.encode(),
    }


def test_secrets_are_found_in_no_log_ledger_plan_event_process_list_or_traceback(
    laptop: LinodeLaptop, skies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, minted = laptop.emulator.state, []
    add = state.add_token

    def add_token(*arguments: Any, **more: Any) -> Any:
        made = add(*arguments, **more)
        minted.append(made.secret)
        return made

    monkeypatch.setattr(state, "add_token", add_token)
    laptop.environment["SEGAWAY_DEBUG"] = "1"
    plan = laptop.run("plan", skies, "--json")
    spy = Spy()
    try:
        begun = laptop.run(
            "run", skies, *PROCESS, *LONGER, "--results", "out", "--detach", "--json"
        )
        run = json.loads(begun.out)["run"]
        client_key = (laptop.home / "runs" / run / "client_key").read_bytes().splitlines()[2]
        node = laptop.node(run)
        logs = node.run(["sh", "-c", "cat /var/log/*.log /var/log/journal*"], check=False).stdout
        # A failure with a traceback: the cloud refuses something in the middle.
        laptop.emulator.inject({"method": "PUT", "path": "instances", "kind": "limit"})
        failed = laptop.run("extend", run, "--hours", "1")
        assert "Traceback" in failed.err
        rest = laptop.run("run", "--resume", run)
        assert rest.code == 0, rest.err
    finally:
        arguments = spy.end()
    with Ledger(laptop.home / "ledger.sqlite") as ledger:
        written = json.dumps([ledger.run(run).record, ledger.events(run)]).encode()
    said = [answer.out + answer.err for answer in (plan, begun, failed, rest)]
    places = {
        "ledger": written,
        "process list": arguments,
        "output and traceback": "".join(said).encode(),
        "the node's logs": logs.encode(),
        **read_files(laptop.home, laptop.folder / "out"),
    }
    secrets = {**list_secrets(laptop, minted), "client key": client_key}
    assert len(secrets) == 6
    found = [
        (name, place)
        for name, secret in secrets.items()
        for place, content in places.items()
        if secret in content
    ]
    assert found == []

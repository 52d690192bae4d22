"""OpenSSH's own tools on a run's node: ssh, scp, rsync, and the config that they read."""

import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.main import list_commands
from cli.sshclient import join_command
from provision.ledger import Ledger
from remote.keys import ensure_key
from tests.conftest import Laptop, wait_until

pytestmark = pytest.mark.skipif(not shutil.which("ssh"), reason="OpenSSH's client is not installed")


@pytest.fixture
def run(laptop: Laptop, dataset: Path) -> str:
    """A run with a node; the user's home is the laptop's folder."""
    laptop.environment["HOME"] = str(laptop.folder)
    return provision(laptop, dataset)


@pytest.fixture
def config(laptop: Laptop, run: str) -> Path:
    """The user's ssh config, which has been told of our nodes."""
    laptop.good("ssh-config", "--install")
    return laptop.folder / ".ssh" / "config"


def provision(laptop: Laptop, dataset: Path) -> str:
    return str(laptop.good("provision", "--dataset", dataset)["run"])


def call(*argv: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        argv, capture_output=True, text=True, check=False, timeout=60, stdin=subprocess.DEVNULL
    )


def change_record(laptop: Laptop, run: str, **record: Any) -> None:
    with Ledger(laptop.home / "ledger.sqlite") as ledger:
        ledger.update_run(run, None, **record)


def test_a_command_has_its_output_and_its_status(laptop: Laptop, run: str) -> None:
    answer = laptop.run("ssh", run, "--", "echo", "hi")
    assert (answer.code, answer.out) == (0, "hi\n")
    answer = laptop.run("ssh", run, "--", "echo out; echo err >&2; exit 7")
    assert (answer.code, answer.out, answer.err) == (7, "out\n", "err\n")
    assert (laptop.home / "runs" / run / "known_hosts").read_text().startswith(f"{run} ssh-ed25519")


def test_words_arrive_as_they_are(laptop: Laptop, run: str) -> None:
    odd = ["a b", "$HOME", "'", "*", "--json", "-x"]
    assert laptop.run("ssh", run, "--", "printf", "%s|", *odd).out == "".join(f"{o}|" for o in odd)
    assert join_command([]) is None
    assert join_command(["ls *.py"]) == "ls *.py"
    assert join_command(["ls", "*.py"]) == "ls '*.py'"


def test_json_holds_what_the_command_said(laptop: Laptop, run: str) -> None:
    answer = laptop.run("ssh", run, "--json", "--", "echo out; echo err >&2; exit 7")
    assert answer.code == 7
    assert answer.json["argv"][0] == "ssh"
    assert answer.json | {"argv": None} == {
        "run": run,
        "argv": None,
        "exit_code": 7,
        "stdout": "out\n",
        "stderr": "err\n",
    }


def test_a_shell_has_no_json_value(laptop: Laptop, run: str) -> None:
    answer = laptop.run("ssh", run, "--json")
    assert answer.code == 2
    assert "A shell has no JSON value." in answer.err
    assert answer.json["fix"] == "Give a command: segaway ssh RUN --json -- COMMAND"


def test_a_failure_prints_no_json_for_a_flag_of_the_commands(laptop: Laptop, run: str) -> None:
    assert laptop.run("ssh", "no-such-run", "--", "x", "--json").out == ""


def test_a_shell_has_a_terminal(laptop: Laptop, run: str) -> None:
    """Typed into, resized by nobody, interrupted, and left with a status of its own."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [str(laptop.program), "ssh", run],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        cwd=laptop.folder,
        env={**laptop.environment, "TERM": "vt100"},
        start_new_session=True,
    )
    os.close(slave)
    try:
        os.write(master, b"test -t 0 && stty -echo && echo is-$((1+1))-tty in $TERM\n")
        read_until(master, b"is-2-tty in vt100")
        # A shell of its own, which Ctrl-C ends from its first word on: the outer one, as long as it
        # starts a program, still catches it for both.
        os.write(master, b"sh -c 'echo go; exec sleep 100' || echo s-$((2+2))\n")
        read_until(master, b"go")
        os.write(master, b"\x03")
        os.write(master, b"sleep 100 & echo bye-$((3+3)); exit 5\n")
        read_until(master, b"bye-6")
        assert process.wait(30) == 5
    finally:
        process.kill()
        os.close(master)


def read_until(terminal: int, awaited: bytes) -> bytes:
    shown, limit = b"", time.monotonic() + 30
    while awaited not in shown:
        assert time.monotonic() < limit, shown
        if select.select([terminal], [], [], 1)[0]:
            shown += os.read(terminal, 4096)
    return shown


def test_a_shell_that_is_left_ends_on_the_node(laptop: Laptop, run: str) -> None:
    from provision.sshnode import find_processes

    master, slave = pty.openpty()
    argv = [str(laptop.program), "ssh", run]
    environment = {**laptop.environment, "TERM": "vt100"}
    process = subprocess.Popen(
        argv, stdin=slave, stdout=slave, stderr=slave, cwd=laptop.folder, env=environment
    )
    os.close(slave)
    try:
        os.write(master, b"echo $((1+1))-here; sleep 1000\n")
        read_until(master, b"2-here")
        label = f"segaway-{run}-node"
        assert len(find_processes(label)) > 1
        process.kill()
        process.wait()
        wait_until(lambda: len(find_processes(label)) == 1, 20)
    finally:
        process.kill()
        os.close(master)


def test_a_node_with_another_key_is_refused(laptop: Laptop, run: str, tmp_path: Path) -> None:
    node = json.loads(json.dumps(read_node(laptop, run)))
    other = ensure_key(tmp_path / "other").public
    change_record(laptop, run, node={**node, "host_key": other})
    answer = laptop.run("ssh", run, "--", "touch reached")
    assert answer.code == 255
    assert "REMOTE HOST IDENTIFICATION HAS CHANGED" in answer.err
    assert "Host key verification failed" in answer.err
    assert not (Path(node["root"]) / "reached").exists()
    change_record(laptop, run, node=node)
    assert laptop.run("ssh", run, "--", "echo", "hi").out == "hi\n"


def read_node(laptop: Laptop, run: str) -> dict[str, Any]:
    with Ledger(laptop.home / "ledger.sqlite") as ledger:
        node: dict[str, Any] = ledger.run(run).record["node"]
    return node


def test_a_dry_run_shows_the_command_and_writes_nothing(laptop: Laptop, run: str) -> None:
    answer = laptop.run("ssh", run, "--dry-run", "--", "echo hi")
    assert answer.out.startswith("Dry run: $ ssh -F none -o HostName=127.0.0.1 ")
    assert answer.out.endswith(f" -- {run} 'echo hi'\n")
    assert laptop.good("ssh", run, "--dry-run")["argv"][-1] == run
    assert not (laptop.home / "runs" / run / "known_hosts").exists()
    planned = laptop.good("ssh-config", "--install", "--dry-run")
    assert planned["runs"] == [run]
    assert len(planned["steps"][0]["does"]) == 3
    said = laptop.run("ssh-config", "--install", "--dry-run").out
    assert f"Dry run: would put at the top of {laptop.folder}/.ssh/config: Include" in said
    assert not (laptop.folder / ".ssh").exists()
    assert not (laptop.home / "ssh_config").exists()


def test_runs_that_cannot_be_reached_are_refused(laptop: Laptop, run: str) -> None:
    answer = laptop.run("ssh", "no-such-run")
    assert (answer.code, "There is no run no-such-run." in answer.err) == (1, True)
    assert "Fix: segaway runs lists them." in answer.err
    change_record(laptop, run, node=None)
    answer = laptop.run("ssh", run)
    assert answer.code == 3
    assert f"The run {run} has no node yet." in answer.err
    assert f"Fix: segaway run --resume {run}" in answer.err
    laptop.good("down", run)
    answer = laptop.run("ssh", run, "--", "true")
    assert (answer.code, answer.err) == (
        1,
        f"Error: The run {run} is down.\nFix: segaway run DATASET\n",
    )


def test_before_the_first_run_there_is_nothing(laptop: Laptop) -> None:
    laptop.environment["HOME"] = str(laptop.folder)
    assert "No run is open." in laptop.run("ssh").err
    assert laptop.good("ssh-config")["runs"] == []
    assert laptop.run("ssh-config", "--dry-run").out == (
        "Dry run: would write nothing: no run has a node\n"
    )
    assert "0 nodes in " in laptop.run("ssh-config", "--install").out


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_a_laptop_without_ssh_is_told(laptop: Laptop, run: str, flags: list[str]) -> None:
    laptop.environment["PATH"] = str(laptop.folder)
    answer = laptop.run("ssh", run, *flags, "--", "true")
    assert answer.code == 1
    assert "OpenSSH's client, ssh, is not installed on this machine." in answer.err
    assert "Fix: sudo apt-get install openssh-client" in answer.err


def test_the_printed_config_is_enough_for_ssh_and_scp(laptop: Laptop, run: str) -> None:
    answer = laptop.run("ssh-config")
    path = laptop.folder / "config"
    path.write_text(answer.out)
    for name in (run, f"segaway-{run}"):
        done = call("ssh", "-F", path, name, "echo from $SEGAWAY_NODE")
        assert done.stdout == f"from segaway-{run}-node\n", done.stderr
    (laptop.folder / "up").write_bytes(os.urandom(100_000))
    done = call("scp", "-F", path, laptop.folder / "up", f"{run}:up")
    assert done.returncode == 0, done.stderr
    done = call("scp", "-F", path, f"{run}:up", laptop.folder / "down")
    assert done.returncode == 0, done.stderr
    assert (laptop.folder / "down").read_bytes() == (laptop.folder / "up").read_bytes()
    assert not (laptop.home / "ssh_config").exists()


@pytest.mark.skipif(not shutil.which("rsync"), reason="rsync is not installed")
def test_rsync_reaches_the_node_by_the_runs_name(laptop: Laptop, run: str, config: Path) -> None:
    (laptop.folder / "up").write_bytes(b"text")
    done = call("rsync", "-e", f"ssh -F {config}", laptop.folder / "up", f"{run}:up")
    assert done.returncode == 0, done.stderr
    assert (Path(read_node(laptop, run)["root"]) / "up").read_bytes() == b"text"


def test_install_adds_one_line_and_keeps_the_rest(laptop: Laptop, run: str) -> None:
    path = laptop.folder / ".ssh" / "config"
    path.parent.mkdir()
    mine = b"# mine\nHost *\n  Port 1\n"
    path.write_bytes(mine)
    path.chmod(0o640)
    answer = laptop.run("ssh-config", "--install")
    assert answer.out == f"1 node in {laptop.home}/ssh_config, which {path} includes.\n"
    assert laptop.good("ssh-config", "--install")["installed"] == str(path)
    assert path.read_bytes() == f"Include {laptop.home}/ssh_config\n".encode() + mine
    assert path.stat().st_mode & 0o777 == 0o640
    assert call("ssh", "-F", path, run, "echo hi").stdout == "hi\n"
    assert [p.name for p in path.parent.iterdir()] == ["config"]


def test_a_line_below_a_host_is_not_enough(laptop: Laptop, config: Path, run: str) -> None:
    line = config.read_bytes()
    config.write_bytes(b"Host other\n" + line)
    laptop.good("ssh-config", "--install")
    assert config.read_bytes() == line + b"Host other\n" + line


def test_a_linked_config_stays_a_link(laptop: Laptop, run: str) -> None:
    kept = laptop.folder / "dotfiles"
    kept.write_text("# kept\n")
    (laptop.folder / ".ssh").mkdir()
    (laptop.folder / ".ssh" / "config").symlink_to(kept)
    laptop.good("ssh-config", "--install")
    assert (laptop.folder / ".ssh" / "config").is_symlink()
    assert kept.read_text().endswith("ssh_config\n# kept\n")


def test_a_config_that_cannot_be_changed_is_said(laptop: Laptop, run: str) -> None:
    (laptop.folder / ".ssh").write_text("no folder")
    answer = laptop.run("ssh-config", "--install")
    assert answer.code == 1
    assert f"{laptop.folder}/.ssh/config cannot be changed: " in answer.err
    assert "Fix: Put this line at its top yourself: Include " in answer.err


def test_the_config_follows_the_runs(laptop: Laptop, run: str, config: Path, dataset: Path) -> None:
    other = provision(laptop, dataset)
    for name in (run, other):
        assert call("ssh", "-F", config, name, "echo hi").stdout == "hi\n"
    laptop.good("down", run)
    assert not list((laptop.home / "runs" / run).glob("*key*"))
    assert not (laptop.home / "runs" / run / "known_hosts").exists()
    text = (laptop.home / "ssh_config").read_text()
    assert run not in text
    assert f"Host {other} " in text
    assert call("ssh", "-F", config, run, "true").returncode == 255
    laptop.good("down", other)
    assert "Host " not in (laptop.home / "ssh_config").read_text()


@pytest.fixture
def odd_laptop(tmp_path: Path) -> Iterator[Laptop]:
    folder = tmp_path / "50% 'odd' #1 [x]"
    folder.mkdir()
    laptop = Laptop(folder)
    yield laptop
    for item in laptop.cloud.find_all():
        laptop.cloud.destroy("node", item.id)


def test_odd_folders_are_no_obstacle(odd_laptop: Laptop, dataset: Path) -> None:
    odd_laptop.environment["HOME"] = str(odd_laptop.folder)
    run = provision(odd_laptop, dataset)
    assert odd_laptop.run("ssh", run, "--", "echo", "hi").out == "hi\n"
    odd_laptop.good("ssh-config", "--install")
    config = odd_laptop.folder / ".ssh" / "config"
    done = call("ssh", "-F", config, run, "echo hi")
    assert done.stdout == "hi\n", done.stderr
    odd_laptop.good("down", run)


def test_plain_ssh_tunnels_to_the_nodes_loopback_alone(
    laptop: Laptop, run: str, config: Path
) -> None:
    """As an editor or a notebook does it: with -W, through the same config."""
    port = read_node(laptop, run)["port"]
    for host, answers in (("127.0.0.1", True), ("localhost", True), ("127.0.0.2", False)):
        done = call("ssh", "-F", config, "-W", f"{host}:{port}", run)
        assert done.stdout.startswith("SSH-2.0-") == answers, (host, done.stderr)


def test_help_imports_no_ssh() -> None:
    """Nothing of what it takes to connect is imported for a help page."""
    done = call(sys.executable, "-X", "importtime", "-m", "cli.main", "ssh", "--help")
    assert done.returncode == 0
    assert "paramiko" not in done.stderr


def test_the_commands_of_the_page_exist() -> None:
    docs = Path(__file__).parent.parent.parent / "docs"
    text, known = (docs / "reach.md").read_text(), (docs / "commands.md").read_text()
    named = set(re.findall(r"segaway ([a-z-]+)", text))
    assert named == {"attach", "ssh", "ssh-config", "tensorboard", "down"}
    assert named <= set(list_commands())
    ours = re.findall(r"(?:segaway [a-z-]+|`)(?: RUN)? ?(--[a-z-]+)", text)
    assert set(ours) == {"--install", "--port", "--no-browser", "--json"}
    assert all(flag in known for flag in ours)

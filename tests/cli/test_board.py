"""`segaway tensorboard`: a run's curves over HTTP, from its node or from what came home."""

import json
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from cli.training import trainer_manifest
from provision.ledger import Ledger
from provision.sshnode import find_processes
from remote.shell import run_path, trainer_path
from tests.conftest import Laptop, wait_until
from tests.train.test_board import EPOCH, START, points, step, tags, write

BROKEN = "raise ImportError('no tensorboard here')\n"


@pytest.fixture
def run(laptop: Laptop, dataset: Path) -> str:
    """A run with a node, on which a training has said a little."""
    (laptop.folder / "tmp").mkdir()
    laptop.environment["TMPDIR"] = str(laptop.folder / "tmp")
    run = str(laptop.good("provision", "--dataset", dataset)["run"])
    folder = Path(run_path(read_root(laptop, run), run))
    folder.mkdir(parents=True)
    write(folder, START, step(1, 0.9), EPOCH)
    return run


def read_root(laptop: Laptop, run: str) -> str:
    with Ledger(laptop.home / "ledger.sqlite") as ledger:
        return str(ledger.run(run).record["node"]["root"])


def results(laptop: Laptop, run: str) -> Path:
    """Where the results come home, with the same events in it."""
    folder = laptop.folder / "results" / run
    folder.mkdir(parents=True)
    write(folder, START, step(1, 0.9), EPOCH)
    return folder


@contextmanager
def show(laptop: Laptop, *arguments: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """The command, still running, and its first line."""
    process = laptop.start("tensorboard", *arguments)
    assert process.stdout
    try:
        yield process, process.stdout.readline()
    finally:
        process.kill()
        process.communicate()


def read_port(line: str) -> int:
    return int(json.loads(line)["url"].rpartition(":")[2].strip("/"))


def node_rests(run: str) -> bool:
    """Whether nothing but the node's own process is left on it."""
    return len(find_processes(f"segaway-{run}-node")) == 1


def test_the_nodes_curves_come_through_a_forwarded_port(laptop: Laptop, run: str) -> None:
    with show(laptop, run, "--json") as (process, line):
        assert json.loads(line)["run"] == run
        port = read_port(line)
        wait_until(lambda: len(tags(port, run)) == 7, 30)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as page:
            assert b"TensorBoard" in page.read()
        write(Path(run_path(read_root(laptop, run), run)), step(2, 0.8))
        wait_until(lambda: points(port, run, "step/loss") == [(1, 0.9), (2, 0.8)], 30)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        assert (process.returncode, out) == (0, ""), err
    wait_until(lambda: node_rests(run), 20)
    assert not list((laptop.folder / "tmp").iterdir())


def test_a_killed_laptop_leaves_no_process_on_the_node(laptop: Laptop, run: str) -> None:
    with show(laptop, run, "--json") as (process, line):
        assert read_port(line)
        assert not node_rests(run)
        process.kill()
        wait_until(lambda: node_rests(run), 20)


def test_the_browser_is_opened_at_the_chosen_port(laptop: Laptop, run: str) -> None:
    browser = laptop.folder / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {laptop.folder}/opened\n')
    browser.chmod(0o700)
    laptop.environment["BROWSER"] = f"{browser} %s"
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    opened = laptop.folder / "opened"
    with show(laptop, run, "--port", str(port)) as (_, line):
        url = f"http://127.0.0.1:{port}/"
        assert line == f"TensorBoard of {run}: {url} (Ctrl-C ends it)\n"
        wait_until(lambda: opened.exists() and opened.read_text() == f"{url}\n", 20)
    opened.unlink()
    with show(laptop, run, "--no-browser") as (process, line):
        assert line.startswith(f"TensorBoard of {run}: ")
        process.terminate()
        assert process.wait(30) == 0
    assert not opened.exists()


def test_a_taken_port_is_said(laptop: Laptop, run: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        answer = laptop.run("tensorboard", run, "--port", port)
        assert f"Port {port} on 127.0.0.1 cannot be had: " in answer.err
        assert "Fix: Take another port, or 0 for any free one." in answer.err
        laptop.good("down", run, "--discard")
        results(laptop, run)
        answer = laptop.run("tensorboard", run, "--port", port)
        assert answer.code == 1
        assert f"On this machine: TensorBoard cannot have port {port} on 127.0.0.1" in answer.err
        assert "Fix: Take another --port, or 0 for any free one." in answer.err


def test_a_node_without_tensorboard_is_told_what_mends_it(laptop: Laptop, run: str) -> None:
    code = Path(trainer_path(read_root(laptop, run), trainer_manifest()))
    code.mkdir(parents=True)
    (code / "tensorboard.py").write_text(BROKEN)
    answer = laptop.run("tensorboard", run)
    assert answer.code == 3
    assert "On the node: TensorBoard cannot start: no tensorboard here." in answer.err
    fix = f"segaway ssh {run} -- python3 -m pip install tensorboard pydantic"
    assert f"Fix: {fix}\n" in answer.err


def test_a_node_that_cannot_run_it_says_why(laptop: Laptop, run: str) -> None:
    code = Path(trainer_path(read_root(laptop, run), trainer_manifest()))
    code.mkdir(parents=True)
    (code / "argparse.py").write_text("raise RuntimeError('a broken python')\n")
    answer = laptop.run("tensorboard", run)
    assert "TensorBoard did not start on the node: RuntimeError: a broken python" in answer.err
    assert "Fix: Repeat the command with segaway --debug" in answer.err


def test_a_board_that_ends_is_no_success(laptop: Laptop, run: str) -> None:
    with show(laptop, run, "--no-browser") as (process, _):
        label = f"segaway-{run}-node"
        (board,) = [p for p in find_processes(label) if "train.board" in p.cmdline()]
        board.kill()
        _, err = process.communicate(timeout=30)
        assert process.returncode == 3
        assert "Error: TensorBoard has ended: " in err
        assert f"Fix: segaway tensorboard {run}\n" in err


def test_a_run_that_is_down_shows_what_came_home(laptop: Laptop, run: str) -> None:
    laptop.good("down", run, "--discard")
    answer = laptop.run("tensorboard", run)
    folder = laptop.folder / "results" / run
    assert (answer.code, answer.err) == (
        1,
        f"Error: The run {run} is down, and {folder} has no events.jsonl.\n"
        "Fix: segaway run DATASET\n",
    )
    results(laptop, run)
    with show(laptop, run, "--json") as (process, line):
        port = read_port(line)
        wait_until(lambda: len(tags(port, run)) == 7, 30)
        (board,) = psutil.Process(process.pid).children()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        assert not board.is_running()
    with show(laptop, run, "--json") as (process, line):
        (board,) = psutil.Process(process.pid).children()
        process.kill()
        psutil.wait_procs([board], timeout=20)
        assert not board.is_running()


def test_a_laptop_without_tensorboard_is_told_what_mends_it(laptop: Laptop, run: str) -> None:
    laptop.good("down", run, "--discard")
    results(laptop, run)
    (laptop.folder / "broken").mkdir()
    (laptop.folder / "broken" / "tensorboard.py").write_text(BROKEN)
    laptop.environment["PYTHONPATH"] = str(laptop.folder / "broken")
    answer = laptop.run("tensorboard", run)
    assert answer.code == 1
    assert "On this machine: TensorBoard cannot start: no tensorboard here." in answer.err
    assert "-m pip install tensorboard pydantic\n" in answer.err
    assert f"Fix: {Path(sys.executable).parent}/" in answer.err


def test_a_lost_node_gives_way_to_what_came_home(laptop: Laptop, run: str) -> None:
    (node,) = find_processes(f"segaway-{run}-node")
    node.kill()
    node.wait(20)
    answer = laptop.run("tensorboard", run)
    assert answer.code == 3
    assert f"The node segaway-{run}-node is gone." in answer.err
    folder = results(laptop, run)
    with show(laptop, run, "--no-browser") as (_, line):
        assert line.startswith(f"The node segaway-{run}-node is gone.")
        assert line.endswith(f"This is what came home: {folder}.\n")


def test_runs_that_have_nothing_are_refused(laptop: Laptop, run: str) -> None:
    with Ledger(laptop.home / "ledger.sqlite") as ledger:
        ledger.update_run(run, None, node=None)
    answer = laptop.run("tensorboard", run)
    assert f"The run {run} has no node yet." in answer.err
    assert "There is no run other." in laptop.run("tensorboard", "other").err


def test_a_dry_run_starts_nothing(laptop: Laptop, run: str) -> None:
    planned: Any = laptop.good("tensorboard", run, "--dry-run")
    command, port = planned["steps"][0]["does"]
    assert command.startswith("$ env -C ")
    assert command.endswith(f"python3 -m train.board {run_path(read_root(laptop, run), run)}")
    assert port == "lead port (any) on 127.0.0.1 to it"
    said = laptop.run("tensorboard", run, "--dry-run", "--port", "6006").out
    assert said.splitlines()[1] == "Dry run: lead port 6006 on 127.0.0.1 to it"
    assert node_rests(run)
    laptop.good("down", run, "--discard")
    (line,) = laptop.good("tensorboard", run, "--dry-run")["steps"][0]["does"]
    assert line == (f"serve {laptop.folder}/results/{run}/events.jsonl on 127.0.0.1, port (any)")
    assert {path.name for path in laptop.folder.iterdir()} == {"home", "tmp"}

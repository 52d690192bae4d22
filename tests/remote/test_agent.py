"""The node's side: files that arrive as they were, a job that reports by files."""

import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remote import shell
from remote.agent.files import (
    MANIFEST,
    BadTransfer,
    Manifest,
    find_lacking,
    pack,
    read_manifest,
    unpack,
)
from tests.conftest import wait_until

NAMES = st.text("abcé ü-_", min_size=1, max_size=12).filter(lambda n: n.strip() == n)


@given(st.dictionaries(NAMES, st.binary(max_size=2000), max_size=5))
def test_files_arrive_as_they_were(files: dict[str, bytes]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "a", Path(folder) / "b"
        for name, content in files.items():
            (source / name).mkdir(parents=True)
            (source / name / "file").write_bytes(content)
        manifest = read_manifest(source)
        stream = io.BytesIO()
        pack(source, manifest, stream)
        stream.seek(0)
        assert unpack(target, stream) == len(files)
        assert read_manifest(target) == manifest
        assert not find_lacking(target, manifest)


def make_stream(tmp_path: Path) -> tuple[Manifest, bytes]:
    for number in range(3):
        (tmp_path / "src").mkdir(exist_ok=True)
        (tmp_path / "src" / f"{number}.bin").write_bytes(bytes([number]) * 5000)
    manifest, stream = read_manifest(tmp_path / "src"), io.BytesIO()
    pack(tmp_path / "src", manifest, stream)
    return manifest, stream.getvalue()


def test_a_cut_stream_keeps_what_was_whole(tmp_path: Path) -> None:
    manifest, content = make_stream(tmp_path)
    cut = content.index(bytes([1]) * 100) + 2000
    with pytest.raises(BadTransfer, match="broke"):
        unpack(tmp_path / "dst", io.BytesIO(content[:cut]))
    assert find_lacking(tmp_path / "dst", manifest) == ["1.bin", "2.bin"]
    assert [p.name for p in (tmp_path / "dst").iterdir()] == ["0.bin"]


def test_a_changed_byte_is_found(tmp_path: Path) -> None:
    _, content = make_stream(tmp_path)
    spot = content.index(bytes([2]) * 100)
    spoilt = content[:spot] + b"x" + content[spot + 1 :]
    with pytest.raises(BadTransfer, match=r"2\.bin did not arrive as it was"):
        unpack(tmp_path / "dst", io.BytesIO(spoilt))


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", ""])
def test_a_node_cannot_write_outside_the_results(tmp_path: Path, name: str) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w|") as tar:
        for entry, content in (
            (MANIFEST, json.dumps({name: {"size": 1, "sha256": ""}}).encode()),
            (name, b"x"),
        ):
            info = tarfile.TarInfo(entry)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    stream.seek(0)
    with pytest.raises(BadTransfer):
        unpack(tmp_path / "dst", stream)
    assert not (tmp_path / "evil").exists()


def call(verb: str, run: Path, *rest: str, stdin: Any = None) -> Any:
    """As on a node: the one file that is sent there, run by a plain Python."""
    run.parent.mkdir(exist_ok=True)
    agent = run.parent / "agent.pyz"
    agent.write_bytes(shell.pack_agent())
    result = subprocess.run(
        [sys.executable, "-I", str(agent), verb, str(run), *rest],
        input=json.dumps(stdin or {}).encode(),
        capture_output=True,
        check=True,
    )
    return json.loads(result.stdout.splitlines()[-1])


def start(run: Path, script: str, **more: Any) -> Any:
    argv = [sys.executable, "-u", "-c", script]
    return call("start", run, stdin={"argv": argv, "cwd": str(run.parent), "env": {}, **more})


def test_a_job_runs_on_by_itself_and_tells_how_it_ended(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "r"
    assert call("status", run)["state"] == "none"
    assert start(run, "import time; print('hello'); time.sleep(1)")["state"] == "running"
    assert start(run, "print('twice')")["state"] == "running"
    wait_until(lambda: call("status", run)["state"] == "finished")
    assert (run / "log.txt").read_text() == "hello\n"
    assert start(run, "print('again')")["state"] == "finished"


@pytest.mark.parametrize(
    ("script", "state", "code"),
    [
        ("import sys; sys.exit(3)", "failed", 3),
        ("import sys; sys.exit(143)", "stopped", 143),
        ("import os; os.kill(os.getpid(), 9)", "failed", 137),
    ],
)
def test_ends_are_told_apart(tmp_path: Path, script: str, state: str, code: int) -> None:
    start(tmp_path / "runs" / "r", script)
    wait_until(lambda: call("status", tmp_path / "runs" / "r")["state"] == state)
    assert call("status", tmp_path / "runs" / "r")["exit_code"] == code


def test_a_job_whose_supervisor_was_killed_is_lost(tmp_path: Path) -> None:
    import psutil

    run = tmp_path / "runs" / "r"
    pid = start(run, "import time; time.sleep(60)")["pid"]
    psutil.Process(pid).parent().kill()  # type: ignore[union-attr]  # its supervisor
    wait_until(lambda: call("status", run)["state"] == "lost")
    call("stop", run, "1")
    wait_until(lambda: not is_alive(pid))


def is_alive(pid: int) -> bool:
    import psutil

    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_a_lost_jobs_trainer_never_runs_beside_its_successor(tmp_path: Path) -> None:
    import psutil

    run = tmp_path / "runs" / "r"
    pid = start(run, "import time; time.sleep(60)")["pid"]
    psutil.Process(pid).parent().kill()  # type: ignore[union-attr]  # its supervisor
    wait_until(lambda: call("status", run)["state"] == "lost")
    assert start(run, "import time; time.sleep(1)")["state"] == "running"
    assert not is_alive(pid)
    wait_until(lambda: call("status", run)["state"] == "finished")


def test_a_stubborn_job_is_killed_after_the_grace(tmp_path: Path) -> None:
    script = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1); time.sleep(60)"
    start(tmp_path / "runs" / "r", script)
    wait_until(lambda: (tmp_path / "runs" / "r" / "log.txt").read_text() == "1\n")
    assert call("stop", tmp_path / "runs" / "r", "0.5")["exit_code"] == 137


def test_a_command_that_does_not_exist_is_told(tmp_path: Path) -> None:
    spec = {"argv": ["/no/such/program"], "cwd": str(tmp_path), "env": {}}
    answer = call("start", tmp_path / "runs" / "r", stdin=spec)
    assert answer["state"] == "failed"
    assert "/no/such/program" in answer["refused"]

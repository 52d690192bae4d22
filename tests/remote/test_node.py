"""`Host` and what stands on it, against the local cloud's real SSH node."""

import dataclasses
import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from remote import shell
from remote.agent.files import read_manifest
from remote.errors import CommandFailed, HostKeyRefused, TransferError, Unreachable
from remote.fetch import fetch_folder
from remote.follow import Chunk, Reconnecting, follow_job
from remote.host import Address, Host
from remote.job import JobStatus
from remote.keys import ensure_key, remove_key
from remote.sync import push_folder


def test_a_command_has_its_pipes_and_its_status(host: Host) -> None:
    result = host.run(["sh", "-c", "cat; echo oops >&2; exit 7"], b"in")
    assert (result.code, result.stdout, result.stderr) == (7, b"in", "oops\n")


def test_arguments_arrive_as_they_are(host: Host) -> None:
    odd = ["a b", "$HOME", "'", '"', "*", "\n", ";"]
    assert host.check(["printf", "%s|", *odd]).decode() == "".join(f"{o}|" for o in odd)


def test_megabytes_pass_both_ways(host: Host) -> None:
    content = os.urandom(8 * 2**20)
    assert host.check(["cat"], content) == content


def test_a_failed_command_says_its_last_words(host: Host) -> None:
    with pytest.raises(CommandFailed, match="ended with 3: it hurts"):
        host.check(["sh", "-c", "echo it hurts >&2; exit 3"])


def test_a_command_can_be_left_when_the_link_is_gone(host: Host) -> None:
    with host.stream(["sleep", "60"]) as stream:
        assert host._connection is not None
        host._connection.transport.sock.shutdown(socket.SHUT_WR)
    with pytest.raises(Unreachable):
        stream.wait()


def test_put_is_private_and_whole(host: Host, root: str) -> None:
    host.put(f"{root}/note", b"text")
    assert host.check(["stat", "-c", "%a", f"{root}/note"]) == b"600\n"


def test_another_host_key_is_refused(node: tuple[Address, str], tmp_path: Path) -> None:
    other = dataclasses.replace(node[0], host_key=ensure_key(tmp_path / "key").public)
    with pytest.raises(HostKeyRefused, match="shows another host key"), Host(other) as host:
        host.run(["true"])


def test_another_client_key_is_refused(node: tuple[Address, str], tmp_path: Path) -> None:
    other = dataclasses.replace(node[0], key_path=ensure_key(tmp_path / "key").path)
    with pytest.raises(Unreachable), Host(other) as host:
        host.run(["true"])


def test_a_closed_port_is_unreachable(node: tuple[Address, str]) -> None:
    with pytest.raises(Unreachable, match="No connection to"):
        Host(dataclasses.replace(node[0], port=1)).run(["true"])


@pytest.mark.skipif(not shutil.which("ssh"), reason="OpenSSH's client is not installed")
def test_openssh_itself_accepts_node_and_keys(node: tuple[Address, str], tmp_path: Path) -> None:
    address = node[0]
    known = tmp_path / "known_hosts"
    known.write_text(f"[{address.host}]:{address.port} {address.host_key}\n")
    options = [f"UserKnownHostsFile={known}", "StrictHostKeyChecking=yes", "BatchMode=yes"]
    result = subprocess.run(
        [
            "ssh",
            *(part for option in options for part in ("-o", option)),
            *("-i", str(address.key_path), "-p", str(address.port)),
            f"{address.user}@{address.host}",
            "echo from the node",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout) == (0, "from the node\n"), result.stderr


def test_keys_are_private_and_can_be_forgotten(tmp_path: Path) -> None:
    pair = ensure_key(tmp_path / "key")
    assert pair.path.stat().st_mode & 0o777 == 0o600
    assert ensure_key(tmp_path / "key") == pair
    remove_key(pair.path)
    assert not list(tmp_path.iterdir())


def quiet(*_: int) -> None:
    """No progress."""


def test_a_push_sends_what_is_lacking_and_no_more(host: Host, root: str, tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"{number}").write_bytes(os.urandom(1000))
    manifest, target = read_manifest(tmp_path), f"{root}/pushed"
    seen: list[tuple[int, ...]] = []
    first = push_folder(host, root, tmp_path, manifest, target, lambda *a: seen.append(a))
    assert (first.files, first.size_bytes) == (5, 5000)
    assert seen[-1] == (5, 5, 5000, 5000)
    assert push_folder(host, root, tmp_path, manifest, target, quiet).files == 0
    Path(target, "3").write_bytes(b"spoilt")
    Path(target, "4").unlink()
    assert push_folder(host, root, tmp_path, manifest, target, quiet).files == 2
    assert read_manifest(Path(target)) == manifest


def test_a_file_that_changed_after_it_was_described_is_not_taken(
    host: Host, root: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"a" * 1000)
    manifest = read_manifest(tmp_path)
    (tmp_path / "file").write_bytes(b"b" * 1000)
    with pytest.raises(TransferError, match="file did not arrive as it was"):
        push_folder(host, root, tmp_path, manifest, f"{root}/changed", quiet)
    (tmp_path / "file").unlink()
    with pytest.raises(TransferError, match="file"):
        push_folder(host, root, tmp_path, manifest, f"{root}/changed", quiet)
    assert not list(Path(root, "changed").iterdir())


def test_a_fetch_brings_what_is_lacking(host: Host, root: str, tmp_path: Path) -> None:
    source = Path(root, "results")
    (source / "deep").mkdir(parents=True)
    (source / "deep" / "mask.png").write_bytes(os.urandom(5000))
    (source / "log.txt").write_text("log")
    assert fetch_folder(host, root, str(source), tmp_path / "home", quiet).files == 2
    (tmp_path / "home" / "log.txt").write_text("lo")
    assert fetch_folder(host, root, str(source), tmp_path / "home", quiet).files == 1
    assert read_manifest(tmp_path / "home") == read_manifest(source)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk takes root")
def test_a_full_disk_is_said_on_either_side(host: Host, root: str, tmp_path: Path) -> None:
    small = Path(root, "small")
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", small], check=True)
    try:
        (tmp_path / "big").write_bytes(os.urandom(2 * 2**20))
        manifest = read_manifest(tmp_path)
        with pytest.raises(TransferError, match=r"GiB free and .* Nothing was sent"):
            push_folder(host, root, tmp_path, manifest, str(small / "up"), quiet)
        Path(root, "large").mkdir()
        shutil.copy(tmp_path / "big", Path(root, "large"))
        with pytest.raises(TransferError, match=r"No space left.* still on the node"):
            fetch_folder(host, root, f"{root}/large", small / "down", quiet)
        assert not [p for p in (small / "down").rglob("*") if p.is_file()]
    finally:
        subprocess.run(["umount", small], check=True)


def start(host: Host, root: str, run: str, script: str) -> None:
    import json

    job = {"argv": ["sh", "-c", script], "cwd": root, "env": {}}
    argv = shell.call_agent(root, "start", shell.run_path(root, run))
    host.check(argv, json.dumps(job).encode())


def test_following_survives_a_cut_link_with_each_byte_once(host: Host, root: str) -> None:
    start(host, root, "cut", "for i in $(seq 200); do echo line $i; sleep 0.02; done")
    pieces, breaks, cuts = list[bytes](), 0, 0
    for item in follow_job(
        host, root, shell.run_path(root, "cut"), {"log.txt": 0}, sleep=lambda _: None
    ):
        if isinstance(item, Chunk):
            assert item.offset == len(b"".join(pieces))
            pieces.append(item.content)
            if cuts < 5 and len(pieces) % 2:
                cuts += 1
                assert host._connection is not None
                host._connection.transport.sock.close()
        elif isinstance(item, Reconnecting):
            breaks += 1
        else:
            assert item.state == "finished"
    assert b"".join(pieces).decode().split("\n")[:-1] == [f"line {i}" for i in range(1, 201)]
    assert breaks >= 1


def test_following_goes_on_from_an_offset(host: Host, root: str) -> None:
    start(host, root, "offset", "printf 0123456789")
    items = list(follow_job(host, root, shell.run_path(root, "offset"), {"log.txt": 4}))
    assert b"".join(i.content for i in items if isinstance(i, Chunk)) == b"456789"
    assert isinstance(items[-1], JobStatus)


def test_following_gives_up_after_its_patience(node: tuple[Address, str]) -> None:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds + 10

    nobody = Host(dataclasses.replace(node[0], port=1))
    items = follow_job(nobody, "/", "/run", {}, patience_s=30, clock=lambda: now[0], sleep=sleep)
    with pytest.raises(Unreachable):
        list(items)
    assert now[0] > 30


def test_following_gives_up_where_there_is_no_agent(host: Host) -> None:
    """As on a node whose volume is not mounted: it answers, and knows nothing."""
    pauses: list[float] = []
    items = follow_job(host, "/nowhere", "/nowhere/runs/r", {}, sleep=pauses.append)
    with pytest.raises(CommandFailed, match=r"follow on .* ended with 2: .*No such file"):
        list(items)
    assert len(pauses) == 4

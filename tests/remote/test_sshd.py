"""Our client against OpenSSH's own server: nothing here leans on how our node does it."""

import getpass
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from remote.agent.files import read_manifest
from remote.calls import install_agent
from remote.fetch import fetch_folder
from remote.follow import Chunk, follow_job
from remote.forward import forward_port
from remote.host import Address, Host
from remote.job import JobStatus
from remote.keys import ensure_key
from remote.shell import call_agent, run_path
from remote.sync import push_folder
from tests.conftest import wait_until
from tests.remote.test_forward import exchange, serve_echo

SSHD = Path("/usr/sbin/sshd")
pytestmark = pytest.mark.skipif(not SSHD.exists(), reason="OpenSSH's server is not installed")


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host_key, client_key = ensure_key(tmp_path / "host_key"), ensure_key(tmp_path / "client_key")
    (tmp_path / "authorized").write_text(client_key.public + "\n")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    lines = [
        f"Port {port}",
        "ListenAddress 127.0.0.1",
        f"HostKey {host_key.path}",
        f"AuthorizedKeysFile {tmp_path / 'authorized'}",
        f"PidFile {tmp_path / 'pid'}",
        "UsePAM no",
        "StrictModes no",
        "Subsystem sftp internal-sftp",
        # The node's python3 is the one that runs the tests.
        f"SetEnv PATH={Path(sys.executable).parent}:/usr/bin:/bin",
    ]
    (tmp_path / "config").write_text("\n".join(lines) + "\n")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    server = subprocess.Popen([SSHD, "-D", "-e", "-f", tmp_path / "config"])
    try:
        wait_until(lambda: _answers(port))
        user = getpass.getuser()
        with Host(Address("127.0.0.1", port, user, host_key.public, client_key.path)) as host:
            yield host
    finally:
        server.terminate()
        server.wait()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def quiet(*_: int) -> None:
    """No progress."""


def test_files_go_up_and_come_down(host: Host, tmp_path: Path) -> None:
    source, root = tmp_path / "source", str(tmp_path / "volume")
    source.mkdir()
    for number in range(50):
        (source / f"{number}.bin").write_bytes(os.urandom(10_000))
    manifest = read_manifest(source)
    install_agent(host, root)
    assert push_folder(host, root, source, manifest, f"{root}/data", quiet).files == 50
    assert push_folder(host, root, source, manifest, f"{root}/data", quiet).files == 0
    assert fetch_folder(host, root, f"{root}/data", tmp_path / "home", quiet).files == 50
    assert read_manifest(tmp_path / "home") == manifest


def test_a_job_outlives_its_connection_and_is_followed(host: Host, tmp_path: Path) -> None:
    import json

    root = str(tmp_path / "volume")
    install_agent(host, root)
    script = "for i in 1 2 3 4 5; do echo $i; sleep 0.3; done"
    command = {"argv": ["sh", "-c", script], "cwd": root, "env": {}}
    host.check(call_agent(root, "start", run_path(root, "r")), json.dumps(command).encode())
    host.close()
    items = list(follow_job(host, root, run_path(root, "r"), {"log.txt": 0}))
    assert b"".join(i.content for i in items if isinstance(i, Chunk)) == b"1\n2\n3\n4\n5\n"
    assert isinstance(items[-1], JobStatus)
    assert items[-1].state == "finished"


def test_a_port_is_forwarded(host: Host) -> None:
    with serve_echo() as served, forward_port(host, served) as port:
        content = os.urandom(2**20)
        assert exchange(port, content) == content
        assert exchange(port, b"again") == b"again"

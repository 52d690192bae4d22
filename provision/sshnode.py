"""A machine that is a process: it serves SSH on a loopback port until it is destroyed.

    python -m provision.sshnode FOLDER

FOLDER holds `node.json` (port wanted, deadline, label), `host_key` and `authorized_keys`; the node
writes `pid.json` there when it starts and `address.json` once it can be reached. What runs on it
carries SEGAWAY_NODE in its environment: that is how the end of the node is the end of all its
processes, detached ones too.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from pathlib import Path

import asyncssh
import psutil

from provision.terminal import SHELL, run_in_terminal

MARK = "SEGAWAY_NODE"
DEADLINE_CHECK_S = 1.0
GRACE_S = 10.0
CHUNK_BYTES = 2**18
LOOPBACK = "127.0.0.1"
PORT_TAKEN = 98


def find_processes(label: str) -> list[psutil.Process]:
    """Every process of the node `label`, but this one."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.environ().get(MARK) == label:
                found.append(process)
    return found


def end_processes(label: str, grace_s: float) -> None:
    """Ask everything on the node to end, then kill it; returns when nothing is left."""
    asked = find_processes(label)
    for process in asked:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    psutil.wait_procs(asked, timeout=grace_s)
    while left := find_processes(label):  # again and again: a process may fork while we look
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(left, timeout=1.0)


class _Doorkeeper(asyncssh.SSHServer):
    """Whoever has the key may be tunnelled to the node's own loopback, and nowhere else."""

    def connection_requested(
        self, dest_host: str, dest_port: int, orig_host: str, orig_port: int
    ) -> bool:
        return dest_host in (LOOPBACK, "localhost", "::1")


class _Files(asyncssh.SFTPServer):
    """The node's files; its end has a status, without which scp takes a copy for a failed one."""

    def exit(self) -> None:
        self.channel.exit(0)


async def _run_command(process: "asyncssh.SSHServerProcess[bytes]") -> None:
    """Run one command in a shell, its pipes or its terminal joined to the channel."""
    if process.term_type:
        await run_in_terminal(process)
        return
    child = await asyncio.create_subprocess_shell(
        process.command or SHELL,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    assert child.stdin  # all three are pipes
    assert child.stdout
    assert child.stderr
    feeding = asyncio.create_task(_pump_in(process.stdin, child.stdin))
    try:
        await asyncio.gather(
            _pump_out(child.stdout, process.stdout), _pump_out(child.stderr, process.stderr)
        )
        code = await child.wait()
        process.exit(code if code >= 0 else 128 - code)
    except (asyncssh.Error, OSError):
        pass  # the client has gone
    finally:
        feeding.cancel()
        # What was not detached ends with its channel, as under any sshd.
        if child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGHUP)


async def _pump_in(source: "asyncssh.SSHReader[bytes]", target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(asyncssh.Error, OSError):
        while content := await source.read(CHUNK_BYTES):
            target.write(content)
            await target.drain()
    target.close()


async def _pump_out(source: asyncio.StreamReader, target: "asyncssh.SSHWriter[bytes]") -> None:
    while content := await source.read(CHUNK_BYTES):
        target.write(content)
        await target.drain()


async def serve(folder: Path) -> None:
    """Serve until the deadline or SIGTERM."""
    settings = json.loads((folder / "node.json").read_text())
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    me = {"pid": os.getpid(), "born": psutil.Process().create_time()}
    _write_json(folder / "pid.json", me)
    # Before the port opens: no node is ever reachable without its deadline.
    guard = asyncio.create_task(_wait_deadline(folder, ended))
    try:
        server = await asyncssh.listen(
            LOOPBACK,
            settings["port"],
            server_host_keys=[str(folder / "host_key")],
            authorized_client_keys=str(folder / "authorized_keys"),
            server_factory=_Doorkeeper,
            process_factory=_run_command,
            # A terminal edits its own lines, as on any other machine.
            line_editor=False,
            sftp_factory=_Files,
            encoding=None,
            keepalive_interval=15,
        )
    except OSError as error:
        print(f"port {settings['port']}: {error.strerror or error}", file=sys.stderr)
        sys.exit(PORT_TAKEN)
    _write_json(folder / "address.json", {"port": server.sockets[0].getsockname()[1]})
    await ended.wait()
    server.close()
    guard.cancel()


async def _wait_deadline(folder: Path, ended: asyncio.Event) -> None:
    """Read the deadline anew each time: it may be moved, and clocks jump."""
    while json.loads((folder / "node.json").read_text())["deadline_s"] > time.time():
        await asyncio.sleep(DEADLINE_CHECK_S)
    print("the deadline has come", file=sys.stderr)
    ended.set()


def _write_json(path: Path, content: dict[str, float]) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(content))
    partial.replace(path)


def main(folder: Path) -> None:
    """Serve, then take everything that ran here down."""
    label = json.loads((folder / "node.json").read_text())["label"]
    asyncio.run(serve(folder))
    end_processes(label, GRACE_S)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""A command in a terminal of its own on the embedded cloud's node, for people who look around."""

import asyncio
import contextlib
import fcntl
import os
import pty
import signal
import struct
import termios
from asyncio.subprocess import Process

import asyncssh

SHELL = "exec ${SHELL:-/bin/sh}"
CHUNK_BYTES = 2**16
FULL_POLL_S = 0.02
LAST_WORDS_S = 1.0
END_OF_FILE = b"\x04"


async def run_in_terminal(session: "asyncssh.SSHServerProcess[bytes]") -> None:
    """Run one command with a terminal that is joined to the channel, to the end of either."""
    master, slave = pty.openpty()
    try:
        _set_size(master, *session.term_size[:2])
        child = await _start(session, slave)
    finally:
        os.close(slave)
    try:
        await _join(session, master, child)
    finally:
        os.close(master)


async def _join(session: "asyncssh.SSHServerProcess[bytes]", master: int, child: Process) -> None:
    typing = asyncio.create_task(_type(session, master))
    showing = asyncio.create_task(_show(session, master))
    left = asyncio.create_task(session.channel.wait_closed())
    ended = asyncio.create_task(child.wait())
    try:
        await asyncio.wait((ended, left), return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            # Its last words. What it left in the background may hold the terminal for ever.
            await asyncio.wait((showing, left), timeout=LAST_WORDS_S)
            code = ended.result()
            session.exit(code if code >= 0 else 128 - code)
        else:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGHUP)
    finally:
        tasks = (typing, showing, left)
        for task in tasks:
            task.cancel()
        # The terminal is closed next, and its number given to another: nobody may still read it.
        await asyncio.gather(*tasks, return_exceptions=True)


async def _start(session: "asyncssh.SSHServerProcess[bytes]", slave: int) -> Process:
    return await asyncio.create_subprocess_shell(
        session.command or SHELL,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={**os.environ, "TERM": session.term_type or "dumb"},
        start_new_session=True,
        # Without it Ctrl-C would reach no program.
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )


async def _type(session: "asyncssh.SSHServerProcess[bytes]", master: int) -> None:
    """What is typed, to the terminal."""
    with contextlib.suppress(asyncssh.Error, OSError):
        while True:
            try:
                content = await session.stdin.read(CHUNK_BYTES)
            except asyncssh.TerminalSizeChanged as changed:
                _set_size(master, changed.width, changed.height)
                continue
            except (asyncssh.BreakReceived, asyncssh.SignalReceived):
                continue
            await _write(master, content or END_OF_FILE)
            if not content:
                return


async def _write(master: int, content: bytes) -> None:
    while content:
        try:
            content = content[os.write(master, content) :]
        except BlockingIOError:
            await asyncio.sleep(FULL_POLL_S)  # more was pasted than the program has read


async def _show(session: "asyncssh.SSHServerProcess[bytes]", master: int) -> None:
    """What the terminal shows, to the channel, until no program holds the terminal any more."""
    reader = asyncio.StreamReader()
    pipe = open(master, "rb", buffering=0, closefd=False)  # noqa: SIM115  # its transport closes it
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), pipe
    )
    try:
        # Linux answers a read with an error once the last program has closed its end.
        with contextlib.suppress(asyncssh.Error, OSError):
            while content := await reader.read(CHUNK_BYTES):
                session.stdout.write(content)
                await session.stdout.drain()
    finally:
        transport.close()


def _set_size(terminal: int, columns: int, rows: int) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

"""`Host`: one machine over SSH, its host key pinned. Constructing one never connects."""

import base64
import contextlib
import shlex
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from remote.errors import CommandFailed, HostKeyRefused, Unreachable

if TYPE_CHECKING:
    import fabric
    import paramiko

CONNECT_TIMEOUT_S = 15.0
KEEPALIVE_S = 5
WINDOW_BYTES = 2**21


@dataclass(frozen=True)
class Address:
    """How to reach a machine and how to know it: `host_key` is its public key, one line."""

    host: str
    port: int
    user: str
    host_key: str
    key_path: Path

    def __str__(self) -> str:
        return f"{self.user}@{self.host}:{self.port}"


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    code: int
    stdout: bytes
    stderr: str

    @property
    def last_words(self) -> str:
        """The last line of stderr that says something."""
        return read_last_words(self.stderr)


class Stream:
    """A running command's pipes. Reads and writes raise Unreachable when the link is gone."""

    def __init__(self, channel: "paramiko.Channel", address: Address) -> None:
        self._channel = channel
        self._address = address
        self._errors: list[bytes] = []
        # Read at all times: a full stderr window would stop the command.
        self._drain = threading.Thread(target=self._read_errors, daemon=True)
        self._drain.start()

    def read(self, size: int = WINDOW_BYTES) -> bytes:
        """Up to `size` bytes of stdout, as soon as there are some; empty at its end."""
        with _wrap_errors(self._address):
            return self._channel.recv(size)

    def read_all(self) -> bytes:
        """The rest of stdout."""
        return b"".join(iter(self.read, b""))

    def read_exactly(self, size: int) -> bytes:
        """`size` bytes of stdout, fewer at its end."""
        parts, missing = [], size
        while missing and (part := self.read(missing)):
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    def read_line(self) -> bytes:
        """A line of stdout with its newline; a byte at a time, for short lines."""
        line = bytearray()
        while not line.endswith(b"\n") and (part := self.read(1)):
            line += part
        return bytes(line)

    def write(self, content: bytes) -> int:
        """Send all of `content` to stdin."""
        with _wrap_errors(self._address):
            self._channel.sendall(content)
        return len(content)

    def close_input(self) -> None:
        """Tell the command that there is no more to read."""
        with _wrap_errors(self._address):
            self._channel.shutdown_write()

    def wait(self) -> tuple[int, str]:
        """Exit status and stderr; waits for the command's end."""
        code = self._channel.recv_exit_status()
        if code == -1:
            raise _unreachable(self._address, "the connection broke")
        self._drain.join(CONNECT_TIMEOUT_S)
        return code, b"".join(self._errors).decode(errors="replace")

    def _read_errors(self) -> None:
        with contextlib.suppress(OSError):
            while chunk := self._channel.recv_stderr(WINDOW_BYTES):
                self._errors.append(chunk)


class Host:
    """One machine over SSH. Connects at first use; every method may raise Unreachable.

    The connection accepts `address.host_key` and no other, reads no configuration, agent or key of
    the user's, and sends keepalives, so that a dead link is found out.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self._connection: fabric.Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Drop the connection; what runs on the machine is not touched. Safe to repeat."""
        if self._connection:
            self._connection.close()
            self._connection = None

    def connect(self) -> None:
        """Connect now, rather than at first use."""
        with _wrap_errors(self.address):
            self._open_transport()

    def move(self, address: Address) -> None:
        """From now on, the machine is at `address`."""
        self.address = address
        self.close()

    def run(self, argv: Sequence[str], stdin: bytes = b"", timeout_s: float = 600.0) -> Result:
        """Run a command and wait for its end, whatever its status."""
        with self.stream(argv, timeout_s) as stream:
            feeder = threading.Thread(target=_feed, args=(stream, stdin), daemon=True)
            feeder.start()
            output = stream.read_all()
            code, errors = stream.wait()
            feeder.join()
        return Result(code, output, errors)

    def check(self, argv: Sequence[str], stdin: bytes = b"", timeout_s: float = 600.0) -> bytes:
        """Like `run`, for a command that has to succeed; its stdout.

        Raises:
            CommandFailed: it did not; the message ends with the last of its stderr.
        """
        result = self.run(argv, stdin, timeout_s)
        if result.code:
            raise CommandFailed(
                f"{shlex.join(argv)[:200]} on {self.address} ended with {result.code}: "
                f"{result.last_words}"
            )
        return result.stdout

    @contextmanager
    def stream(self, argv: Sequence[str], timeout_s: float = 600.0) -> Iterator[Stream]:
        """A running command and its pipes; leaving the block closes them.

        A read or write that moves nothing for `timeout_s` raises Unreachable.
        """
        with _wrap_errors(self.address):
            channel = self._open_transport().open_session(timeout=CONNECT_TIMEOUT_S)
            channel.settimeout(timeout_s)
            channel.exec_command(shlex.join(argv))
        try:
            yield Stream(channel, self.address)
        finally:
            # To close is to tell the other side: who reads or writes hears that the link is gone.
            with contextlib.suppress(Unreachable), _wrap_errors(self.address):
                channel.close()

    def open_tunnel(self, port: int) -> "paramiko.Channel":
        """A byte stream to `port` on the machine's own 127.0.0.1; for the caller to close.

        Raises:
            Unreachable: also where nothing answers at that port.
        """
        with _wrap_errors(self.address):
            return self._open_transport().open_channel(
                "direct-tcpip", ("127.0.0.1", port), ("127.0.0.1", 0), timeout=CONNECT_TIMEOUT_S
            )

    def put(self, path: str, content: bytes, mode: int = 0o600) -> None:
        """Write a small file, whole or not at all; its folder must exist."""
        with _wrap_errors(self.address):
            sftp = self._open_transport().open_sftp_client()
            assert sftp is not None  # None only where opening has raised before
            with sftp, sftp.open(f"{path}.partial", "wb") as writer:
                writer.write(content)
                writer.chmod(mode)
                writer.close()
                sftp.posix_rename(f"{path}.partial", path)

    def _open_transport(self) -> "paramiko.Transport":
        if self._connection and not self._connection.is_connected:
            self.close()
        if self._connection is None:
            self._connection = self._connect()
        transport: paramiko.Transport = self._connection.transport
        return transport

    def _connect(self) -> "fabric.Connection":
        import logging

        import fabric
        import paramiko

        # What it has to say of a broken link is said by who meets the error.
        logging.getLogger("paramiko").addHandler(logging.NullHandler())
        connection = fabric.Connection(
            self.address.host,
            user=self.address.user,
            port=self.address.port,
            # Empty and lazy: nothing of the user's own SSH or Fabric configuration applies here.
            config=fabric.Config(ssh_config=paramiko.SSHConfig(), lazy=True),
            connect_timeout=int(CONNECT_TIMEOUT_S),
            connect_kwargs={
                "key_filename": str(self.address.key_path),
                "allow_agent": False,
                "look_for_keys": False,
                "banner_timeout": CONNECT_TIMEOUT_S,
                "auth_timeout": CONNECT_TIMEOUT_S,
            },
        )
        self._pin(connection.client)
        connection.open()
        connection.transport.set_keepalive(KEEPALIVE_S)
        return connection

    def _pin(self, client: "paramiko.SSHClient") -> None:
        """Know the one host key, and refuse where Fabric would add a new one."""
        import paramiko

        client.set_missing_host_key_policy(paramiko.RejectPolicy())
        kind, blob = self.address.host_key.split()[:2]
        key = paramiko.PKey.from_type_string(kind, base64.b64decode(blob))
        host, port = self.address.host, self.address.port
        client.get_host_keys().add(host if port == 22 else f"[{host}]:{port}", kind, key)


def read_last_words(text: str) -> str:
    """The last line of what a command wrote to stderr; it may have written nothing."""
    return (text.strip().splitlines() or ["it said nothing"])[-1].strip()


@contextmanager
def _wrap_errors(address: Address) -> Iterator[None]:
    import paramiko

    try:
        yield
    except paramiko.BadHostKeyException as error:
        raise HostKeyRefused(
            f"The machine at {address} shows another host key than the one made for this run. "
            "Nothing was sent to it.",
            fix="Somebody else answers at that address: segaway down RUN, then run again.",
        ) from error
    except (paramiko.SSHException, OSError, EOFError) as error:
        raise _unreachable(address, str(error) or type(error).__name__) from error


def _unreachable(address: Address, why: str) -> Unreachable:
    return Unreachable(
        f"No connection to {address}: {why}.",
        fix="Check the network and repeat the command; what runs there goes on.",
    )


def _feed(stream: Stream, content: bytes) -> None:
    with contextlib.suppress(Unreachable):  # a command that ends early need not read it all
        stream.write(content)
        stream.close_input()

"""A port of this machine that leads to a port of another, through its SSH connection."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import TYPE_CHECKING, Any

from remote.errors import RemoteError
from remote.host import Host

if TYPE_CHECKING:
    import paramiko

LOOPBACK = "127.0.0.1"
CHUNK_BYTES = 2**16
POLL_S = 0.1


@contextmanager
def forward_port(host: Host, remote_port: int, local_port: int = 0) -> Iterator[int]:
    """A port on this machine's 127.0.0.1 that leads to `remote_port` on the host's; its number.

    `local_port` 0 takes any free one. Leaving the block ends every connection through it. A
    connection that cannot be led on is closed at once: a browser says so itself.

    Raises:
        RemoteError: `local_port` cannot be had.
    """
    with _listen(host, remote_port, local_port) as server:
        serving = threading.Thread(target=server.serve_forever, args=(POLL_S,), daemon=True)
        serving.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            server.end_connections()


def _listen(host: Host, remote_port: int, local_port: int) -> "_Forwarder":
    try:
        return _Forwarder(host, remote_port, local_port)
    except OSError as error:
        raise RemoteError(
            f"Port {local_port} on {LOOPBACK} cannot be had: {error.strerror or error}.",
            fix="Take another port, or 0 for any free one.",
        ) from error


class _Forwarder(ThreadingTCPServer):
    """Accepts on this machine; each connection is a thread."""

    daemon_threads = True
    allow_reuse_address = True
    server_address: tuple[str, int]

    def __init__(self, host: Host, remote_port: int, local_port: int) -> None:
        self._host = host
        self._remote_port = remote_port
        self._open: set[paramiko.Channel] = set()
        # One at a time: a Host that has to connect anew is not made for several threads.
        self._opening = threading.Lock()
        super().__init__((LOOPBACK, local_port), _Connection)

    def lead(self, connection: socket.socket) -> None:
        """Join an accepted connection to one on the host, until either end is done."""
        with contextlib.suppress(RemoteError):
            with self._opening:
                channel = self._host.open_tunnel(self._remote_port)
            self._open.add(channel)
            try:
                _join(connection, channel)
            finally:
                self._open.discard(channel)
                with contextlib.suppress(OSError, EOFError):
                    channel.close()

    def end_connections(self) -> None:
        for channel in list(self._open):
            # Its link may be gone: then it is closed already.
            with contextlib.suppress(OSError, EOFError):
                channel.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: a browser that goes away in the middle is no news."""


class _Connection(BaseRequestHandler):
    server: _Forwarder

    def handle(self) -> None:
        self.server.lead(self.request)


def _join(connection: socket.socket, channel: "paramiko.Channel") -> None:
    sending = threading.Thread(target=_send, args=(connection, channel), daemon=True)
    sending.start()
    with contextlib.suppress(OSError):
        while content := channel.recv(CHUNK_BYTES):
            connection.sendall(content)
    # The host has said all: this also wakes the other thread out of its read.
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    sending.join()


def _send(connection: socket.socket, channel: "paramiko.Channel") -> None:
    with contextlib.suppress(OSError):
        while content := connection.recv(CHUNK_BYTES):
            channel.sendall(content)
    # Its answer may still come: only this direction is done.
    with contextlib.suppress(OSError, EOFError):
        channel.shutdown_write()

"""A forwarded port, against the local cloud's real SSH node."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from provision.sshnode import CHUNK_BYTES
from remote.errors import RemoteError, Unreachable
from remote.forward import forward_port
from remote.host import Address, Host


@contextmanager
def serve_echo(address: str = "127.0.0.1") -> Iterator[int]:
    """A server that sends everything back, and ends with its client; its port."""
    with socket.create_server((address, 0)) as listener:

        def echo(connection: socket.socket) -> None:
            with connection:
                while content := connection.recv(CHUNK_BYTES):
                    connection.sendall(content)

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=echo, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def exchange(port: int, content: bytes) -> bytes:
    """What comes back for `content`, to the end of the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:

        def send() -> None:
            connection.sendall(content)
            connection.shutdown(socket.SHUT_WR)

        sending = threading.Thread(target=send)
        sending.start()
        parts = list(iter(lambda: connection.recv(CHUNK_BYTES), b""))
        sending.join()
    return b"".join(parts)


def test_bytes_pass_both_ways_and_each_end_may_end(host: Host) -> None:
    content = os.urandom(3 * 2**20)
    with serve_echo() as served, forward_port(host, served) as port:
        assert exchange(port, content) == content
        assert exchange(port, b"again") == b"again"


def test_connections_go_side_by_side(host: Host) -> None:
    with (
        serve_echo() as served,
        forward_port(host, served) as port,
        socket.create_connection(("127.0.0.1", port), timeout=30) as first,
    ):
        assert exchange(port, b"second") == b"second"
        first.sendall(b"first")
        assert first.recv(5) == b"first"


def test_leaving_the_block_ends_its_connections(host: Host) -> None:
    with serve_echo() as served:
        with forward_port(host, served) as port:
            connection = socket.create_connection(("127.0.0.1", port), timeout=30)
            connection.sendall(b"x")
            assert connection.recv(1) == b"x"
        with connection:
            assert connection.recv(1) == b""
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=30)


def test_where_nothing_answers_the_connection_is_closed(host: Host) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        closed = probe.getsockname()[1]
    with forward_port(host, closed) as port:
        assert exchange(port, b"") == b""
    with pytest.raises(Unreachable, match="No connection to"):
        host.open_tunnel(closed)


def test_a_machine_that_is_gone_closes_the_connection(node: tuple[Address, str]) -> None:
    address = Address("127.0.0.1", 1, node[0].user, node[0].host_key, node[0].key_path)
    with Host(address) as gone, forward_port(gone, 80) as port:
        assert exchange(port, b"") == b""


def test_a_taken_port_is_said(host: Host) -> None:
    with (
        serve_echo() as taken,
        pytest.raises(RemoteError, match="cannot be had") as caught,
        forward_port(host, 80, taken),
    ):
        pass
    assert str(taken) in str(caught.value)
    assert caught.value.fix == "Take another port, or 0 for any free one."


def test_the_node_tunnels_to_itself_alone(host: Host) -> None:
    import paramiko

    host.check(["true"])
    assert host._connection
    transport = host._connection.transport
    for address, is_led in (("127.0.0.1", True), ("127.0.0.2", False)):
        with serve_echo(address) as served:
            refused = None
            try:
                target = (address, served)
                transport.open_channel("direct-tcpip", target, ("127.0.0.1", 0)).close()
            except paramiko.ChannelException as error:
                refused = error
            assert (refused is None) == is_led

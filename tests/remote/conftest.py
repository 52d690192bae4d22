"""A node of the local cloud, for the tests of what stands on a `Host`."""

import os
from collections.abc import Iterator

import pytest

from provision.clouds.local import LocalCloud
from remote.calls import install_agent
from remote.host import Address, Host
from remote.keys import ensure_key
from tests.fakes.orders import create, make_order


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Address, str]]:
    """A node's address, and its volume's folder."""
    folder = tmp_path_factory.mktemp("node")
    host_key, client_key = ensure_key(folder / "host_key"), ensure_key(folder / "client_key")
    cloud = LocalCloud(folder, 0)
    # Its end is the end of all that has its name: no other worker's node may have it.
    order = make_order(cloud, f"remote-{os.getpid()}", seconds=3600)
    create(cloud, order, folder)
    made = cloud.wait_node(order.label("node"), 30)
    yield Address(made.host, made.port, made.user, host_key.public, client_key.path), made.root
    for item in cloud.find_all():
        cloud.destroy(item.kind, item.label)


@pytest.fixture
def host(node: tuple[Address, str]) -> Iterator[Host]:
    with Host(node[0]) as host:
        install_agent(host, node[1])
        yield host


@pytest.fixture
def root(node: tuple[Address, str]) -> str:
    return node[1]

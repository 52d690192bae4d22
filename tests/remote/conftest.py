"""A node of the local cloud, for the tests of what stands on a `Host`."""

import os
import time
from collections.abc import Iterator

import pytest

from provision.base import NodeSpec, VolumeSpec
from provision.clouds.local import LocalCloud
from remote.calls import install_agent
from remote.host import Address, Host
from remote.keys import ensure_key


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Address, str]]:
    """A node's address, and its volume's folder."""
    folder = tmp_path_factory.mktemp("node")
    host_key, client_key = ensure_key(folder / "host_key"), ensure_key(folder / "client_key")
    cloud = LocalCloud(folder, 0)
    cloud.create_volume(cloud.volume_request(VolumeSpec("vol", "this-machine", 10)))
    spec = NodeSpec(
        # Its end is the end of all that has its name: no other worker's node may have it.
        f"segaway-remote-{os.getpid()}-node",
        "this-machine",
        "process",
        "vol",
        host_key.path,
        client_key.public,
        time.time() + 3600,
    )
    made = cloud.wait_node(cloud.create_node(cloud.node_request(spec)).id, 30)
    yield Address(made.host, made.port, made.user, host_key.public, client_key.path), made.root
    cloud.destroy("node", made.id)
    cloud.destroy("volume", "vol")


@pytest.fixture
def host(node: tuple[Address, str]) -> Iterator[Host]:
    with Host(node[0]) as host:
        install_agent(host, node[1])
        yield host


@pytest.fixture
def root(node: tuple[Address, str]) -> str:
    return node[1]

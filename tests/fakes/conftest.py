"""A bed with one node on it, and the way in."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from remote.host import Address, Host
from remote.keys import ensure_key
from tests.fakes.bed import Bed
from tests.fakes.nodes import PORT, BedNode

VOLUME, ROOT = "bed-vol", "/mnt/segaway"
Start = Callable[..., BedNode]
Connect = Callable[[BedNode], Host]


@pytest.fixture
def start(bed: Bed, tmp_path: Path) -> Start:
    """Boot a node, with the volume or without, and wait until it is up."""
    host_key, client_key = ensure_key(tmp_path / "host_key"), ensure_key(tmp_path / "client_key")

    def start(label: str, volume: str | None = None, seconds: float = 600) -> BedNode:
        deadline_s = time.time() + seconds
        node = bed.start_node(label, host_key.path, client_key.public, volume, deadline_s)
        node.wait_up()
        return node

    return start


@pytest.fixture
def connect(tmp_path: Path) -> Connect:
    """The node as the product sees it."""
    host_key, client_key = ensure_key(tmp_path / "host_key"), ensure_key(tmp_path / "client_key")
    return lambda node: Host(Address(node.address, PORT, "root", host_key.public, client_key.path))


@pytest.fixture
def node(start: Start) -> BedNode:
    """A node without a volume."""
    return start("bed-node")


@pytest.fixture
def mounted(bed: Bed, start: Start) -> BedNode:
    """A node whose volume is mounted at ROOT, and will be after each boot."""
    bed.create_volume(VOLUME, 512)
    node = start("bed-node", VOLUME)
    node.run(["mkfs.ext4", "-q", node.device])
    mount_volume(node)
    return node


def mount_volume(node: BedNode) -> None:
    """Mount the volume at ROOT, by way of fstab."""
    line = f"{node.device} {ROOT} ext4 defaults 0 2"
    node.run(["sh", "-c", f"mkdir -p {ROOT} && echo '{line}' >> /etc/fstab && mount -a"])

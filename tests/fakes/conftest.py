"""A bed with one node on it, and the way in."""

import pytest

from tests.conftest import Start
from tests.fakes.bed import Bed
from tests.fakes.nodes import BedNode

VOLUME, ROOT = "bed-vol", "/mnt/segaway"


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

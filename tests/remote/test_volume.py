"""Real block devices: formatted when blank and only then, mounted, remembered, unmounted."""

import pytest

from remote.errors import VolumeError
from remote.host import Host
from remote.volume import mount_volume, unmount_volume
from tests.conftest import Connect, Start, wait_until
from tests.fakes.bed import Bed
from tests.fakes.nodes import BedNode

ROOT = "/mnt/segaway"
# One entry, of type 83 and 1000 sectors from 2048 on, as a partition table in the old style has it.
PARTITION = (
    'import struct, sys; f = open(sys.argv[1], "r+b"); f.seek(446); '
    'f.write(struct.pack("<8B2L", 0, 0, 0, 0, 0x83, 0, 0, 0, 2048, 1000) + bytes(48)); '
    'f.write(b"\\x55\\xaa")'
)


@pytest.fixture
def node(bed: Bed, start: Start) -> BedNode:
    """A node with a volume that nobody has used yet."""
    bed.create_volume("vol", 512)
    return start("bed-node", "vol")


@pytest.fixture
def host(node: BedNode, connect: Connect) -> Host:
    return connect(node)


def test_a_blank_volume_is_formatted_mounted_and_closed_to_others(
    node: BedNode, host: Host
) -> None:
    mount_volume(host, node.device, ROOT)
    assert node.run(["stat", "-c", "%a %U", ROOT]).stdout == "700 root\n"
    assert node.run(["findmnt", "-n", "-o", "FSTYPE", "-M", ROOT]).stdout == "ext4\n"
    line = f"{node.device} {ROOT} ext4 defaults,noatime,nofail 0 2"
    assert line in node.run(["cat", "/etc/fstab"]).stdout.splitlines()


def test_mounting_again_changes_nothing(node: BedNode, host: Host) -> None:
    mount_volume(host, node.device, ROOT)
    node.run(["touch", f"{ROOT}/kept"])
    fstab = node.run(["cat", "/etc/fstab"]).stdout
    mount_volume(host, node.device, ROOT)
    assert node.run(["ls", ROOT]).stdout.split() == ["kept", "lost+found"]
    assert node.run(["cat", "/etc/fstab"]).stdout == fstab


def test_a_volume_comes_back_with_its_node(node: BedNode, host: Host) -> None:
    mount_volume(host, node.device, ROOT)
    node.run(["touch", f"{ROOT}/kept"])
    node.reboot()
    node.wait_up()
    mount_volume(host, node.device, ROOT)
    assert node.run(["test", "-e", f"{ROOT}/kept"]).returncode == 0


def test_a_volume_that_was_used_elsewhere_keeps_what_is_on_it(
    bed: Bed, node: BedNode, host: Host, start: Start, connect: Connect
) -> None:
    mount_volume(host, node.device, ROOT)
    node.run(["sh", "-c", f"echo data > {ROOT}/kept"])
    unmount_volume(host, ROOT)
    bed.destroy_node(node.label)
    other = start("other", "vol")
    mount_volume(connect(other), other.device, ROOT)
    assert other.run(["cat", f"{ROOT}/kept"]).stdout == "data\n"


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("mkswap $0", "holds swap"),
        (f"python3 -c '{PARTITION}' $0", "holds dos"),
        ("printf precious | dd of=$0 bs=1 seek=5000000 conv=notrunc", "is not empty"),
    ],
    ids=["another file system", "a partition table", "anything at all"],
)
def test_what_is_not_blank_is_never_formatted(
    node: BedNode, host: Host, script: str, message: str
) -> None:
    node.run(["sh", "-c", script, node.device])
    before = node.run(["md5sum", node.device]).stdout
    with pytest.raises(VolumeError, match=message) as refused:
        mount_volume(host, node.device, ROOT)
    assert "It was not touched." in str(refused.value)
    assert node.run(["md5sum", node.device]).stdout == before
    assert node.run(["cat", "/etc/fstab"]).stdout.count(ROOT) == 0


def test_another_device_in_its_place_is_said(node: BedNode, host: Host) -> None:
    node.run(["mkdir", "-p", ROOT])
    node.run(["mount", "-t", "tmpfs", "tmpfs", ROOT])
    with pytest.raises(VolumeError, match=r"tmpfs is mounted instead of /dev/disk/by-id/"):
        mount_volume(host, node.device, ROOT)


def test_a_device_that_never_comes_is_waited_for_and_said(host: Host) -> None:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += 10 * seconds

    with pytest.raises(VolumeError, match="has not come up"):
        mount_volume(host, "/dev/disk/by-id/none", ROOT, clock=lambda: now[0], sleep=sleep)
    assert now[0] >= 120


def test_a_device_that_comes_late_is_waited_for(node: BedNode, host: Host) -> None:
    node.run(["mv", "/dev/disk/by-id", "/dev/disk/later"])

    def sleep(_seconds: float) -> None:
        node.run(["mv", "/dev/disk/later", "/dev/disk/by-id"])

    mount_volume(host, "/dev/disk/by-id/scsi-0Linode_Volume_vol", ROOT, sleep=sleep)
    assert node.run(["findmnt", "-n", "-M", ROOT]).stdout


def test_a_volume_in_use_is_not_torn_away(node: BedNode, host: Host) -> None:
    mount_volume(host, node.device, ROOT)
    with host.stream(["sh", "-c", f"cd {ROOT} && echo in && cat"]) as stream:
        assert stream.read_line() == b"in\n"
        with pytest.raises(VolumeError, match=r"umount for .* ended with 32: .*busy"):
            unmount_volume(host, ROOT)
    wait_until(lambda: _is_unmounted(host))
    unmount_volume(host, ROOT)  # safe to repeat
    assert not node.run(["findmnt", "-n", "-M", ROOT], check=False).stdout


def _is_unmounted(host: Host) -> bool:
    try:
        unmount_volume(host, ROOT)
    except VolumeError:
        return False
    return True

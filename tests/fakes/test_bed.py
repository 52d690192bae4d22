"""What the test bed promises of its machines, disks and cables."""

import shutil
import socket
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.conftest import Connect, Start, wait_until
from tests.fakes import links, volumes
from tests.fakes.bed import Bed
from tests.fakes.conftest import ROOT, VOLUME, mount_volume
from tests.fakes.nodes import BedNode
from tests.fakes.processes import is_same

MEGABYTE = 10**6


def test_a_node_answers_ssh_at_once_with_the_key_that_it_was_given(
    start: Start, connect: Connect
) -> None:
    began = time.monotonic()
    node = start("bed-node")
    # A tenth of that on an idle machine; what counts is that no test has to spare it.
    assert time.monotonic() - began < 5
    with connect(node) as host:
        assert host.check(["uname", "-n"]) == b"bed-node\n"


def test_a_node_s_python_has_what_the_trainer_imports(node: BedNode, connect: Connect) -> None:
    probe = "import importlib.util as u; print(*map(bool, map(u.find_spec, ['torch', 'pydantic'])))"
    with connect(node) as host:
        assert host.check(["python3", "-c", probe]) == b"True True\n"


def test_a_node_sees_its_own_processes_and_files_only(node: BedNode) -> None:
    node.run(["sh", "-c", "echo mine > /etc/mine; echo mine > /tmp/mine; echo mine > /root/mine"])
    for folder in ("/etc", "/tmp", "/root"):
        assert not Path(folder, "mine").exists()
    assert not node.run(["ls", "/mnt"]).stdout
    assert "unshare" not in node.run(["ps", "ax"]).stdout


def test_a_reboot_keeps_the_disk_and_ends_all_else(node: BedNode, connect: Connect) -> None:
    boot_id = node.run(["cat", "/proc/sys/kernel/random/boot_id"]).stdout
    node.run(["sh", "-c", "for d in etc root var tmp run; do echo kept > /$d/mine; done"])
    with connect(node) as host:
        host.check(["sh", "-c", "setsid sleep 1234 >/dev/null 2>&1 &"])
    assert "sleep 1234" in node.run(["ps", "ax"]).stdout
    node.reboot()
    node.wait_up()
    kept = node.run(["sh", "-c", "ls /*/mine"]).stdout.split()
    assert kept == ["/etc/mine", "/root/mine", "/var/mine"]
    assert "sleep 1234" not in node.run(["ps", "ax"]).stdout
    assert node.run(["cat", "/proc/sys/kernel/random/boot_id"]).stdout != boot_id


def test_a_killed_node_is_gone_and_its_label_and_volume_can_be_had(bed: Bed, start: Start) -> None:
    bed.create_volume(VOLUME, 64)
    node = start("bed-node", VOLUME)
    node.kill()
    assert bed.find_node("bed-node") is None
    assert not node.is_up()
    start("bed-node", VOLUME).kill()
    assert start("another", VOLUME).is_up()


def test_a_node_ends_itself_at_its_deadline(bed: Bed, start: Start) -> None:
    node = start("bed-node", seconds=600)
    node.set_deadline(time.time() + 0.5)
    wait_until(lambda: bed.find_node("bed-node") is None, 10)
    assert "the deadline has come" in node.read_console()


def test_a_volume_is_blank_and_has_the_name_that_its_cloud_gives_it(bed: Bed, start: Start) -> None:
    bed.create_volume(VOLUME, 64)
    node = start("bed-node", VOLUME)
    assert node.device == "/dev/disk/by-id/scsi-0Linode_Volume_bed-vol"
    assert node.run(["blkid", node.device], check=False).returncode == 2
    assert node.run(["blockdev", "--getsize64", node.device]).stdout == f"{64 * 2**20}\n"


def test_a_volume_keeps_its_data_over_a_reboot_and_on_another_node(
    bed: Bed, mounted: BedNode, start: Start
) -> None:
    mounted.run(["sh", "-c", f"echo kept > {ROOT}/file"])
    mounted.reboot()
    mounted.wait_up()
    assert mounted.run(["cat", f"{ROOT}/file"]).stdout == "kept\n"
    bed.destroy_node("bed-node")
    other = start("other", VOLUME)
    mount_volume(other)
    assert other.run(["cat", f"{ROOT}/file"]).stdout == "kept\n"


def test_a_volume_is_not_taken_from_a_living_node(bed: Bed, start: Start) -> None:
    bed.create_volume(VOLUME, 64)
    start("bed-node", VOLUME)
    with pytest.raises(OSError, match="attached to bed-node"):
        start("other", VOLUME)
    with pytest.raises(OSError, match="attached to bed-node"):
        bed.destroy_volume(VOLUME)


def test_a_full_volume_takes_no_more_until_it_is_emptied(mounted: BedNode) -> None:
    mounted.fill(ROOT)
    write = ["dd", "if=/dev/zero", f"of={ROOT}/file", "bs=1M", "count=2"]
    assert "No space left" in mounted.run(write, check=False).stderr
    mounted.unfill(ROOT)
    mounted.run(write)


def test_what_is_not_the_volume_is_never_filled(node: BedNode) -> None:
    for path in ("/", "/var", "/root", "/tmp"):
        with pytest.raises(ValueError, match="does not lie on the volume"):
            node.fill(path)


def test_a_cut_link_says_nothing_and_goes_on_when_it_is_mended(
    node: BedNode, connect: Connect
) -> None:
    with connect(node) as host:
        host.check(["true"])
        node.cut()
        assert not node.is_up()
        assert node.is_booted()
        node.mend()
        assert host.check(["echo", "the same connection"]) == b"the same connection\n"


def test_a_slow_link_is_as_slow_as_it_is_told_in_both_directions(
    node: BedNode, connect: Connect
) -> None:
    content = bytes(MEGABYTE)
    with connect(node) as host:
        host.check(["true"])
        node.slow(4)
        for argv, stdin in ((["head", "-c", str(MEGABYTE), "/dev/zero"], b""), (["wc"], content)):
            began = time.monotonic()
            host.check(argv, stdin)
            assert 1.6 < time.monotonic() - began < 8
        node.slow(0)
        began = time.monotonic()
        host.check(["wc"], content)
        assert time.monotonic() - began < 1.6


def test_a_bad_link_loses_its_share_of_the_packets(node: BedNode) -> None:
    assert count_arrivals(node, 200) == 200
    node.lose(0.3)
    assert 110 <= count_arrivals(node, 200) <= 170
    node.lose(0)
    assert count_arrivals(node, 200) == 200


def count_arrivals(node: BedNode, sent: int) -> int:
    """How many of so many datagrams come from the node to the laptop."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind((links.GATEWAY, 0))
        # The kernel may take its time to hand them on, when the machine is busy.
        receiver.settimeout(1.0)
        script = (
            "import socket as s; link = s.socket(s.AF_INET, s.SOCK_DGRAM)\n"
            f"for _ in range({sent}): link.sendto(b'x', {receiver.getsockname()})"
        )
        # What arrives waits in the receiver's buffer, which holds these few.
        node.run(["python3", "-c", script])
        arrived = 0
        while True:
            try:
                receiver.recv(16)
            except TimeoutError:
                return arrived
            arrived += 1


def test_what_is_left_of_a_bed_that_was_never_cleared_goes_with_its_folder(
    bed: Bed, start: Start
) -> None:
    bed.create_volume(VOLUME, 64)
    node = start("bed-node", VOLUME)
    number, device = node.record()["number"], node.record()["disks"][VOLUME]["loop"]
    process = psutil.Process(node.record()["supervisor"]["pid"])
    shutil.rmtree(bed.folder)
    process.wait(10)
    start("another")
    assert not Path(f"/run/netns/{links.name_space(number)}").exists()
    assert not Path("/sys/block", Path(device).name, "loop/backing_file").exists()


def test_a_node_that_moves_answers_at_its_new_address_only(node: BedNode, bed: Bed) -> None:
    old = node.address
    node.move()
    assert node.address != old
    node.wait_up()
    with pytest.raises(OSError):  # noqa: PT011  # refused or timed out, as the kernel likes
        socket.create_connection((old, 22), timeout=0.5)
    node.reboot()
    node.wait_up()
    assert bed.open_node("bed-node").address == node.address != old


def test_nothing_is_left_of_a_bed_that_was_cleared(bed: Bed, mounted: BedNode) -> None:
    number, known = mounted.record()["number"], mounted.record()["supervisor"]
    path = bed.find_volume(VOLUME)
    assert path
    mounted.lose(0.1)
    bed.clear()
    assert not is_same(known)
    assert not volumes.find_devices(path)
    assert not Path(f"/run/netns/{links.name_space(number)}").exists()
    assert not Path(f"/sys/class/net/{links.name_near(number)}").exists()
    rules = subprocess.run(["iptables", "-t", "raw", "-S"], capture_output=True, check=True).stdout
    assert f"segaway-{number} ".encode() not in rules
    assert not list((bed.folder / "nodes").iterdir())

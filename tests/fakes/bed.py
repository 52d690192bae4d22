"""The test bed: nodes that are nearly machines, and volumes that outlive them, on this machine.

A node can die, boot again, move, fill up, and lose its link (`nodes.py`). All that is known of a
bed lies in its folder, so that every process that opens it sees the same.
"""

import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.fakes import links, volumes
from tests.fakes.images import ensure_image
from tests.fakes.nodes import SYSTEM_PATH, BedNode, Build, lock_bed
from tests.fakes.processes import sweep_cgroups

PROGRAMS = (
    *("ip", "iptables", "losetup", "nsenter", "unshare", "tc", "mkfs.ext4", "blkid"),
    *("podman", "runc", "/usr/sbin/sshd", "/usr/lib/podman/netavark"),
)


def find_missing() -> list[str]:
    """The programs that a bed needs and that are not installed."""
    return [name for name in PROGRAMS if not shutil.which(name, path=SYSTEM_PATH)]


def find_obstacle() -> str:
    """Why there can be no bed on this machine, whatever is installed; empty where there can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "the test bed needs root on Linux"
    if not Path("/dev/loop-control").exists():
        return "the test bed needs loop devices"
    try:
        subprocess.run(["unshare", "-m", "-n", "-p", "-f", "true"], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "the test bed needs the right to make namespaces"
    return ""


class Bed:
    """Nodes and volumes, by label, in a folder. To make one does nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()

    def create_volume(self, label: str, size_mib: int = 1024) -> None:
        """A blank disk. Raises FileExistsError where there is one with that label."""
        volumes.make_volume(self._volume(label), size_mib)

    def destroy_volume(self, label: str) -> None:
        """Its data is gone for good. Raises OSError while it is attached to a living node."""
        path = self._volume(label)
        with lock_bed(self.folder):
            if path.exists():
                self._free_volume(label)
                path.unlink()

    def find_volume(self, label: str) -> Path | None:
        """The file that the volume is; None where there is none."""
        path = self._volume(label)
        return path if path.exists() else None

    def volumes(self) -> list[str]:
        """The labels of the volumes."""
        return sorted(path.name for path in (self.folder / "volumes").glob("[!.]*"))

    def start_node(
        self,
        label: str,
        host_key: Path,
        authorized_key: str,
        volume_label: str | None = None,
        deadline_s: float = float("inf"),
    ) -> BedNode:
        """A node that boots; `wait_up` waits for it. A dead one with that label gives way.

        Raises:
            FileExistsError: a node with that label lives.
            OSError: the volume is attached to another one, or there is none.
        """
        build = Build(host_key.read_text(), authorized_key)
        return self.build_node(label, build, [volume_label] if volume_label else [], deadline_s)

    def build_node(
        self,
        label: str,
        build: Build,
        volume_labels: Sequence[str] = (),
        deadline_s: float = float("inf"),
        number: int | None = None,
        is_local: bool = False,
    ) -> BedNode:
        """The same, for a node of any make.

        Its address is that of `number`, which was taken for it; where it is local, it has no
        network of its own, but an address on the loopback.
        """
        store = ensure_image()
        with lock_bed(self.folder):
            if self.find_node(label):
                raise FileExistsError(f"there is a node {label}")
            self._remove_node(label)
            for volume in volume_labels:
                self._free_volume(volume)
            node = self.open_node(label)
            (node.folder / "disk").mkdir(parents=True)
            number = links.take_number(node.folder) if number is None else number
            place = {"number": number, "address": number, "is_local": is_local}
            node.write("record", {**place, "disks": {}})
            if not is_local:
                links.make_link(number)
            for volume in volume_labels:
                node.plug(volume, volumes.attach_volume(self._volume(volume)))
            node.set_deadline(deadline_s)
            node.prepare(build, store)
            node.boot()
        return node

    def attach_volume(self, label: str, volume_label: str) -> None:
        """The node has the volume too, at once where it lives.

        Raises:
            OSError: the volume is attached to another one, or there is none.
        """
        with lock_bed(self.folder):
            self._free_volume(volume_label)
            # What was detached while it was mounted is free once it no longer is.
            volumes.detach_volume(self._volume(volume_label))
            self.open_node(label).plug(
                volume_label, volumes.attach_volume(self._volume(volume_label))
            )

    def detach_volume(self, label: str, volume_label: str) -> bool:
        """The node has the volume no more; False where something in it still uses it."""
        with lock_bed(self.folder):
            self.open_node(label).unplug(volume_label)
            return volumes.let_go(self._volume(volume_label))

    def find_node(self, label: str) -> BedNode | None:
        """The node, booting or up; None when it is dead or never was."""
        node = self.open_node(label)
        return node if node.is_alive() else None

    def open_node(self, label: str) -> BedNode:
        """The node, dead or alive: what there is to know and to do, also before it is there."""
        return BedNode(self.folder, label)

    def nodes(self) -> list[BedNode]:
        """All that live."""
        return [node for label in self._labels() if (node := self.find_node(label))]

    def destroy_node(self, label: str) -> None:
        """Returns when nothing of it is left but its volume. Already gone is success."""
        with lock_bed(self.folder):
            self._remove_node(label)

    def clear(self) -> None:
        """Everything goes."""
        for label in self._labels():
            self.destroy_node(label)
        for label in self.volumes():
            self.destroy_volume(label)
        links.drop_bridge()

    def _volume(self, label: str) -> Path:
        return self.folder / "volumes" / label

    def _labels(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "nodes").glob("[!.]*"))

    def _free_volume(self, label: str) -> None:
        """A dead node holds nothing; from a living one nothing is taken."""
        if not self._volume(label).exists():
            raise FileNotFoundError(f"there is no volume {label}")
        for name in self._labels():
            node = self.open_node(name)
            if label in node.record().get("disks", {}):
                if node.is_alive():
                    raise OSError(f"the volume {label} is attached to {name}")
                self._remove_node(name)

    def _remove_node(self, label: str) -> None:
        node = self.open_node(label)
        record = node.record()
        # Also one that was started by a process that died before it could write that down.
        (node.folder / "deadline").unlink(missing_ok=True)
        node.end()
        if record:
            if record["is_local"]:
                links.free_number(record["number"])
            else:
                links.destroy_link(record["number"], record["address"])
            for volume in record["disks"]:
                volumes.detach_volume(self._volume(volume))
        if node.folder.exists():
            going = node.folder.with_name(f".{secrets.token_hex(4)}.gone")
            node.folder.rename(going)
            shutil.rmtree(going, ignore_errors=True)
        sweep_cgroups()

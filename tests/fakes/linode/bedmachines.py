"""Instances that are nodes of the test bed, delivered with what a cloud's image has on it."""

import json
import shutil
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.fakes import links
from tests.fakes.bed import Bed
from tests.fakes.images import WRAPPERS
from tests.fakes.linode.machines import Machines
from tests.fakes.linode.userdata import UserData, read_user_data
from tests.fakes.nodes import BedNode, Build

if TYPE_CHECKING:
    from tests.fakes.linode.state import Instance, Options

GUEST = Path(__file__).parent / "guest"
TOOLS = "/opt/segaway-bed/gpu"
CLOUD_INIT = f"{WRAPPERS}/segaway-cloud-init"
SHELL_TOOLS = {
    "apt-get": 'echo "apt-get $*" >> /var/log/apt-get.log\n',
    "cloud-init": """\
[ "$1" = status ] || exit 0
while [ "$2" = --wait ] && ! [ -e /run/cloud-init/result.json ]; do sleep 0.05; done
[ -e /run/cloud-init/result.json ] && echo "status: done" || echo "status: running"
""",
    "cloud-init-per": """\
[ $# -ge 3 ] || exit 1
frequency=$1 name=$2
shift 2
folder=/var/lib/cloud/emulated
[ "$frequency" = always ] && folder=/run/always-$$
mkdir -p "$folder"
[ -e "$folder/per.$name" ] && exit 0
"$@" || exit $?
touch "$folder/per.$name"
""",
    **{
        name: f"exec systemctl {verb}\n"
        for name, verb in {"poweroff": "poweroff", "halt": "halt", "reboot": "reboot"}.items()
    },
    "shutdown": 'case "$*" in *-r*) exec systemctl reboot ;; *) exec systemctl poweroff ;; esac\n',
}
# By the plan's name: the card, its memory in MiB, what it can compute.
CARDS = {
    "rtx4000": ("NVIDIA RTX 4000 Ada Generation", 20475, "8.9"),
    "rtx6000": ("Quadro RTX 6000", 24576, "7.5"),
}


class BedMachines(Machines):
    """Nodes and volumes of a bed. Whoever calls holds the lock of the cloud's state."""

    def __init__(self, folder: Path, options: "Options", is_local: bool) -> None:
        super().__init__()
        self.bed = Bed(folder)
        self._options, self._is_local = options, is_local
        self._numbers: dict[str, int] = {}
        # One that was killed has left what nobody knows of.
        self._sweep()
        self._last_freed: int | None = None
        # cloud-init takes a second to judge user data, in which the API is to answer.
        self._judge = ThreadPoolExecutor(max_workers=2)
        self._judged: dict[str, Future[UserData]] = {}

    def take_address(self, label: str, reuse: bool) -> str:
        owner = self.bed.folder / "addresses" / label
        owner.mkdir(parents=True, exist_ok=True)
        number = links.take_number(owner, self._last_freed if reuse else None)
        find = links.find_local_address if self._is_local else links.find_address
        address = find(number)
        self._numbers[address] = number
        return address

    def prepare(self, instance: "Instance") -> None:
        judged = self._judge.submit(read_user_data, instance.user_data)
        self._judged[instance.machine] = judged

    def is_prepared(self, instance: "Instance") -> bool:
        return self._judged[instance.machine].done()

    def boot(self, instance: "Instance", volumes: list[str]) -> None:
        node = self.find_node(instance)
        if not node.record():
            self._build(instance, volumes)
            return
        for label in set(volumes) - set(node.record()["disks"]):
            self.bed.attach_volume(instance.machine, label)
        node.reboot()

    def shut_down(self, instance: "Instance") -> None:
        node = self.find_node(instance)
        if node.record():
            node.kill()

    def destroy(self, instance: "Instance") -> None:
        address = instance.view["ipv4"][0]
        has_number = not self.find_node(instance).record()
        self.bed.destroy_node(instance.machine)
        self._last_freed = self._numbers.pop(address, None)
        if has_number and self._last_freed is not None:
            links.free_number(self._last_freed)

    def make_volume(self, label: str, size_mib: int) -> None:
        self.bed.create_volume(label, self._options.volume_mib or size_mib)

    def destroy_volume(self, label: str) -> None:
        self.bed.destroy_volume(label)

    def attach(self, instance: "Instance", volume: str) -> None:
        record = self.find_node(instance).record()
        # One that has not booted yet will find it at its boot.
        if record and volume not in record["disks"]:
            self.bed.attach_volume(instance.machine, volume)

    def detach(self, instance: "Instance", volume: str) -> None:
        record = self.find_node(instance).record()
        if (
            record
            and volume in record["disks"]
            and not self.bed.detach_volume(instance.machine, volume)
        ):
            self.complaints.append(f"{volume} was detached from {instance.label} while in use")

    def find_end(self, instance: "Instance") -> str:
        node = self.find_node(instance)
        if not node.record() or node.is_alive():
            return ""
        note = node.folder / "power"
        return note.read_text() if note.exists() else "died"

    def clear(self) -> None:
        self._judge.shutdown()
        self._sweep()

    def _sweep(self) -> None:
        self.bed.clear()
        links.free_numbers(self.bed.folder / "addresses")
        shutil.rmtree(self.bed.folder / "addresses", ignore_errors=True)

    def find_node(self, instance: "Instance") -> BedNode:
        """The instance's node, whether it is there or not."""
        return self.bed.open_node(instance.machine)

    def _build(self, instance: "Instance", volumes: list[str]) -> None:
        found = self._judged[instance.machine].result()
        if found.complaint:
            self.complaints.append(f"{instance.label}: {found.complaint}")
        build = Build(
            files=_make_files(self._describe(instance, found.config, found.script)),
            before_sshd=[[CLOUD_INIT, "init"]],
            after_sshd=[[CLOUD_INIT, "final"]],
        )
        number = self._numbers[instance.view["ipv4"][0]]
        self.bed.build_node(
            instance.machine, build, volumes, number=number, is_local=self._is_local
        )

    def _describe(
        self, instance: "Instance", config: dict[str, Any], script: str
    ) -> dict[str, Any]:
        count = instance.view["specs"]["gpus"]
        kind = next((kind for kind in CARDS if kind in instance.view["type"]), "rtx4000")
        name, memory_mib, capability = CARDS[kind]
        card = {"name": name, "memory_mib": str(memory_mib), "compute_cap": capability}
        return {
            **{"config": config, "script": script, "authorized_keys": instance.authorized_keys},
            "other_host_key": instance.other_host_key,
            "gpus": [{**card, "count": str(count)}] * count,
            "driver_delay_s": self._options.driver_delay_s,
            "tools": {f"{TOOLS}/{tool}": f"{WRAPPERS}/{tool}" for tool in _GPU_TOOLS},
        }


_GPU_TOOLS = ("nvidia-smi", "nvidia-ctk")


def _make_files(instance: dict[str, Any]) -> dict[str, str]:
    head = f"#!{sys.executable} -IS\n"
    tools = {name: head + (GUEST / "gpu.py").read_text() for name in _GPU_TOOLS}
    return {
        "/var/lib/cloud/instance.json": json.dumps(instance, default=str),
        "/var/lib/cloud/gpus.json": json.dumps(instance["gpus"]),
        CLOUD_INIT: head + (GUEST / "cloudinit.py").read_text(),
        f"{WRAPPERS}/systemctl": head + (GUEST / "systemctl.py").read_text(),
        **{f"{TOOLS}/{name}": text for name, text in tools.items()},
        **{f"{WRAPPERS}/{name}": f"#!/bin/sh\n{text}" for name, text in SHELL_TOOLS.items()},
    }

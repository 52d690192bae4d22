"""The test bed as a cloud: nodes are network namespaces on this machine, volumes block devices.

What a test does to it from outside: the bed itself has it for nodes and links; a file `api-down`
in the cloud's folder takes the cloud's API away; `BED_VOLUME_MIB` in the environment makes volumes
of that size, whatever was asked for.
"""

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil

from provision.base import (
    CloudError,
    Kind,
    LabelTaken,
    Node,
    NodeLost,
    NodeSpec,
    Offer,
    Provider,
    Request,
    Volume,
    VolumeSpec,
)
from tests.fakes.bed import Bed
from tests.fakes.nodes import PORT, BedNode

NAME = "netns"
REGION = "bed"
PLAN = "bed-1"
ROOT = "/mnt/segaway"
USER = "root"
API_DOWN = "api-down"
VOLUME_MIB = "BED_VOLUME_MIB"
USD_PER_HOUR = 0.10
VOLUME_USD_PER_GIB_HOUR = 0.001
POLL_S = 0.05


def find_folder(home: Path) -> Path:
    """The folder of the bed that the cloud of this home is."""
    return home / "clouds" / NAME


class NetnsCloud:
    """A bed in segaway's home, behind an API that can be down. Ids are labels."""

    name = NAME

    def __init__(self, home: Path) -> None:
        self.bed = Bed(find_folder(home))

    def offers(self) -> list[Offer]:
        with self._call():
            return [
                Offer(
                    cloud=self.name,
                    region=REGION,
                    plan=PLAN,
                    gpus=0,
                    vcpus=os.cpu_count() or 1,
                    memory_gib=round(psutil.virtual_memory().total / 2**30, 1),
                    usd_per_hour=USD_PER_HOUR,
                    volume_usd_per_gib_hour=VOLUME_USD_PER_GIB_HOUR,
                    available=True,
                )
            ]

    def volume_request(self, spec: VolumeSpec) -> Request:
        size_mib = int(os.environ.get(VOLUME_MIB, spec.size_gib * 1024))
        body = {"label": spec.label, "region": spec.region, "size_mib": size_mib}
        return Request("make volume", body)

    def node_request(self, spec: NodeSpec) -> Request:
        return Request(
            "start node",
            {
                "label": spec.label,
                "region": spec.region,
                "plan": spec.plan,
                "volume": spec.volume_label,
                "host_key_path": str(spec.host_key_path),
                "client_key": spec.client_key,
                "deadline_s": spec.deadline_s,
            },
        )

    def create_volume(self, request: Request) -> Volume:
        label = request.body["label"]
        with self._call():
            self.bed.create_volume(label, request.body["size_mib"])
        return Volume(label, label, REGION)

    def create_node(self, request: Request) -> Node:
        body = request.body
        with self._call():
            self.bed.start_node(
                body["label"],
                Path(body["host_key_path"]),
                body["client_key"],
                body["volume"],
                body["deadline_s"],
            )
        return Node(body["label"], body["label"], REGION, "booting")

    def wait_node(self, node_id: str, timeout_s: float) -> Node:
        limit = time.monotonic() + timeout_s
        while True:
            node = self.find_node(node_id)
            if node is None:
                raise NodeLost(f"The node {node_id} is gone.", fix="segaway down RUN")
            if node.state == "running" and self.bed.open_node(node_id).is_up():
                return node
            if time.monotonic() > limit:
                raise NodeLost(
                    f"The node {node_id} was not ready after {timeout_s:.0f} s.",
                    fix="segaway down RUN, then repeat the command.",
                )
            time.sleep(POLL_S)

    def find_volume(self, label: str) -> Volume | None:
        with self._call():
            return Volume(label, label, REGION) if self.bed.find_volume(label) else None

    def find_node(self, label: str) -> Node | None:
        with self._call():
            node = self.bed.find_node(label)
            return _describe(node) if node else None

    def find_all(self) -> list[Node | Volume]:
        with self._call():
            nodes = [_describe(node) for node in self.bed.nodes()]
            return [*nodes, *(Volume(label, label, REGION) for label in self.bed.volumes())]

    def destroy(self, kind: Kind, resource_id: str) -> None:
        with self._call():
            if kind == "node":
                self.bed.destroy_node(resource_id)
            else:
                self.bed.destroy_volume(resource_id)

    def set_api(self, up: bool) -> None:
        """Whether the cloud answers, whoever asks."""
        path = self.bed.folder / API_DOWN
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True) if up else path.touch()

    @contextlib.contextmanager
    def _call(self) -> Iterator[None]:
        """One call of the API; what goes wrong in it is the cloud's to say."""
        if (self.bed.folder / API_DOWN).exists():
            raise CloudError(
                "The cloud does not answer.", fix="Check the network, then repeat the command."
            )
        try:
            yield
        except FileExistsError as error:
            raise LabelTaken(
                f"The label is taken: {error}.", fix="segaway runs shows whose it is."
            ) from error
        except OSError as error:
            raise CloudError(f"The test bed failed: {error}.", fix="Repeat the command.") from error


def _describe(node: BedNode) -> Node:
    label = node.label
    if not node.is_booted():
        return Node(label, label, REGION, "booting")
    return Node(label, label, REGION, "running", node.address, PORT, USER, ROOT, node.device)


def open_cloud(home: Path, options: Mapping[str, Any]) -> Provider:
    """The test bed whose state lies in `home`."""
    return NetnsCloud(home)

"""The test bed as a cloud: nodes are network namespaces on this machine, volumes block devices.

What a test does to it from outside: the bed itself has it for nodes and links; a file `api-down`
in the cloud's folder takes the cloud's API away; `BED_VOLUME_MIB` in the environment makes volumes
of that size, whatever was asked for.
"""

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil

from provision.base import (
    CloudError,
    Item,
    Kind,
    LabelTaken,
    Node,
    NodeLost,
    Offer,
    Order,
    Provider,
    Request,
    Volume,
    fill_holes,
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
    keeps_volumes = False

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

    def account(self) -> str:
        return ""

    def obstacles(self) -> list[str]:
        return []

    def examine(self) -> list[str]:
        return []

    def warnings(self, order: Order) -> list[str]:
        return []

    def requests(self, order: Order) -> list[Request]:
        volume, node = order.label("volume"), order.label("node")
        size_mib = int(os.environ.get(VOLUME_MIB, order.volume_gib * 1024))
        start = {
            "label": node,
            "plan": order.offer.plan,
            "volume": volume,
            "host_key": "{host_key}",
            "client_key": "{client_key}",
            "deadline_s": order.deadline_s,
        }
        return [
            Request("volume", volume, "make volume", {"label": volume, "size_mib": size_mib}),
            Request("node", node, "start node", start),
        ]

    def renewal(self, order: Order) -> Request | None:
        return None

    def endings(self, order: Order) -> list[str]:
        return [f"end {order.label('node')}", f"remove {order.label('volume')}"]

    def create(self, request: Request, values: Mapping[str, str]) -> Item:
        body = fill_holes(request.body, values)
        if request.kind == "volume":
            with self._call():
                self.bed.create_volume(request.label, body["size_mib"])
            return Volume(id=request.label, label=request.label, region=REGION)
        with self._call(), tempfile.NamedTemporaryFile("w") as key:
            key.write(body["host_key"])
            key.flush()
            self.bed.start_node(
                request.label,
                Path(key.name),
                body["client_key"],
                body["volume"],
                body["deadline_s"],
            )
        return _describe(self.bed.open_node(request.label))

    def finish(self, request: Request, values: Mapping[str, str], timeout_s: float) -> None:
        raise AssertionError  # there is no such request

    def wait_node(self, label: str, timeout_s: float) -> Node:
        limit = time.monotonic() + timeout_s
        while True:
            node = self.find_node(label)
            if node is None:
                raise NodeLost(f"The node {label} is gone.", fix="segaway down RUN")
            if node.state == "running" and self.bed.open_node(label).is_up():
                return node
            if time.monotonic() > limit:
                raise NodeLost(
                    f"The node {label} was not ready after {timeout_s:.0f} s.",
                    fix="segaway down RUN, then repeat the command.",
                )
            time.sleep(POLL_S)

    def find(self, kind: Kind, label: str) -> Item | None:
        if kind == "node":
            return self.find_node(label)
        with self._call():
            return _describe_volume(label) if self.bed.find_volume(label) else None

    def find_node(self, label: str) -> Node | None:
        with self._call():
            node = self.bed.find_node(label)
            return _describe(node) if node else None

    def find_all(self) -> list[Item]:
        with self._call():
            nodes = [_describe(node) for node in self.bed.nodes()]
            return [*nodes, *(_describe_volume(label) for label in self.bed.volumes())]

    def destroy(self, kind: Kind, label: str) -> None:
        with self._call():
            if kind == "node":
                self.bed.destroy_node(label)
            else:
                self.bed.destroy_volume(label)

    def extend(self, order: Order) -> None:
        with self._call():
            self.bed.open_node(order.label("node")).set_deadline(order.deadline_s)

    def admit(self, order: Order) -> bool:
        return False

    def mark_volume(self, label: str, data: str) -> None:
        """They go with their runs."""

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
    common: dict[str, Any] = {"id": label, "label": label, "region": REGION}
    if not node.is_booted():
        return Node(state="booting", **common)
    return Node(
        state="running",
        host=node.address,
        port=PORT,
        user=USER,
        root=ROOT,
        device=node.device,
        **common,
    )


def _describe_volume(label: str) -> Volume:
    return Volume(id=label, label=label, region=REGION)


def open_cloud(home: Path, options: Mapping[str, Any]) -> Provider:
    """The test bed whose state lies in `home`."""
    return NetnsCloud(home)

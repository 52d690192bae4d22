"""What every cloud offers and is asked for, and what can go wrong with it.

ProvisionError
├── CloudError        the cloud refused, or did not do what it said
│   ├── LabelTaken    something with that label exists already
│   └── NodeLost      the node is gone, or died before it was ready
├── PlanError         the settings ask for what cannot be had, or what may cost too much
└── LedgerError       the record of runs cannot be read, or does not know the run
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

Kind = Literal["volume", "node"]


class ProvisionError(Exception):
    """An expected failure: `str(error)` says what happened and where, `fix` says what mends it."""

    def __init__(self, message: str, fix: str = "") -> None:
        super().__init__(message)
        self.fix = fix


class CloudError(ProvisionError):
    """The cloud refused, or did not do what it said."""


class LabelTaken(CloudError):
    """Something with that label exists already."""


class NodeLost(CloudError):
    """The node is gone, or died before it was ready."""


class PlanError(ProvisionError):
    """The settings ask for what cannot be had, or for what may cost too much."""


class LedgerError(ProvisionError):
    """The record of runs cannot be read, or does not know the run."""


@dataclass(frozen=True)
class Offer:
    """Something rentable now. A price of None is unknown, which is never taken for free."""

    cloud: str
    region: str
    plan: str
    gpus: int
    vcpus: int
    memory_gib: float
    usd_per_hour: float | None
    volume_usd_per_gib_hour: float | None
    available: bool


@dataclass(frozen=True)
class VolumeSpec:
    """A volume to be made."""

    label: str
    region: str
    size_gib: int


@dataclass(frozen=True)
class NodeSpec:
    """A node to be made. `deadline_s` (UTC, since the epoch) is when it destroys itself.

    `host_key_path` and `client_key` are what cloud-init installs: the private half of the host key
    that we made, and the public key that lets the laptop in.
    """

    label: str
    region: str
    plan: str
    volume_label: str
    host_key_path: Path
    client_key: str
    deadline_s: float


@dataclass(frozen=True)
class Request:
    """What is sent to a cloud, literally; the dry run prints it and the real run sends it.

    The body has no secret in it: private keys appear as the path that they are read from.
    """

    action: str
    body: Mapping[str, Any]


@dataclass(frozen=True)
class Volume:
    """A volume that exists, and bills."""

    id: str
    label: str
    region: str


@dataclass(frozen=True)
class Node:
    """A node that exists, and bills. `root` is the folder on it that is its volume.

    `device` is the path of the volume's block device, which is to be mounted there; it is empty
    where the cloud has seen to that.
    """

    id: str
    label: str
    region: str
    state: Literal["booting", "running"]
    host: str = ""
    port: int = 0
    user: str = ""
    root: str = ""
    device: str = ""


class Provider(Protocol):
    """One cloud. `destroy` and the `find`s are safe to repeat; a create is not: find first."""

    name: str

    def offers(self) -> list[Offer]:
        """What can be rented now, cheapest first."""
        ...

    def volume_request(self, spec: VolumeSpec) -> Request:
        """The request that makes a volume. Pure."""
        ...

    def node_request(self, spec: NodeSpec) -> Request:
        """The request that makes a node. Pure."""
        ...

    def create_volume(self, request: Request) -> Volume:
        """Send the request; returns when the volume can be attached. Raises LabelTaken."""
        ...

    def create_node(self, request: Request) -> Node:
        """Send the request; returns at once, with a node that still boots. Raises LabelTaken."""
        ...

    def wait_node(self, node_id: str, timeout_s: float) -> Node:
        """Wait until the node can be reached. Raises NodeLost when it dies or takes too long."""
        ...

    def find_volume(self, label: str) -> Volume | None:
        """The volume with that label; None when the cloud knows none."""
        ...

    def find_node(self, label: str) -> Node | None:
        """The node with that label; None when the cloud knows none."""
        ...

    def find_all(self) -> list[Node | Volume]:
        """Everything on the cloud that carries segaway's labels."""
        ...

    def destroy(self, kind: Kind, resource_id: str) -> None:
        """Destroy it and wait until the cloud does not know it. Already gone is success."""
        ...

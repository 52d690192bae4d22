"""What every cloud offers and is asked for, and what can go wrong with it.

ProvisionError
├── CloudError        the cloud refused, or did not do what it said
│   ├── LabelTaken    something with that label exists already
│   ├── NoCapacity    nothing of that plan is left in that region; another offer may do
│   ├── Refused       the account may not: no other offer will do
│   ├── CloudSilent   the cloud does not answer; what was asked may have been done
│   └── NodeLost      the node is gone, or died before it was ready
├── PlanError         the settings ask for what cannot be had, or what may cost too much
└── LedgerError       the record of runs cannot be read, or does not know the run
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, Protocol

Kind = Literal["volume", "firewall", "token", "node"]
# A node cannot be used without what is made before it; it goes first, and what it held follows.
DESTROY_ORDER: tuple[Kind, ...] = ("node", "token", "firewall", "volume")
LABEL_PREFIX = "segaway-"
STAMP = "%Y%m%dT%H%M"


class ProvisionError(Exception):
    """An expected failure: `str(error)` says what happened and where, `fix` says what mends it."""

    def __init__(self, message: str, fix: str = "") -> None:
        super().__init__(message)
        self.fix = fix


class CloudError(ProvisionError):
    """The cloud refused, or did not do what it said."""


class LabelTaken(CloudError):
    """Something with that label exists already."""


class NoCapacity(CloudError):
    """Nothing of that plan is left in that region; another offer may do."""


class Refused(CloudError):
    """The account may not: no other offer will do."""


class CloudSilent(CloudError):
    """The cloud does not answer. What was asked may have been done."""


class NodeLost(CloudError):
    """The node is gone, or died before it was ready."""


class PlanError(ProvisionError):
    """The settings ask for what cannot be had, or for what may cost too much."""


class LedgerError(ProvisionError):
    """The record of runs cannot be read, or does not know the run."""


@dataclass(frozen=True)
class Offer:
    """Something rentable now. A price of None is unknown, which is never taken for free.

    `gpu` and `vram_gib` (of one GPU) are None where the plan is unknown to us.
    """

    cloud: str
    region: str
    plan: str
    gpus: int
    vcpus: int
    memory_gib: float
    usd_per_hour: float | None
    volume_usd_per_gib_hour: float | None
    available: bool
    gpu: str | None = None
    vram_gib: int | None = None
    speed: str | None = None


@dataclass(frozen=True)
class Order:
    """What a run wants of a cloud.

    `deadline_s` (UTC, since the epoch) is when the node destroys itself. `volume_label` is that of
    a volume which is kept already where `is_volume_kept`, else of one to be made. `admit` lists the
    networks (CIDR) that may reach the node by SSH; none: whoever asks, and nobody else.
    """

    run: str
    offer: Offer
    volume_label: str
    volume_gib: int
    deadline_s: float
    idle_s: float = 3600.0
    is_volume_kept: bool = False
    admit: tuple[str, ...] = ()

    def label(self, kind: Kind) -> str:
        """The name that the cloud knows a resource of this run by."""
        if kind == "volume":
            return self.volume_label
        label = make_label(self.run, kind)
        # A token cannot be moved: with a deadline that moves there is another one.
        return f"{label}-{stamp(self.deadline_s)}" if kind == "token" else label


@dataclass(frozen=True)
class Request:
    """What is sent to a cloud, literally; the dry run prints it and the real run sends it.

    `{client_key}`, `{host_key}`, `{host_key_public}`, `{token}`, `{root_pass}` and, for what has
    been made before, `{firewall}`, `{node}` and `{volume}` stand for what is filled in as it is
    sent: a request has no secret in it. One of kind None makes nothing that bills.
    """

    kind: Kind | None
    label: str
    action: str
    body: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Item:
    """Something that exists on a cloud, and may bill.

    `run` is the run that it was made for, by its label; `deadline_s` when it destroys itself, by
    its label or tags, None where they do not say.
    """

    kind: Kind
    id: str
    label: str
    region: str = ""
    usd_per_hour: float | None = 0.0
    created_s: float | None = None
    deadline_s: float | None = None

    @property
    def run(self) -> str:
        return read_run(self.label)


@dataclass(frozen=True, kw_only=True)
class Volume(Item):
    """A volume. `data` is the fingerprint of the dataset that it is known to hold, or empty;
    `node` the id of the node that it is attached to, or empty; `path` its device's on that node,
    where the node does not say it."""

    kind: Kind = "volume"
    size_gib: int = 0
    usd_per_month: float | None = 0.0
    data: str = ""
    node: str = ""
    path: str = ""
    used_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class Node(Item):
    """A node. `root` is the folder on it that is its volume.

    `device` is the path of the volume's block device, which is to be mounted there; it is empty
    where the cloud has seen to that. `checks` are commands that have to succeed on it before it is
    ready; `guard` is the command that moves its deadline, empty where `Provider.extend` does all.
    """

    kind: Kind = "node"
    state: Literal["booting", "running"]
    host: str = ""
    port: int = 0
    user: str = ""
    root: str = ""
    device: str = ""
    checks: tuple[str, ...] = ()
    guard: str = ""


@dataclass(frozen=True, kw_only=True)
class Token(Item):
    """A token that has just been minted: `secret` is told once, and written down nowhere."""

    kind: Kind = "token"
    secret: str = field(repr=False)


class Provider(Protocol):
    """One cloud. All but `create` is safe to repeat; before a create, find what it would make."""

    name: str
    keeps_volumes: bool
    """Whether volumes stay after a run unless told otherwise, so that the next finds its data."""

    def offers(self) -> list[Offer]:
        """What there is to rent, cheapest first; also what is not available now or has no price."""
        ...

    def account(self) -> str:
        """Whose cloud this is: where it is another's, nothing of ours is there, and yet it bills.

        Empty where that cannot be told, or there is but one.
        """
        ...

    def obstacles(self) -> list[str]:
        """What keeps us from renting anything: rights that the account does not give us."""
        ...

    def examine(self) -> list[str]:
        """All that the account does not give us, needed or not. Changes nothing."""
        ...

    def warnings(self, order: Order) -> list[str]:
        """What somebody has to agree to before it is rented: that nothing guards the node."""
        ...

    def requests(self, order: Order) -> list[Request]:
        """All that makes what is ordered, in the order of sending. Asks, and changes nothing."""
        ...

    def renewal(self, order: Order) -> Request | None:
        """What mints a token for a node that is there, until the order's deadline.

        None where nodes have none, or we may not mint.
        """
        ...

    def endings(self, order: Order) -> list[str]:
        """The actions of the requests that take it all away again. Pure."""
        ...

    def create(self, request: Request, values: Mapping[str, str]) -> Item:
        """Send the request with `values` filled in; returns at once. Not safe to repeat blindly.

        What was made under the label by an answer that was lost counts as its success.

        Raises:
            LabelTaken: somebody else's has that label.
            NoCapacity: another offer may do. Nothing was made.
            Refused: no offer will do. Nothing was made.
            CloudSilent: it may have been made, or be made yet.
        """
        ...

    def finish(self, request: Request, values: Mapping[str, str], timeout_s: float) -> None:
        """Send a request that makes nothing, and wait until it has come true. Safe to repeat."""
        ...

    def wait_node(self, label: str, timeout_s: float) -> Node:
        """Wait until the cloud says that it runs. Raises NodeLost if it dies or takes too long."""
        ...

    def find(self, kind: Kind, label: str) -> Item | None:
        """What has that label; None when the cloud knows none."""
        ...

    def find_node(self, label: str) -> Node | None:
        """The node with that label; None when the cloud knows none."""
        ...

    def find_all(self) -> list[Item]:
        """Everything on the cloud that carries segaway's labels."""
        ...

    def destroy(self, kind: Kind, label: str) -> None:
        """Destroy it and wait until the cloud does not know it. Already gone is success.

        A volume is detached first, and never by force from a node that lives.
        """
        ...

    def extend(self, order: Order) -> None:
        """Move the deadline that the cloud itself knows to the order's."""
        ...

    def admit(self, order: Order) -> bool:
        """Let whoever asks reach the node by SSH; whether that changed anything."""
        ...

    def mark_volume(self, label: str, data: str) -> None:
        """Write on the volume, where that can be done, which dataset it holds."""
        ...


def make_label(run: str, kind: Kind) -> str:
    """What the cloud knows a run's resource by: at most 32 characters, as Linode's volumes want."""
    return f"{LABEL_PREFIX}{run}-{_SHORT.get(kind, kind)}"


_SHORT: dict[Kind, str] = {"volume": "vol", "firewall": "fw"}


_LABEL = re.compile(r"segaway-(.+)-(?:node|vol|fw|token)(?:-(\d{8}T\d{4}))?")


def read_run(label: str) -> str:
    """The run that a label of ours names; empty where it is none of ours."""
    found = _LABEL.fullmatch(label)
    return found[1] if found else ""


def stamp(deadline_s: float) -> str:
    """A deadline as a part of a label, to the minute: `20261121T1730`, UTC."""
    return datetime.fromtimestamp(deadline_s, UTC).strftime(STAMP)


def read_stamp(label: str) -> float | None:
    """The deadline that a label ends in, if it does."""
    found = _LABEL.fullmatch(label)
    if not found or not found[2]:
        return None
    return datetime.strptime(found[2], STAMP).replace(tzinfo=UTC).timestamp()


def is_named(label: str, plain: str) -> bool:
    """Whether it is that label, with or without a deadline behind it."""
    return label == plain or (read_stamp(label) is not None and label.rpartition("-")[0] == plain)


def fill_holes(value: Any, values: Mapping[str, str]) -> Any:
    """`value` with its holes filled; what is nothing but the id of something becomes a number."""
    if isinstance(value, Mapping):
        return {key: fill_holes(item, values) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [fill_holes(item, values) for item in value]
    if not isinstance(value, str):
        return value
    for name, text in values.items():
        if value == f"{{{name}}}" and text.isdigit():
            return int(text)
        value = value.replace(f"{{{name}}}", text)
    return value

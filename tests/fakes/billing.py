"""A cloud that exists in memory and in its own time, and bills as clouds do.

It knows nothing of segaway's ledger: what a resource costs is counted here, by the hours that the
cloud itself has seen begin.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from provision.base import (
    Item,
    Kind,
    LabelTaken,
    NoCapacity,
    Node,
    NodeLost,
    Offer,
    Order,
    Request,
    Volume,
)

HOUR_S = 3600.0
NAME = "moon"


class Death(BaseException):
    """The process that asked is no more."""


class Clock:
    """Time that passes when it is told to."""

    def __init__(self, now_s: float) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


@dataclass
class Thing:
    """What bills from `begun_s` until `gone_s`; a node goes at `ends_s` by itself."""

    kind: Kind
    label: str
    region: str
    usd_per_hour: float
    begun_s: float
    size_gib: int = 0
    gone_s: float | None = None
    ends_s: float | None = None
    data: str = ""

    def usd(self, since_s: float, until_s: float) -> float:
        """The price of the hours that began in between, each paid for when it begins."""
        until_s = min(until_s, self.gone_s or until_s)
        number, usd = 0, 0.0
        while (start_s := self.begun_s + number * HOUR_S) < until_s:
            usd += self.usd_per_hour if start_s >= since_s else 0.0
            number += 1
        return usd


@dataclass
class BillingCloud:
    """`late_s` is how late a node's guard may be; `moods` befall the next creates of nodes."""

    clock: Clock
    chance: random.Random
    market: list[Offer]
    late_s: float
    volume_first: bool = False
    longest_wait_s: float = 600.0
    things: list[Thing] = field(default_factory=list)
    moods: list[str] = field(default_factory=list)
    warned: list[str] = field(default_factory=list)
    attached_s: float = 0.0
    name: str = NAME
    keeps_volumes: bool = True

    def offers(self) -> list[Offer]:
        return self.market

    def obstacles(self) -> list[str]:
        return []

    def examine(self) -> list[str]:
        return []

    def warnings(self, order: Order) -> list[str]:
        return self.warned

    def requests(self, order: Order) -> list[Request]:
        self._pass_time(5)
        common = {"region": order.offer.region}
        node = {**common, "plan": order.offer.plan, "deadline_s": order.deadline_s}
        volume = {**common, "size_gib": order.volume_gib}
        made = [
            Request("node", order.label("node"), "make", node),
            Request("volume", order.label("volume"), "make", volume),
        ]
        attach = Request(None, order.label("volume"), "attach", {})
        return [*(made[::-1] if self.volume_first else made), attach]

    def account(self) -> str:
        return ""

    def renewal(self, order: Order) -> Request | None:
        return None

    def endings(self, order: Order) -> list[str]:
        return []

    def create(self, request: Request, values: Mapping[str, str]) -> Item:
        mood = self.moods.pop(0) if request.kind == "node" and self.moods else ""
        self._pass_time(self.longest_wait_s)
        if mood == "full":
            raise NoCapacity("Nothing is left.")
        if mood == "death before":
            raise Death
        if self._find(request.kind, request.label):
            raise LabelTaken("Taken.")
        assert request.kind
        body = request.body
        price = self._price(request.kind, body)
        thing = Thing(request.kind, request.label, body["region"], price, self.clock.now_s)
        if request.kind == "node":
            self._set_end(thing, body["deadline_s"])
        else:
            thing.size_gib = body["size_gib"]
        self.things.append(thing)
        self._pass_time(60)
        if mood == "death after":
            raise Death
        return self._describe(thing)

    def finish(self, request: Request, values: Mapping[str, str], timeout_s: float) -> None:
        self.attached_s = self.clock.now_s

    def wait_node(self, label: str, timeout_s: float) -> Node:
        node = self.find_node(label)
        if node is None:
            raise NodeLost("The node is gone.")
        return node

    def find(self, kind: Kind, label: str) -> Item | None:
        self._pass_time(1)
        thing = self._find(kind, label)
        return self._describe(thing) if thing else None

    def find_node(self, label: str) -> Node | None:
        found = self.find("node", label)
        assert found is None or isinstance(found, Node)
        return found

    def find_volumes(self, since_s: float) -> list[Thing]:
        """Those that were made or attached since then."""
        volumes = [thing for thing in self.things if thing.kind == "volume"]
        return [v for v in volumes if max(v.begun_s, self.attached_s) >= since_s]

    def find_all(self) -> list[Item]:
        return [self._describe(thing) for thing in self._alive()]

    def destroy(self, kind: Kind, label: str) -> None:
        self._pass_time(30)
        if thing := self._find(kind, label):
            thing.gone_s = self.clock.now_s
        self._pass_time(30)

    def extend(self, order: Order) -> None:
        if thing := self._find("node", order.label("node")):
            self._set_end(thing, order.deadline_s)

    def mark_volume(self, label: str, data: str) -> None:
        if thing := self._find("volume", label):
            thing.data = data

    def admit(self, order: Order) -> bool:
        return False

    def lose_node(self) -> None:
        """The node is gone, and nobody was told."""
        for thing in self._alive():
            if thing.kind == "node":
                thing.gone_s = self.clock.now_s

    def _set_end(self, thing: Thing, deadline_s: float) -> None:
        thing.ends_s = max(thing.begun_s, deadline_s) + self.chance.uniform(0, self.late_s)

    def _alive(self) -> list[Thing]:
        for thing in self.things:
            if thing.gone_s is None and thing.ends_s and thing.ends_s <= self.clock.now_s:
                thing.gone_s = thing.ends_s
        return [thing for thing in self.things if thing.gone_s is None]

    def _find(self, kind: Kind | None, label: str) -> Thing | None:
        found = [t for t in self._alive() if (t.kind, t.label) == (kind, label)]
        return found[0] if found else None

    def _price(self, kind: Kind, body: Mapping[str, Any]) -> float:
        offers = [o for o in self.market if o.region == body["region"]]
        if kind == "volume":
            return (offers[0].volume_usd_per_gib_hour or 0.0) * int(body["size_gib"])
        return next(o.usd_per_hour or 0.0 for o in offers if o.plan == body["plan"])

    def _describe(self, thing: Thing) -> Item:
        common: dict[str, Any] = {"id": thing.label, "label": thing.label, "region": thing.region}
        if thing.kind == "node":
            return Node(state="running", **common)
        return Volume(size_gib=thing.size_gib, data=thing.data, **common)

    def _pass_time(self, longest_s: float) -> None:
        # Never none at all: two things do not happen at once.
        self.clock.now_s += self.chance.uniform(0.001, longest_s)

"""All that the emulated cloud knows, and what is about to happen in it.

One lock guards it. Nothing in it sleeps: what takes time is a job, due at a time of the clock,
and `advance` does the jobs that are due.
"""

import heapq
import itertools
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.fakes.linode import catalogue
from tests.fakes.linode.machines import Machines
from tests.fakes.linode.rules import BUSY, ApiError, not_found

Row = dict[str, Any]
NEVER = "2999-12-12T05:00:00"


@dataclass
class Options:
    """How this cloud and its account are."""

    delay_s: float = 0.2  # of each step: provisioning, booting, attaching, detaching ...
    restricted: bool = False  # the user has grants only, and may not change tags
    hide_nvidia: bool = False  # the image with the driver is not sold
    interfaces_for_new_linodes: str = "legacy_config_default_but_linode_allowed"
    driver_delay_s: float = 0.0  # how long after its boot a GPU node has no nvidia-smi
    volume_mib: int = 0  # the size of each volume's file; 0 is what was asked for
    reuse_addresses: bool = False  # a new instance has the address of the last deleted one
    event_lag_s: float = 0.0  # how long after it happened an event is listed
    username: str = "segaway-tests"
    euuid: str = "E1AF5EEC-526F-487D-B317EBEB34C87D71"  # the account's own name


@dataclass
class Token:
    """A personal access token; `secret` is all of it."""

    id: int
    label: str
    secret: str
    scopes: str
    created: str
    expiry: str = NEVER

    def allows(self, scope: str) -> bool:
        """Whether it has that scope, or a wider one."""
        name, _, level = scope.partition(":")
        held = self.scopes.split()
        return (
            "*" in held or f"{name}:read_write" in held or (level == "read_only" and scope in held)
        )


@dataclass
class Instance:
    """A Linode: what the API shows of it, and what it keeps to itself."""

    view: Row
    configs: list[Row]
    disks: list[Row]
    machine: str = ""  # what its node is called, also when its label has changed
    firewall_ids: list[int] = field(default_factory=list)
    interfaces: list[Row] = field(default_factory=list)
    user_data: bytes | None = None
    authorized_keys: list[str] = field(default_factory=list)
    jobs: int = 0
    never_boots: bool = False
    other_host_key: bool = False

    @property
    def id(self) -> int:
        return int(self.view["id"])

    @property
    def label(self) -> str:
        return str(self.view["label"])

    def check_free(self) -> None:
        """Raises the refusal that the API has while a job runs."""
        if self.jobs:
            raise ApiError(400, BUSY)


class State:
    """The cloud. Everybody who reads or changes it holds `lock`."""

    def __init__(
        self,
        options: Options,
        machines: Machines,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.options, self.machines, self.clock = options, machines, clock
        self.lock = threading.RLock()
        self.types = {row["id"]: row for row in catalogue.list_types()}
        self.regions = {row["id"]: row for row in catalogue.list_regions()}
        self.availability = catalogue.list_availability()
        self.images = {
            row["id"]: row
            for row in catalogue.list_images()
            if not (options.hide_nvidia and row["id"] == catalogue.NVIDIA)
        }
        self.instances: dict[int, Instance] = {}
        self.volumes: dict[int, Row] = {}
        self.firewalls: dict[int, Row] = {}
        self.devices: dict[int, dict[int, Row]] = defaultdict(dict)
        self.sshkeys: dict[int, Row] = {}
        self.tokens: dict[int, Token] = {}
        self.events: dict[int, Row] = {}
        self.maintenance: list[Row] = []
        self.placement_groups: dict[int, Row] = {}
        self.tags: set[str] = set()
        self.complaints = machines.complaints  # what no client should have done, or caused
        self.default_firewalls: Row = dict.fromkeys(
            ("linode", "nodebalancer", "public_interface", "vpc_interface")
        )
        self._ids = itertools.count(4242)
        self._jobs: list[tuple[float, int, Callable[[], None]]] = []
        self._due_s: float | None = None
        self._event_times: dict[int, float] = {}

    def make_id(self) -> int:
        """One that nothing else has."""
        return next(self._ids)

    def now(self) -> str:
        """As the API writes times."""
        return self.format_time(self.clock())

    @staticmethod
    def format_time(moment_s: float) -> str:
        """UTC, without a zone."""
        return datetime.fromtimestamp(moment_s, UTC).strftime("%Y-%m-%dT%H:%M:%S")

    def after(self, delay_s: float, job: Callable[[], None]) -> None:
        """Do the job when the time has come."""
        # What follows from a job follows from when it was due, however late it was done.
        now_s = self.clock() if self._due_s is None else self._due_s
        heapq.heappush(self._jobs, (now_s + delay_s, self.make_id(), job))

    def soon(self, job: Callable[[], None]) -> None:
        """Do the job after the delay that everything here takes."""
        self.after(self.options.delay_s, job)

    def advance(self) -> None:
        """Do what is due, in its order."""
        with self.lock:
            while self._jobs and self._jobs[0][0] <= self.clock():
                self._due_s, _, job = heapq.heappop(self._jobs)
                try:
                    job()
                except (OSError, TimeoutError) as error:
                    self.complaints.append(f"the emulator failed: {error!r}")
                self._due_s = None

    def find_token(self, secret: str) -> Token | None:
        """The token that is valid now."""
        for token in self.tokens.values():
            if token.secret == secret and token.expiry > self.now():
                return token
        return None

    def add_token(self, label: str, scopes: str, expiry: str = NEVER, secret: str = "") -> Token:
        """A new token."""
        number = self.make_id()
        secret = secret or uuid.uuid4().hex + uuid.uuid4().hex
        token = Token(number, label, secret, scopes, self.now(), expiry)
        self.tokens[number] = token
        return token

    def instance(self, number: str | int) -> Instance:
        """The instance with that id. Raises the API's 404."""
        found = self.instances.get(int(number)) if str(number).isdigit() else None
        if found is None:
            raise not_found()
        return found

    def attached_volumes(self, instance_id: int) -> list[Row]:
        """The volumes that are attached to that instance."""
        return [row for row in self.volumes.values() if row["linode_id"] == instance_id]

    def add_event(
        self, action: str, entity: Row, secondary: Row | None = None, status: str = "finished"
    ) -> int:
        """Something that happened, or begins to; its id."""
        number = self.make_id()
        self.events[number] = {
            **{"id": number, "action": action, "status": status, "entity": entity},
            **{"secondary_entity": secondary, "created": self.now(), "message": None},
            **{"duration": None, "rate": None, "time_remaining": None, "seen": False},
            **{"read": False, "username": self.options.username},
            "percent_complete": 100 if status == "finished" else 0,
        }
        self._event_times[number] = self.clock()
        return number

    def set_event(self, number: int, status: str) -> None:
        """It has gone on, or come to its end."""
        event = self.events[number]
        event["status"] = status
        if status in ("finished", "failed"):
            event["percent_complete"] = 100
            event["duration"] = round(self.clock() - self._event_times[number], 3)

    def visible_events(self) -> list[Row]:
        """The events that are listed by now, oldest first."""
        limit = self.clock() - self.options.event_lag_s
        return [row for number, row in self.events.items() if self._event_times[number] <= limit]


def point_at(kind: str, number: int | str, label: str) -> Row:
    """An entity, as events and firewall devices name it."""
    paths = {
        **{"linode": "linode/instances", "volume": "volumes", "firewall": "networking/firewalls"},
        **{"image": "images", "token": "profile/tokens", "user_ssh_key": "profile/sshkeys"},
    }
    return {"id": number, "type": kind, "label": label, "url": f"/v4/{paths[kind]}/{number}"}

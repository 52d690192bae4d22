"""A plan: what a run will rent, until when, what that costs at most, and every request for it."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from cli.config import Settings
from provision.base import Item, Order, PlanError, Provider, Request, Volume, make_label
from provision.ledger import Ledger
from provision.plan import ANY, Choice, Wishes, make_choices, read_choice

FINGERPRINT_LENGTH = 16


@dataclass(frozen=True)
class Plan:
    """`choices` begins with the one to take; the others are for when nothing is left of it.

    `requests` are those of the first choice, literally, but for the holes that `Request` names.
    """

    run: str
    cloud: str
    account: str
    created_s: float
    choices: list[Choice]
    volume_label: str
    is_volume_kept: bool
    requests: list[Request]
    endings: list[str]
    obstacles: list[str]
    warnings: list[str]

    @property
    def choice(self) -> Choice:
        return self.choices[0]

    @property
    def deadline_s(self) -> float:
        return self.created_s + self.choice.lifetime_s

    @property
    def worst_case_usd(self) -> float:
        """Also where the dearest of the fallbacks has to be taken."""
        return max(choice.worst_case_usd for choice in self.choices)

    def as_json(self) -> dict[str, Any]:
        """The plan as a value that can be saved."""
        return {**asdict(self), "requests": [asdict(request) for request in self.requests]}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """What `as_json` wrote. Raises KeyError or TypeError where it is something else."""
        choices = [read_choice(choice) for choice in content["choices"]]
        requests = [Request(**request) for request in content["requests"]]
        return cls(**{**content, "choices": choices, "requests": requests})

    def as_record(self) -> dict[str, Any]:
        """What a run's record keeps of it."""
        return {
            "account": self.account,
            "plan": self.choice.as_json(),
            "fallbacks": [choice.as_json() for choice in self.choices[1:]],
            "volume": {"label": self.volume_label, "kept": self.is_volume_kept},
            "requests": [asdict(request) for request in self.requests],
        }


def make_plan(
    cloud: Provider,
    settings: Settings,
    run: str,
    data_bytes: int,
    fingerprint: str = "",
    ledger: Ledger | None = None,
    spent_usd: float = 0.0,
) -> Plan:
    """The plan of a run on a dataset of that size. Asks the cloud, and changes nothing.

    A free volume that holds the dataset already is used again, and fixes the region.

    Raises:
        PlanError: there is nothing to be had as the settings want it.
    """
    now_s = time.time()
    kept = None
    if cloud.keeps_volumes and fingerprint:
        kept = find_kept_volume(cloud, run, fingerprint, ledger, settings.move_data)
    choices = _choose(cloud, settings, kept, data_bytes, spent_usd)
    first = choices[0]
    order = Order(
        run=run,
        offer=first.offer,
        volume_label=kept.label if kept else make_label(run, "volume"),
        volume_gib=first.volume_gib,
        deadline_s=now_s + first.lifetime_s,
        idle_s=settings.idle_minutes * 60,
        is_volume_kept=kept is not None,
        admit=settings.admitted,
    )
    return Plan(
        run=run,
        cloud=cloud.name,
        account=cloud.account(),
        created_s=now_s,
        choices=choices,
        volume_label=order.volume_label,
        is_volume_kept=order.is_volume_kept,
        requests=cloud.requests(order),
        endings=cloud.endings(order),
        obstacles=cloud.obstacles(),
        warnings=cloud.warnings(order),
    )


def _choose(
    cloud: Provider, settings: Settings, kept: Volume | None, data_bytes: int, spent_usd: float
) -> list[Choice]:
    if kept is None:
        return make_choices(cloud.offers(), data_bytes, _wishes(settings, kept), spent_usd)
    there = f"The data is on the volume {kept.label} in {kept.region}"
    fix = "With --move-data it is sent again, to a new volume."
    if settings.region not in (ANY, kept.region):
        raise PlanError(f"{there}, not in {settings.region}. Nothing was created.", fix=fix)
    try:
        return make_choices(cloud.offers(), data_bytes, _wishes(settings, kept), spent_usd)
    except PlanError as error:
        raise PlanError(f"{error} {there}.", fix=f"{error.fix} {fix}") from error


def find_kept_volume(
    cloud: Provider, run: str, fingerprint: str, ledger: Ledger | None, own_only: bool = False
) -> Volume | None:
    """A volume that holds the dataset, and that is free; the largest of several.

    The run's own, from before it was down, where there is one: nothing else can have its label.
    """
    mark = fingerprint[:FINGERPRINT_LENGTH]
    # Where volumes cannot be tagged, this machine may know what is on them.
    ours = _labels_with(ledger, fingerprint) if ledger else set()
    items = cloud.find_all()
    taken = _find_taken(items, run, ledger)
    free = [item for item in items if isinstance(item, Volume) and item.label not in taken]
    own = [volume for volume in free if volume.run == run]
    found = [volume for volume in free if volume.data == mark or volume.label in ours]
    found = own or ([] if own_only else found)
    return max(found, key=lambda volume: volume.size_gib, default=None)


def _find_taken(items: Sequence[Item], run: str, ledger: Ledger | None) -> set[str]:
    """The labels of volumes that a node has, or that another run may have unfetched results on.

    A run has its firewall until it is down: so one is known whose node is gone, and whose record is
    on another machine.
    """
    open_runs = {item.run for item in items if not isinstance(item, Volume)} - {run}
    volumes = [item for item in items if isinstance(item, Volume)]
    taken = {volume.label for volume in volumes if volume.node or volume.run in open_runs}
    for other in ledger.runs() if ledger else []:
        if ledger and other.id != run:
            taken |= {resource.label for resource in ledger.live_resources(other.id)}
    return taken


def _labels_with(ledger: Ledger, fingerprint: str) -> set[str]:
    return {
        resource.label
        for resource in ledger.kept_resources()
        if ledger.run(resource.run).record.get("fingerprint") == fingerprint
    }


def _wishes(settings: Settings, kept: Volume | None) -> Wishes:
    return Wishes(
        max_hours=settings.max_hours,
        max_cost_usd=settings.max_cost,
        region=kept.region if kept else settings.region,
        plan=settings.plan,
        accept_unknown_price=settings.accept_unknown_price,
        volume_gib=kept.size_gib if kept else 0,
    )

"""Offers and settings -> priced choices. Pure: nothing is sent, nothing is written."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from provision.base import Offer, PlanError

HOUR_S = 3600.0
# Time for the last checkpoint and for the destroy itself, so that the hour is not overstepped.
TEARDOWN_S = 600.0
GIB = 2**30
SMALLEST_VOLUME_GIB = 10
ROOM_FOR_RESULTS_GIB = 4
# A run that finds nothing at its price should not end on a machine of another class.
DEAREST_FALLBACK = 2.0
ANY = "any"


@dataclass(frozen=True)
class Rate:
    """USD per started hour of everything that a run rents; `is_known` tells a price from a 0."""

    node_usd_per_hour: float
    volume_usd_per_hour: float
    is_known: bool = True

    @property
    def usd_per_hour(self) -> float:
        return self.node_usd_per_hour + self.volume_usd_per_hour

    def cost_usd(self, lifetime_s: float) -> float:
        """What a lifetime costs; each started hour counts whole."""
        return self.usd_per_hour * math.ceil(max(0.0, lifetime_s) / HOUR_S)


@dataclass(frozen=True)
class Choice:
    """One offer with what a run would rent of it, until when, and what that costs at most."""

    offer: Offer
    volume_gib: int
    rate: Rate
    lifetime_s: float
    worst_case_usd: float

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Wishes:
    """What the settings ask of an offer; `region` and `plan` may be `any`.

    `volume_gib` is the size of the volume that is used again; 0: a new one is made.
    """

    max_hours: float
    max_cost_usd: float | None = None
    region: str = ANY
    plan: str = ANY
    accept_unknown_price: bool = False
    volume_gib: int = 0


def read_choice(record: dict[str, Any]) -> Choice:
    """What `Choice.as_json` wrote."""
    parts = {"offer": Offer(**record["offer"]), "rate": Rate(**record["rate"])}
    return Choice(**{**record, **parts})


def make_choices(
    offers: Sequence[Offer], data_bytes: int, wishes: Wishes, spent_usd: float = 0.0
) -> list[Choice]:
    """The offers that can be had, the one to take first, each with the lifetime the caps allow.

    Behind the cheapest come those that cost at most twice as much. `spent_usd` is what the run has
    cost already.

    Raises:
        PlanError: nothing is available, the price is unknown, or the cap is below the first hour.
    """
    priced = _select(offers, wishes)
    volume_gib = wishes.volume_gib or max(
        SMALLEST_VOLUME_GIB, ROOM_FOR_RESULTS_GIB + math.ceil(2 * data_bytes / GIB)
    )
    choices, refusal = [], None
    for offer in priced:
        try:
            choices.append(_price(offer, volume_gib, wishes, spent_usd))
        except PlanError as error:
            refusal = refusal or error
    if refusal and not choices:
        raise refusal
    dearest = DEAREST_FALLBACK * choices[0].rate.node_usd_per_hour
    return [choice for choice in choices if choice.rate.node_usd_per_hour <= dearest]


def month_usd(usd_per_hour: float) -> float:
    """What a price per hour is per month of average length."""
    return usd_per_hour * 24 * 365 / 12


def left_hours(rate: Rate, max_cost_usd: float, spent_usd: float = 0.0) -> int:
    """The whole hours that a budget has left at that rate."""
    if not rate.usd_per_hour:
        return 10**9
    # The quotient of two decimals may fall just short of a whole number of hours.
    return math.floor((max_cost_usd - spent_usd) / rate.usd_per_hour + 1e-9)


def _select(offers: Sequence[Offer], wishes: Wishes) -> list[Offer]:
    wanted = [
        offer
        for offer in offers
        if wishes.region in (ANY, offer.region) and wishes.plan in (ANY, offer.plan)
    ]
    if not wanted:
        raise PlanError(
            f"The cloud offers no node{_describe(wishes)}. Nothing was created.",
            fix=f"segaway offers lists them; --region {ANY} takes any region that has the plan.",
        )
    available = [offer for offer in wanted if offer.available]
    if not available:
        raise PlanError(
            f"The cloud offers no node{_describe(wishes)} now. Nothing was created.",
            fix=f"Try again later, or --region {ANY}, --plan {ANY}, or another --on.",
        )
    priced = [offer for offer in available if _is_priced(offer)]
    if not priced and not wishes.accept_unknown_price:
        plans = ", ".join(sorted({offer.plan for offer in available}))
        raise PlanError(
            f"The price of {plans} is unknown. Nothing was created.",
            fix="Choose a plan that has a price, or take it all the same: --accept-unknown-price.",
        )
    unpriced = [o for o in available if not _is_priced(o)] if wishes.accept_unknown_price else []
    return [*sorted(priced, key=lambda offer: offer.usd_per_hour or 0.0), *unpriced]


def _describe(wishes: Wishes) -> str:
    plan = "" if wishes.plan == ANY else f" of plan {wishes.plan}"
    return plan if wishes.region == ANY else f"{plan} in region {wishes.region}"


def _is_priced(offer: Offer) -> bool:
    return offer.usd_per_hour is not None and offer.volume_usd_per_gib_hour is not None


def _price(offer: Offer, volume_gib: int, wishes: Wishes, spent_usd: float) -> Choice:
    volume_usd = (offer.volume_usd_per_gib_hour or 0.0) * volume_gib
    rate = Rate(offer.usd_per_hour or 0.0, volume_usd, _is_priced(offer))
    lifetime_s = _cap_lifetime(rate, wishes, spent_usd)
    return Choice(offer, volume_gib, rate, lifetime_s, rate.cost_usd(lifetime_s + TEARDOWN_S))


def _cap_lifetime(rate: Rate, wishes: Wishes, spent_usd: float) -> float:
    """Seconds until the deadline; with TEARDOWN_S after it the bill stays within both caps."""
    lifetime_s = wishes.max_hours * HOUR_S
    cap = wishes.max_cost_usd
    if cap is None:
        return lifetime_s
    if not rate.is_known:
        raise PlanError(
            "--max-cost cannot be kept with a price that is unknown. Nothing was created.",
            fix="Give --max-hours instead, or choose a plan that has a price.",
        )
    if not rate.usd_per_hour:
        return lifetime_s
    hours = left_hours(rate, cap, spent_usd)
    if hours < 1:
        spent = f", of which {spent_usd:.2f} are spent," if spent_usd else ""
        need = math.ceil(100 * (rate.usd_per_hour + spent_usd)) / 100
        raise PlanError(
            f"--max-cost {cap:g} USD{spent} is below the first hour, "
            f"{rate.usd_per_hour:.2f} USD. Nothing was created.",
            fix=f"Give --max-cost {need:.2f} or more.",
        )
    return min(lifetime_s, hours * HOUR_S - TEARDOWN_S)

"""Offers and settings -> a priced plan. Pure: nothing is sent, nothing is written."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from provision.base import Offer, PlanError

HOUR_S = 3600.0
# Time for the last checkpoint and for the destroy itself, so that the hour is not overstepped.
TEARDOWN_S = 300.0
GIB = 2**30
SMALLEST_VOLUME_GIB = 10
ROOM_FOR_RESULTS_GIB = 4


@dataclass(frozen=True)
class Rate:
    """USD per started hour of everything that a run rents."""

    node_usd_per_hour: float
    volume_usd_per_hour: float

    @property
    def usd_per_hour(self) -> float:
        return self.node_usd_per_hour + self.volume_usd_per_hour

    def cost_usd(self, lifetime_s: float) -> float:
        """What a lifetime costs; each started hour counts whole."""
        return self.usd_per_hour * math.ceil(max(0.0, lifetime_s) / HOUR_S)


@dataclass(frozen=True)
class Plan:
    """What a run rents, until when, and what that costs at most."""

    offer: Offer
    volume_gib: int
    rate: Rate
    lifetime_s: float
    worst_case_usd: float

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def make_plan(
    offers: list[Offer], data_bytes: int, max_cost_usd: float | None, max_hours: float
) -> Plan:
    """The cheapest offer that can be had, with the lifetime that the caps allow.

    Raises:
        PlanError: nothing is available, the price is unknown, or the cap is below the first hour.
    """
    offer = _choose(offers)
    volume_gib = max(SMALLEST_VOLUME_GIB, ROOM_FOR_RESULTS_GIB + math.ceil(2 * data_bytes / GIB))
    assert offer.usd_per_hour is not None
    assert offer.volume_usd_per_gib_hour is not None
    rate = Rate(offer.usd_per_hour, offer.volume_usd_per_gib_hour * volume_gib)
    lifetime_s = _cap_lifetime(rate, max_cost_usd, max_hours)
    return Plan(offer, volume_gib, rate, lifetime_s, rate.cost_usd(lifetime_s + TEARDOWN_S))


def _choose(offers: list[Offer]) -> Offer:
    available = [offer for offer in offers if offer.available]
    if not available:
        raise PlanError(
            "The cloud offers no node now. Nothing was created.",
            fix="Try again later, or another --on.",
        )
    priced = [
        o for o in available if o.usd_per_hour is not None and o.volume_usd_per_gib_hour is not None
    ]
    if not priced:
        plans = ", ".join(sorted({offer.plan for offer in available}))
        raise PlanError(
            f"The price of {plans} is unknown. Nothing was created.",
            fix="Choose a plan that has a price.",
        )
    return min(priced, key=lambda offer: offer.usd_per_hour or 0.0)


def _cap_lifetime(rate: Rate, max_cost_usd: float | None, max_hours: float) -> float:
    """Seconds until the deadline; with TEARDOWN_S after it the bill stays within both caps."""
    lifetime_s = max_hours * HOUR_S
    if max_cost_usd is None or rate.usd_per_hour == 0:
        return lifetime_s
    # The quotient of two decimals may fall just short of a whole number of hours.
    hours = math.floor(max_cost_usd / rate.usd_per_hour + 1e-9)
    if hours < 1:
        raise PlanError(
            f"--max-cost {max_cost_usd:g} USD is below the first hour, "
            f"{rate.usd_per_hour:.2f} USD. Nothing was created.",
            fix=f"Give --max-cost {math.ceil(100 * rate.usd_per_hour) / 100:.2f} or more.",
        )
    return min(lifetime_s, hours * HOUR_S - TEARDOWN_S)

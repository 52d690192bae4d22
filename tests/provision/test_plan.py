"""Offers and settings -> a priced plan."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provision.base import Offer, PlanError
from provision.plan import TEARDOWN_S, Choice, Wishes, make_choices

OFFER = Offer("moon", "crater", "big", 1, 8, 32.0, 0.52, 0.00015, True)


def choose(offers: list[Offer], data_bytes: int, cap: float | None, hours: float) -> Choice:
    return make_choices(offers, data_bytes, Wishes(hours, cap))[0]


@given(
    usd=st.floats(0.01, 20),
    cap=st.floats(0.01, 500),
    hours=st.floats(0.1, 200),
    late_s=st.floats(0, TEARDOWN_S),
)
def test_the_bill_never_exceeds_the_cap(
    usd: float, cap: float, hours: float, late_s: float
) -> None:
    offer = replace(OFFER, usd_per_hour=usd)
    try:
        plan = choose([offer], 10**9, cap, hours)
    except PlanError:
        assert cap < usd + 0.00015 * 20
        return
    assert plan.rate.cost_usd(plan.lifetime_s + late_s) <= cap + 1e-6
    assert plan.worst_case_usd <= cap + 1e-6


def test_the_cheapest_available_priced_offer_is_taken() -> None:
    offers = [
        OFFER,
        replace(OFFER, plan="cheap", usd_per_hour=0.1, available=False),
        replace(OFFER, plan="unknown", usd_per_hour=None),
        replace(OFFER, plan="mid", usd_per_hour=0.3),
    ]
    assert choose(offers, 0, None, 1).offer.plan == "mid"


def test_an_unknown_price_is_refused() -> None:
    with pytest.raises(PlanError, match="price of big is unknown"):
        choose([replace(OFFER, usd_per_hour=None)], 0, None, 1)


def test_no_offer_is_said() -> None:
    with pytest.raises(PlanError, match="offers no node now"):
        choose([replace(OFFER, available=False)], 0, None, 1)


def test_a_cap_below_the_first_hour_is_refused() -> None:
    with pytest.raises(PlanError, match=r"--max-cost 0\.1 USD is below the first hour") as caught:
        choose([OFFER], 0, 0.1, 1)
    assert "--max-cost 0.53" in caught.value.fix


def test_the_volume_has_room_for_the_data() -> None:
    assert choose([OFFER], 30 * 2**30, None, 1).volume_gib == 64

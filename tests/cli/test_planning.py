"""Which volume a run takes: one that holds its data already, and that nobody needs."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from cli.config import Settings
from cli.planning import find_kept_volume, make_plan
from provision.base import Item, Offer, PlanError, Provider, Volume, make_label
from provision.ledger import Ledger, Run

DATA = "0123456789abcdef" * 4
OFFERS = [
    Offer("moon", "north", "small", 1, 8, 32.0, 1.0, 0.0001, True),
    Offer("moon", "south", "small", 1, 8, 32.0, 1.1, 0.0001, True),
]


def make_volume(run: str, size_gib: int = 10, data: str = DATA[:16], node: str = "") -> Volume:
    label = make_label(run, "volume")
    return Volume(id=label, label=label, region="south", size_gib=size_gib, data=data, node=node)


def make_cloud(*items: Item) -> Provider:
    """An account that has these."""
    return cast(
        Provider,
        SimpleNamespace(
            name="moon",
            account=str,
            keeps_volumes=True,
            find_all=lambda: list(items),
            offers=lambda: OFFERS,
            requests=lambda _: [],
            endings=lambda _: [],
            obstacles=list,
            warnings=lambda _: [],
        ),
    )


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.sqlite")


Add = Callable[..., None]


@pytest.fixture
def add(ledger: Ledger) -> Add:
    """A run that has a volume, or has kept one."""

    def add(run: str, fingerprint: str = DATA, is_kept: bool = False) -> None:
        ledger.add_run(Run(run, "moon", "training", 0.0, 1.0, {"fingerprint": fingerprint}))
        resource = ledger.intend(run, "volume", make_label(run, "volume"), 0.1)
        ledger.confirm(resource, "1")
        if is_kept:
            ledger.mark_kept(resource)

    return add


def find(*items: Item, ledger: Ledger | None = None, **more: Any) -> str:
    """The run whose volume is taken; empty where none is."""
    found = find_kept_volume(make_cloud(*items), "new-11111", DATA, ledger, **more)
    return found.run if found else ""


def test_of_several_the_largest_is_taken() -> None:
    assert find(make_volume("a-22222"), make_volume("b-22222", 40)) == "b-22222"


def test_one_that_a_node_has_is_not_taken() -> None:
    assert find(make_volume("a-22222"), make_volume("b-22222", 40, node="7")) == "a-22222"


def test_one_with_other_data_is_not_taken() -> None:
    assert find(make_volume("a-22222", data="f" * 16), make_volume("b-22222", data="")) == ""


def test_where_nothing_can_be_tagged_the_record_knows_what_is_on_it(
    ledger: Ledger, add: Add
) -> None:
    add("a-22222", is_kept=True)
    add("b-22222", "f" * 64, is_kept=True)
    volumes = make_volume("a-22222", data=""), make_volume("b-22222", 40, data="")
    assert find(*volumes, ledger=ledger) == "a-22222"


def test_one_that_a_run_here_has_not_given_back_is_not_taken(ledger: Ledger, add: Add) -> None:
    """Its node is gone; what it computed may be on the volume alone."""
    add("a-22222")
    assert find(make_volume("a-22222"), ledger=ledger) == ""


def test_one_of_a_run_of_another_machine_that_is_not_down_is_not_taken() -> None:
    firewall = Item(kind="firewall", id="1", label=make_label("a-22222", "firewall"))
    assert find(make_volume("a-22222"), firewall) == ""


def test_a_run_that_was_down_takes_its_own_again(ledger: Ledger, add: Add) -> None:
    add("new-11111", is_kept=True)
    volumes = make_volume("new-11111"), make_volume("b-22222", 40)
    assert find(*volumes, ledger=ledger) == "new-11111"


def test_data_that_is_to_move_does_not_move_away_from_the_runs_own_volume() -> None:
    """Its label is taken: a new one could not be made."""
    volumes = make_volume("new-11111"), make_volume("b-22222", 40)
    assert find(*volumes, own_only=True) == "new-11111"
    assert find(volumes[1], own_only=True) == ""


def plan(cloud: Provider, **settings: Any) -> tuple[str, str, bool]:
    """Region, volume, and whether that is one which is kept."""
    made = make_plan(cloud, Settings(on="moon", **settings), "new-11111", 10**9, DATA)
    return made.choice.offer.region, made.volume_label, made.is_volume_kept


def test_a_kept_volume_fixes_the_region() -> None:
    kept = make_volume("a-22222", 50)
    assert plan(make_cloud(kept)) == ("south", kept.label, True)
    with pytest.raises(PlanError, match="vol in south, not in north") as caught:
        plan(make_cloud(kept), region="north")
    assert "--move-data" in caught.value.fix
    with pytest.raises(PlanError, match=r"below the first hour.* The data is on the volume"):
        plan(make_cloud(kept), max_cost=0.01)


def test_a_kept_volume_is_paid_for_as_it_is() -> None:
    cloud = make_cloud(make_volume("a-22222", 500))
    made = make_plan(cloud, Settings(on="moon"), "new-11111", 10**9, DATA)
    assert made.choice.volume_gib == 500
    assert made.choice.rate.volume_usd_per_hour == pytest.approx(0.05)


def test_data_that_is_to_move_goes_where_it_is_cheapest() -> None:
    own = make_label("new-11111", "volume")
    assert plan(make_cloud(make_volume("a-22222")), move_data=True) == ("north", own, False)


def test_a_cloud_that_keeps_none_is_not_asked_for_one() -> None:
    cloud = make_cloud(make_volume("a-22222"))
    cloud.keeps_volumes = False
    assert not plan(cloud)[2]


def test_an_offer_of_unknown_price_is_behind_those_that_have_one() -> None:
    cloud = make_cloud()
    cloud.offers = lambda: [replace(OFFERS[0], usd_per_hour=None), OFFERS[1]]  # type: ignore[method-assign]
    assert plan(cloud)[0] == "south"
    made = make_plan(cloud, Settings(on="moon", accept_unknown_price=True), "new-11111", 1, DATA)
    assert [choice.rate.is_known for choice in made.choices] == [True, False]
    capped = Settings(on="moon", accept_unknown_price=True, max_cost=9)
    assert len(make_plan(cloud, capped, "new-11111", 1, DATA).choices) == 1

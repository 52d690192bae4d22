"""What a run may take for its own, and what becomes of it."""

import random
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from cli import flow, renting, session
from cli.config import Settings
from cli.errors import CliError, RunError
from cli.planning import make_plan
from cli.session import Session
from provision.base import LabelTaken, NoCapacity, Offer, make_label
from provision.ledger import Ledger, Run
from provision.plan import HOUR_S
from tests.cli.conftest import START_S, Listener, Open
from tests.fakes.billing import NAME, BillingCloud, Clock, Death, Thing
from train.data.dataset import Dataset

DATA = "0123456789abcdef" * 4
OFFERS = [
    Offer(NAME, "north", "small", 1, 8, 32.0, 1.0, 0.01, True),
    Offer(NAME, "north", "big", 1, 8, 32.0, 1.5, 0.01, True),
]


@pytest.fixture
def cloud(clock: Clock) -> BillingCloud:
    return BillingCloud(clock, random.Random(0), OFFERS, late_s=60, longest_wait_s=2)


@pytest.fixture
def open_run(
    tmp_path: Path, clock: Clock, cloud: BillingCloud, monkeypatch: pytest.MonkeyPatch
) -> Open:
    """A run that is planned; of another laptop, where that has a name."""
    parts: list[tuple[Any, str, Any]] = [
        (session, "open_cloud", lambda *_: cloud),
        (renting, "make_ready", lambda *_: None),
        (renting, "release_node", lambda *_: None),
    ]
    for owner, name, part in parts:
        monkeypatch.setattr(owner, name, part)

    def open_run(run: str = "sky-ab123", laptop: str = "here", **settings: Any) -> Session:
        folder = tmp_path / laptop
        ledger = Ledger(folder / "ledger.sqlite", clock)
        made = Settings(on=NAME, results=folder, **settings)
        data = cast(Dataset, SimpleNamespace(size_bytes=1, fingerprint=DATA))
        plan = make_plan(cloud, made, run, 1, DATA, ledger)
        record = flow.new_run(plan, made, folder, data, {"name": "sky"})
        ledger.add_run(record)
        return Session(folder, ledger, record, Listener())

    return open_run


def keep(cloud: BillingCloud, run: str = "old-22222") -> Thing:
    """A volume with the data, of a run that is over."""
    label = make_label(run, "volume")
    volume = Thing("volume", label, "north", 0.1, START_S, size_gib=10, data=DATA[:16])
    cloud.things.append(volume)
    return volume


def nodes(cloud: BillingCloud) -> list[Thing]:
    return [thing for thing in cloud.things if thing.kind == "node"]


def test_what_the_same_plan_made_elsewhere_is_not_taken_and_not_destroyed(
    open_run: Open, cloud: BillingCloud
) -> None:
    """A saved plan, applied on two laptops."""
    first, second = open_run(laptop="one"), open_run(laptop="two")
    renting.rent(first)
    with pytest.raises(LabelTaken, match="it was not made by this machine"):
        renting.rent(second)
    flow.teardown(second, discard=True)
    assert [node.gone_s for node in nodes(cloud)] == [None]


def test_a_kept_volume_that_is_gone_is_found_out_before_a_node_is_paid_for(
    open_run: Open, cloud: BillingCloud, clock: Clock
) -> None:
    volume = keep(cloud)
    run = open_run()
    assert run.volume == {"label": volume.label, "kept": True}
    volume.gone_s = clock()
    with pytest.raises(RunError, match="which was to be used again, is gone"):
        renting.rent(run)
    assert not nodes(cloud)


def test_a_kept_volume_is_for_one_run(open_run: Open, cloud: BillingCloud) -> None:
    """Both were planned while it was free."""
    keep(cloud)
    first, second = open_run("one-22222"), open_run("two-22222")
    renting.rent(first)
    with pytest.raises(RunError, match="The run one-22222 has the volume segaway-old-22222-vol"):
        renting.rent(second)
    flow.teardown(second, discard=True)
    assert [r.kind for r in first.ledger.live_resources("one-22222")] == ["node", "volume"]


def test_a_volume_that_is_not_to_be_kept_goes_with_its_run(
    open_run: Open, cloud: BillingCloud
) -> None:
    volume = keep(cloud)
    run = open_run(keep_volume="no")
    renting.rent(run)
    flow.teardown(run, discard=True)
    assert volume.gone_s
    assert run.ledger.kept_resources() == []


@pytest.mark.parametrize("asked", ["auto", "yes"])
def test_a_kept_volume_stays_kept_when_its_next_run_fails(
    open_run: Open, cloud: BillingCloud, asked: str
) -> None:
    volume = keep(cloud)
    run = open_run(keep_volume=asked)
    renting.rent(run)
    flow.teardown(run, discard=True)
    assert volume.gone_s is None
    assert [r.label for r in run.ledger.kept_resources()] == [volume.label]


def test_a_volume_without_data_is_not_kept(open_run: Open, cloud: BillingCloud) -> None:
    run = open_run(keep_volume="yes")
    renting.rent(run)
    flow.teardown(run, discard=True)
    assert all(thing.gone_s for thing in cloud.things)


def test_a_node_that_a_crash_hid_counts_as_spent(
    open_run: Open, cloud: BillingCloud, clock: Clock
) -> None:
    """Made, not yet in the record by its id, and gone again before anybody came back."""
    run = open_run(max_cost=3.0)
    cloud.moods = ["death after"]
    with pytest.raises(Death):
        renting.rent(run)
    cloud.lose_node()
    clock.now_s += HOUR_S / 2
    renting.rent(run)
    assert run.run.deadline_s < clock() + HOUR_S


@pytest.fixture
def reopen(monkeypatch: pytest.MonkeyPatch) -> Callable[[Session], None]:
    """Go on with a run that is rented, after it was down, with what came home."""

    def reopen(run: Session) -> None:
        (run.results / "checkpoints").mkdir(parents=True)
        flow.teardown(run, discard=True)
        found = SimpleNamespace(size_bytes=1, fingerprint=DATA)
        monkeypatch.setattr(flow, "load_dataset", lambda _: found)
        flow.reopen(run)

    return reopen


def test_a_run_that_goes_on_asks_again_before_it_is_unguarded(
    open_run: Open, cloud: BillingCloud, reopen: Callable[[Session], None]
) -> None:
    """The laptop has another token by now, which may not mint."""
    run = open_run()
    renting.rent(run)
    cloud.warned = ["It cannot destroy itself."]
    with pytest.raises(CliError, match="Nothing was created: It cannot destroy itself") as caught:
        reopen(run)
    assert "--unguarded" in caught.value.fix
    assert not run.run.is_open


def test_the_volume_of_an_older_segaways_run_is_found_by_its_label(open_run: Open) -> None:
    run = open_run()
    old = {key: value for key, value in run.record.items() if key not in ("volume", "requests")}
    older = Run("old-22222", NAME, "training", START_S, START_S + 10 * HOUR_S, old)
    run.ledger.add_run(older)
    found = Session(run.home, run.ledger, older, run.console)
    assert found.volume == {"label": "segaway-old-22222-vol", "kept": False}
    run.ledger.intend("old-22222", "volume", "segaway-old-22222-volume", 0.1)
    assert found.volume == {"label": "segaway-old-22222-volume", "kept": False}
    renting.rent(found)
    assert [r.label for r in run.ledger.live_resources("old-22222")] == [
        "segaway-old-22222-node",
        "segaway-old-22222-volume",
    ]


def test_after_a_pause_a_fallback_has_a_deadline_that_is_to_come(
    open_run: Open, cloud: BillingCloud, clock: Clock, reopen: Callable[[Session], None]
) -> None:
    run = open_run(max_cost=200)
    renting.rent(run)
    clock.now_s += 100 * HOUR_S
    reopen(run)
    cloud.moods = ["full"]
    renting.rent(run)
    assert nodes(cloud)[-1].usd_per_hour == 1.5
    assert run.run.deadline_s > clock() + 5 * HOUR_S


def test_where_nothing_is_left_of_the_last_offer_nothing_is_paid(
    open_run: Open, cloud: BillingCloud
) -> None:
    run = open_run(max_cost=20)
    cloud.moods = ["full", "full"]
    with pytest.raises(NoCapacity):
        renting.rent(run)
    flow.teardown(run, discard=True)
    assert run.usd() == 0

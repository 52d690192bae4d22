"""Thousands of random lives of runs, on a cloud that counts for itself what they cost.

A run is planned, rented, lost, rented again, extended, taken down, resumed; processes die around a
create; guards are late. Whatever happens: what the cloud bills stays within --max-cost.

A volume outlives its node's guard. What it costs after the deadline, where no laptop ever comes
back, is no part of the run; `segaway sweep` and `segaway volumes` show it.
"""

import contextlib
import random
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from cli import budget, extension, flow, planning, renting, session
from cli.config import Settings
from cli.console import Console
from cli.errors import CliError
from cli.planning import make_plan
from cli.session import Session
from provision.base import CloudError, Offer, PlanError
from provision.ledger import Ledger
from provision.plan import TEARDOWN_S
from tests.fakes.billing import HOUR_S, NAME, BillingCloud, Clock, Death
from train.data.dataset import Dataset

LIVES, SHARDS = 2000, 4
RUN = "life-22222"
CENT = 1e-6


class Mute(Console):
    """Says nothing."""

    def say(self, text: str) -> None:
        pass


@dataclass
class Life:
    """A run's, with the tests' own view of it. `owned` are the times in which it had its volume."""

    seed: int
    folder: Path
    chance: random.Random = field(init=False)
    clock: Clock = field(init=False)
    cloud: BillingCloud = field(init=False)
    ledger: Ledger = field(init=False)
    session: Session | None = None
    owned: list[list[float]] = field(default_factory=list)
    past: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        chance = self.chance = random.Random(self.seed)
        self.clock = Clock(1.7e9 + chance.uniform(0, 1e6))
        self.cloud = BillingCloud(
            self.clock,
            chance,
            self._make_market(),
            late_s=chance.choice([1.0, TEARDOWN_S]),
            volume_first=chance.random() < 0.5,
            longest_wait_s=chance.choice([2.0, 900.0]),
        )
        self.ledger = Ledger(Path(":memory:"), clock=self.clock)

    def _make_market(self) -> list[Offer]:
        """The same plan costs something else elsewhere; a volume may be dearer than a node."""
        chance = self.chance
        usd = round(chance.uniform(0.05, 5), chance.choice([1, 2, 4]))
        made = []
        for region in ("north", "south")[: chance.choice([1, 2])]:
            volume_usd = chance.choice([0.00015, 0.0, 0.05, 1 / 3])
            for plan in ("small", "big")[: chance.choice([1, 2])]:
                dear = usd * chance.choice([1, 1, 1.2, 1.7, 2])
                made.append(Offer(NAME, region, plan, 1, 8, 32.0, dear, volume_usd, True))
        return made

    def plan(self) -> None:
        """As `segaway run` begins."""
        chance = self.chance
        cheapest = min(offer.usd_per_hour or 0 for offer in self.cloud.market)
        cap = chance.choice([cheapest * chance.randint(1, 9), chance.uniform(0.1, 60)])
        settings = Settings(
            on=NAME,
            max_cost=cap,
            max_hours=chance.choice([24.0, chance.uniform(0.3, 9)]),
            results=self.folder,
            keep_volume=chance.choice(["auto", "yes", "no"]),
            move_data=chance.random() < 0.2,
        )
        data = SimpleNamespace(size_bytes=10**9, fingerprint="f" * 64)
        made = make_plan(self.cloud, settings, RUN, data.size_bytes, data.fingerprint, self.ledger)
        run = flow.new_run(made, settings, self.folder, cast(Dataset, data), {"name": "life"})
        self.ledger.add_run(run)
        self.session = Session(self.folder, self.ledger, run, Mute())

    @property
    def run(self) -> Session:
        assert self.session
        self.session.refresh()
        return self.session

    def rent(self) -> None:
        """As each start of a node; the process may die around a create, or find nothing left."""
        moods = ["", "", "", "full", "death before", "death after"]
        self.cloud.moods = [self.chance.choice(moods) for _ in range(3)]
        began_s = self.clock()
        try:
            renting.rent(self.run)
        finally:
            is_new = not self.owned or len(self.owned[-1]) == 2
            if is_new and self.cloud.find_volumes(began_s):
                self.owned.append([began_s])
        self.cloud.mark_volume(self.run.volume["label"], "f" * 16)
        self.run.update("synced")

    def wait(self) -> None:
        """Minutes, or hours, but never past the deadline: what is done there has its own tests."""
        left_s = max(0.0, self.run.run.deadline_s - self.clock())
        share = self.chance.choice([0.01, 0.3, 0.9])
        self.clock.now_s += min(left_s * share, self.chance.choice([60, HOUR_S, 9 * HOUR_S]))

    def lose(self) -> None:
        """A node is gone before its time."""
        self.cloud.lose_node()

    def extend(self) -> None:
        """As `segaway extend`."""
        cap = self.run.settings.max_cost or 0.0
        more = self.chance.choice([None, None, cap * 1.5])
        hours = self.chance.choice([self.chance.uniform(0.01, 5), 1, 2])
        extension.extend_run(RUN, hours, more, Mute(), dry_run=False)

    def end(self) -> None:
        """As `segaway down`."""
        flow.teardown(self.run, discard=True)
        if self.owned and len(self.owned[-1]) == 1:
            self.owned[-1].append(self.clock())

    def reopen(self) -> None:
        """As `segaway run --resume` of what is down, perhaps much later, perhaps for more."""
        self.end()
        self.clock.now_s += self.chance.uniform(0, 50 * HOUR_S)
        if self.chance.random() < 0.3:
            raised = {"max_cost": (self.run.settings.max_cost or 0.0) * 1.5}
            self.run.update(settings={**self.run.record["settings"], **raised})
        flow.reopen(self.run)
        self.rent()

    def live(self) -> None:
        """All of it. What is refused on the way is no failure: nothing more is rented then."""
        self.plan()
        self.step("rent")
        for _ in range(self.chance.randint(0, 6)):
            self.step("wait")
            self.step(self.chance.choice(["rent", "lose", "extend", "reopen", "lose", "rent"]))
        if self.chance.random() < 0.5:
            self.step("end")

    def step(self, name: str) -> None:
        """One thing that happens."""
        self.past.append(name)
        with contextlib.suppress(Death, CloudError, PlanError, CliError):
            getattr(self, name)()

    def usd(self) -> float:
        """What the cloud bills in the end: its own count, none of segaway's."""
        over_s = self.run.run.deadline_s + TEARDOWN_S
        # The longest that anything can live; guards come before.
        self.clock.now_s = max(self.clock(), over_s)
        self.cloud.find_all()
        nodes = [thing for thing in self.cloud.things if thing.kind == "node"]
        for node in nodes:
            node.gone_s = node.gone_s or node.ends_s
        volumes = [thing for thing in self.cloud.things if thing.kind == "volume"]
        usd = sum(node.usd(0, node.gone_s or 0) for node in nodes)
        for since_s, until_s in (
            times if len(times) == 2 else [*times, over_s] for times in self.owned
        ):
            usd += sum(volume.usd(since_s, until_s) for volume in volumes)
        return usd


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """What makes a life in it: the time, the cloud, and no SSH."""
    scene: dict[str, Life] = {}

    def tell_time() -> float:
        return scene["life"].clock()

    clock = SimpleNamespace(time=tell_time)
    for module in (budget, extension, flow, planning, renting, session):
        monkeypatch.setattr(module, "time", clock)
    key = SimpleNamespace(private="", public="")
    (tmp_path / "checkpoints").mkdir()
    parts: list[tuple[Any, str, Any]] = [
        (session, "open_cloud", lambda *_: scene["life"].cloud),
        (Session, "results", tmp_path),
        (Session, "_lock", contextlib.nullcontext),
        (renting, "ensure_key", lambda _: key),
        (renting, "remove_key", lambda _: None),
        (renting, "make_ready", lambda *_: None),
        (renting, "release_node", lambda *_: None),
        (flow, "forget_reach", lambda _: None),
        (flow, "load_dataset", lambda _: SimpleNamespace(size_bytes=10**9, fingerprint="f" * 64)),
        (extension, "open_session", lambda *_: contextlib.nullcontext(scene["life"].run)),
    ]
    for owner, name, part in parts:
        monkeypatch.setattr(owner, name, part)

    def begin(seed: int) -> Life:
        scene["life"] = life = Life(seed, tmp_path)
        return life

    return begin


@pytest.mark.parametrize("shard", range(SHARDS))
def test_the_bill_of_no_life_exceeds_its_cap(stage: Any, shard: int) -> None:
    lives, rented, dear = 0, 0, []
    for seed in range(shard, LIVES, SHARDS):
        life = stage(seed)
        with contextlib.suppress(PlanError):
            life.live()
        if life.session is None:
            continue
        cap, usd = life.run.settings.max_cost, life.usd()
        assert cap is not None
        if usd > cap + CENT:
            dear.append(f"life {seed}: {usd} of {cap} USD, {life.past}")
        lives, rented = lives + 1, rented + len(life.cloud.things)
    assert dear == []
    assert lives > LIVES / SHARDS / 2
    assert rented > 2 * lives

"""A run whose hours are cheap to count, and a clock that is set."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli.config import Settings
from cli.console import Console
from cli.session import Session
from provision.base import Offer
from provision.ledger import Ledger, Run
from provision.plan import HOUR_S, Choice, Rate
from tests.fakes.billing import Clock

RUN = "sky-ab123"
START_S = 1.7e9
RATE = Rate(1.0, 0.1)
OFFER = Offer("moon", "crater", "big", 1, 8, 32.0, 1.0, 0.01, True)

Open = Callable[..., Session]


class Listener(Console):
    """Hears what is said."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[str] = []

    def say(self, text: str) -> None:
        self.heard.append(text)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock(START_S)
    monkeypatch.setattr("time.time", clock)
    return clock


@pytest.fixture
def open_run(tmp_path: Path, clock: Clock) -> Open:
    """A run of ten hours, for 1.00 USD per hour of its node and 0.10 of its volume."""

    def open_run(max_cost: float | None = None, **more: Any) -> Session:
        settings = Settings(on="moon", max_cost=max_cost).model_dump(mode="json", exclude_none=True)
        plan = Choice(OFFER, 10, RATE, 10 * HOUR_S, 11.0).as_json()
        record = {"settings": settings, "plan": plan, **more}
        run = Run(RUN, "moon", "planned", START_S, START_S + 10 * HOUR_S, record)
        ledger = Ledger(tmp_path / "ledger.sqlite", clock)
        ledger.add_run(run)
        return Session(tmp_path, ledger, run, Listener())

    return open_run

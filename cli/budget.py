"""A run's budget: what it has cost, what is left of it, and when that is over."""

import time
from collections.abc import Callable

from cli.console import Console
from cli.session import Session
from provision.base import PlanError
from provision.plan import HOUR_S, TEARDOWN_S, Rate, left_hours, read_choice

WARN_SHARE = 0.8


def recap_deadline(session: Session) -> float:
    """The latest deadline of a node that is rented now: the run's, or earlier for its --max-cost.

    Raises:
        PlanError: not even the first hour is left.
    """
    cap = session.settings.max_cost
    if cap is None:
        return session.run.deadline_s
    rate, spent_usd = read_choice(session.record["plan"]).rate, session.usd()
    hours = left_hours(rate, cap, spent_usd)
    if hours < 1:
        raise PlanError(
            f"Of --max-cost {cap:g} USD, {spent_usd:.2f} are spent: another node is "
            f"{rate.usd_per_hour:.2f} USD for its first hour. Nothing was created.",
            fix="segaway down RUN --discard, then segaway run --resume RUN with a higher "
            "--max-cost, goes on from what came home.",
        )
    return min(session.run.deadline_s, time.time() + hours * HOUR_S - TEARDOWN_S)


def worst_usd(session: Session, deadline_s: float) -> float:
    """What the run costs where all that it rents lasts until that deadline, and TEARDOWN_S longer.

    What it lacks is rented now.
    """
    rate, until_s, usd = session.rate, deadline_s + TEARDOWN_S, 0.0
    lacking = {"node": rate.node_usd_per_hour, "volume": rate.volume_usd_per_hour}
    for resource in session.ledger.resources(session.run.id):
        end_s = until_s if resource.gone_s is None else resource.gone_s
        usd += Rate(resource.usd_per_hour, 0.0).cost_usd(end_s - resource.intended_s)
        if resource.gone_s is None and resource.usd_per_hour:
            lacking.pop(resource.kind, None)
    return usd + sum(Rate(usd, 0.0).cost_usd(until_s - time.time()) for usd in lacking.values())


class Warner:
    """Says once that most of the budget is spent, or most of the time until the deadline."""

    def __init__(
        self, session: Session, console: Console, clock: Callable[[], float] = time.time
    ) -> None:
        self._session, self._console, self._clock = session, console, clock
        self._told = False

    def look(self) -> None:
        """Say it, when it is so and has not been said."""
        if not self._told and (text := describe_budget(self._session, self._clock())):
            self._told = True
            self._console.say(text)


def describe_budget(session: Session, now_s: float) -> str:
    """A warning where 80 % of the budget or of the time are gone; else nothing."""
    run, cap = session.run, session.settings.max_cost
    left_h = max(0.0, run.deadline_s - now_s) / HOUR_S
    usd, live = session.usd(), session.ledger.live_resources(run.id)
    # A run that goes on after it was down began anew.
    begun_s = min((resource.intended_s for resource in live), default=run.created_s)
    if cap is not None and usd >= WARN_SHARE * cap:
        share = f"{usd:.2f} of {cap:.2f} USD are spent"
    elif now_s - begun_s >= WARN_SHARE * (run.deadline_s - begun_s):
        share = f"{usd:.2f} USD are spent"
    else:
        return ""
    return (
        f"{share}; the deadline of {run.id} is in {left_h:.1f} hours. "
        f"segaway extend {run.id} --hours H moves it."
    )

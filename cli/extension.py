"""A run's deadline, moved: on the node, on the cloud, in the record."""

import math
import time
from dataclasses import replace
from datetime import datetime

from cli.budget import worst_usd
from cli.console import Console
from cli.contact import connect
from cli.errors import RunError
from cli.machine import move_guard
from cli.orders import make_order
from cli.renting import mark_lost, write_requests
from cli.session import Session, open_session
from provision.base import Order, Provider, Token
from provision.plan import HOUR_S, left_hours


def extend_run(
    run_id: str | None, hours: float, max_cost: float | None, console: Console, dry_run: bool
) -> None:
    """Move the deadline by so many hours. The node first: it is the one that acts on it.

    Safe to repeat after a failure: what failed has not moved the deadline in the record.

    Raises:
        RunError: the run is down, or the cap does not allow it.
    """
    with open_session(run_id, console) as session:
        if not session.run.is_open:
            raise RunError(f"The run {session.run.id} is down.", fix="segaway run DATASET")
        deadline_s = max(time.time(), session.run.deadline_s) + hours * HOUR_S
        cap = max_cost or session.settings.max_cost
        if not dry_run and session.cloud().find_node(session.label("node")) is None:
            mark_lost(session, session.label("node"))
        _refuse_dear(session, deadline_s, cap)
        until = datetime.fromtimestamp(deadline_s).astimezone().isoformat(timespec="minutes")
        answer = {"run": session.run.id, "deadline_s": deadline_s, "until": until}
        console.answer(answer)
        if dry_run:
            return console.say(f"Dry run: would move the deadline to {until}.")
        with session.step("extend"):
            _move(session, deadline_s, console)
            if max_cost:
                settings = {**session.record["settings"], "max_cost": max_cost}
                session.update(settings=settings)
        console.say(f"The deadline of {session.run.id} is {until} now.")
    return None


def _refuse_dear(session: Session, deadline_s: float, cap: float | None) -> None:
    """The cap holds until the new deadline, with all its started hours."""
    if cap is not None and not session.rate.is_known:
        raise RunError(
            "--max-cost cannot be kept with a price that is unknown. Nothing was moved.",
            fix=f"segaway extend {session.run.id} --hours H, without it.",
        )
    worst = worst_usd(session, deadline_s)
    if cap is None or worst <= cap + 1e-9:
        return
    # Each hour less takes a started hour off all that is rented.
    need = math.ceil(100 * worst) / 100
    more_h = left_hours(session.rate, cap, worst) + (deadline_s - session.run.deadline_s) / HOUR_S
    raise RunError(
        f"That would cost up to {worst:.2f} USD; --max-cost is {cap:.2f}. Nothing was moved.",
        fix=f"segaway extend {session.run.id} --hours H --max-cost {need:.2f}"
        + (f"; up to {more_h:.1f} hours more are within the cap." if more_h > 0.1 else "."),
    )


def _move(session: Session, deadline_s: float, console: Console) -> None:
    cloud, order = session.cloud(), replace(make_order(session), deadline_s=deadline_s)
    has_node = cloud.find_node(session.label("node")) is not None
    if has_node:
        old = [r for r in session.ledger.live_resources(session.run.id) if r.kind == "token"]
        token = _mint(session, cloud, order)
        for warning in cloud.warnings(order):
            console.say(f"Warning: {warning}")
        if session.guard:
            with connect(session) as host:
                move_guard(session, host, deadline_s, token, console.say)
        cloud.extend(order)
        for resource in old if token else []:
            cloud.destroy("token", resource.label)
            session.ledger.mark_gone(resource)
    session.extend(deadline_s)
    if not has_node and "requests" in session.record:
        write_requests(session, cloud)


def _mint(session: Session, cloud: Provider, order: Order) -> str:
    """A token until the new deadline, in the record before it is made; empty where none is used."""
    # The guard may have one of that label, from a try whose end was not seen, and needs it until it
    # has another: this one is good for minutes more, and named so.
    while session.ledger.find_resources(order.label("token")):
        order = replace(order, deadline_s=order.deadline_s + 60)
    request = cloud.renewal(order)
    if request is None:
        return ""
    resource = session.ledger.intend(session.run.id, "token", request.label, 0.0)
    made = cloud.create(request, {})
    session.ledger.confirm(resource, made.id)
    assert isinstance(made, Token)
    return made.secret

"""What a run's money and time come to, and who is told of it."""

import pytest

from cli.budget import Warner, describe_budget, recap_deadline, worst_usd
from cli.session import Session
from provision.base import PlanError
from provision.plan import HOUR_S, TEARDOWN_S
from tests.cli.conftest import RUN, Listener, Open
from tests.fakes.billing import Clock


def rent(session: Session) -> None:
    """Node and volume, in the ledger."""
    for kind, usd in (("node", 1.0), ("volume", 0.1)):
        label = session.label(kind)  # type: ignore[arg-type]  # both are kinds
        resource = session.ledger.intend(RUN, kind, label, usd)  # type: ignore[arg-type]
        session.ledger.confirm(resource, "1")


def test_most_of_the_budget_is_said_with_the_time_that_is_left(
    open_run: Open, clock: Clock
) -> None:
    session = open_run(max_cost=5.0)
    rent(session)
    clock.now_s += 2.5 * HOUR_S
    assert describe_budget(session, clock()) == ""
    clock.now_s += HOUR_S
    text = describe_budget(session, clock())
    assert "4.40 of 5.00 USD are spent; the deadline of sky-ab123 is in 6.5 hours." in text
    assert "segaway extend sky-ab123 --hours H" in text


def test_without_a_cap_most_of_the_time_is_said(open_run: Open, clock: Clock) -> None:
    session = open_run()
    rent(session)
    clock.now_s += 7.9 * HOUR_S
    assert describe_budget(session, clock()) == ""
    clock.now_s += 0.2 * HOUR_S
    assert "9.90 USD are spent; the deadline of sky-ab123 is in 1.9 hours." in describe_budget(
        session, clock()
    )


def test_a_warning_is_said_once(open_run: Open, clock: Clock) -> None:
    session, console = open_run(max_cost=5.0), Listener()
    rent(session)
    warner = Warner(session, console, clock)
    warner.look()
    assert console.heard == []
    clock.now_s += 3.5 * HOUR_S
    warner.look()
    clock.now_s += HOUR_S
    warner.look()
    assert len(console.heard) == 1


def test_a_run_that_goes_on_days_later_has_all_its_time_before_it(
    open_run: Open, clock: Clock
) -> None:
    session = open_run()
    clock.now_s += 100 * HOUR_S
    rent(session)
    session.extend(clock() + 10 * HOUR_S)
    assert describe_budget(session, clock()) == ""


def test_the_worst_case_counts_the_started_hours_of_node_and_volume_apart(
    open_run: Open, clock: Clock
) -> None:
    session = open_run()
    volume = session.ledger.intend(RUN, "volume", session.label("volume"), 0.1)
    session.ledger.confirm(volume, "1")
    clock.now_s += HOUR_S / 2
    node = session.ledger.intend(RUN, "node", session.label("node"), 1.0)
    session.ledger.confirm(node, "2")
    # Of the node it is 1.9 hours until then, of the volume 2.4.
    deadline_s = clock() + 1.9 * HOUR_S - TEARDOWN_S
    assert worst_usd(session, deadline_s) == pytest.approx(2 * 1.0 + 3 * 0.1)


def test_what_a_run_lacks_counts_from_now(open_run: Open, clock: Clock) -> None:
    session = open_run()
    clock.now_s += 5 * HOUR_S
    assert worst_usd(session, clock() + 1.5 * HOUR_S) == pytest.approx(2 * 1.1)


def test_another_node_has_what_the_first_has_left_of_the_budget(
    open_run: Open, clock: Clock
) -> None:
    session = open_run(max_cost=6.0)
    rent(session)
    clock.now_s += 1.5 * HOUR_S
    # 2.20 are spent: 3 more hours.
    assert recap_deadline(session) == pytest.approx(clock() + 3 * HOUR_S - TEARDOWN_S)
    clock.now_s += 3 * HOUR_S
    with pytest.raises(PlanError, match=r"Of --max-cost 6 USD, 5\.50 are spent"):
        recap_deadline(session)


def test_a_node_that_nothing_came_of_costs_nothing(open_run: Open, clock: Clock) -> None:
    session = open_run(max_cost=2.2)
    node = session.ledger.intend(RUN, "node", session.label("node"), 1.0)
    session.ledger.void(node)
    clock.now_s += 5
    assert session.usd() == 0
    assert recap_deadline(session) == clock() + 2 * HOUR_S - TEARDOWN_S
    assert session.ledger.live_resources(RUN)  # all the same it is looked for at the end

"""The record of runs and resources."""

import multiprocessing
import sqlite3
from pathlib import Path

import pytest

from provision.base import LedgerError
from provision.ledger import Ledger, Run


def make_run(run_id: str, created_s: float = 0.0) -> Run:
    return Run(run_id, "local", "planned", created_s, 100.0, {"a": 1})


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "state" / "ledger.sqlite", clock=lambda: 7.0)


def test_what_was_written_is_there_for_another_process(ledger: Ledger) -> None:
    ledger.add_run(make_run("sky-1"))
    ledger.update_run("sky-1", "synced", b=2)
    ledger.record_event("sky-1", "sync", "done", files=3)
    again = Ledger(ledger.path)
    assert again.run("sky-1").record == {"a": 1, "b": 2}
    assert again.run("sky-1").state == "synced"
    assert again.events("sky-1")[0]["detail"] == {"files": 3}


def test_a_run_is_found_by_the_beginning_of_its_id(ledger: Ledger) -> None:
    for name in ("sky-1", "sky-2", "sea-1"):
        ledger.add_run(make_run(name))
    assert ledger.run("sea").id == "sea-1"
    with pytest.raises(LedgerError, match="sky may mean"):
        ledger.run("sky")
    with pytest.raises(LedgerError, match="There is no run moon"):
        ledger.run("moon")


def test_the_newest_open_run_is_the_default(ledger: Ledger) -> None:
    with pytest.raises(LedgerError, match="No run is open"):
        ledger.newest_open_run()
    for number, name in enumerate(("old", "new", "newest")):
        ledger.add_run(make_run(name, float(number)))
    ledger.update_run("newest", "down")
    assert ledger.newest_open_run().id == "new"


def test_an_intent_is_recorded_once_and_lives_until_it_is_seen_gone(ledger: Ledger) -> None:
    ledger.add_run(make_run("sky-1"))
    first = ledger.intend("sky-1", "node", "label", 0.5)
    assert ledger.intend("sky-1", "node", "label", 0.5) == first
    ledger.confirm(first, "4711")
    (live,) = ledger.live_resources("sky-1")
    assert (live.state, live.cloud_id) == ("live", "4711")
    ledger.mark_gone(live)
    assert not ledger.live_resources("sky-1")
    assert ledger.intend("sky-1", "node", "label", 0.5).id != first.id
    assert [r.state for r in ledger.resources("sky-1")] == ["gone", "intended"]


def _add(path: Path, number: int) -> None:
    with Ledger(path) as ledger:
        ledger.add_run(make_run(f"run-{number}"))


def test_processes_may_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_add, args=(path, number)) for number in range(6)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert len(Ledger(path).runs()) == 6


def test_a_ledger_of_a_newer_segaway_is_not_touched(ledger: Ledger) -> None:
    with sqlite3.connect(ledger.path) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(LedgerError, match="newer segaway"):
        Ledger(ledger.path)


def test_a_file_that_is_no_ledger_is_named(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(LedgerError, match=r"ledger\.sqlite cannot be used"):
        Ledger(path)

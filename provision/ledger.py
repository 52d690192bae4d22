"""The record of every run and every resource: SQLite, on disk before the call is made."""

import json
import math
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from provision.base import Kind, LedgerError

# Append only: a migration that has shipped is never edited.
MIGRATIONS = (
    """
    CREATE TABLE runs (
        id TEXT PRIMARY KEY,
        cloud TEXT NOT NULL,
        state TEXT NOT NULL,
        created_s REAL NOT NULL,
        deadline_s REAL NOT NULL,
        record TEXT NOT NULL
    );
    CREATE TABLE resources (
        id INTEGER PRIMARY KEY,
        run TEXT NOT NULL REFERENCES runs (id),
        kind TEXT NOT NULL,
        label TEXT NOT NULL,
        state TEXT NOT NULL,
        cloud_id TEXT,
        usd_per_hour REAL NOT NULL,
        intended_s REAL NOT NULL,
        gone_s REAL
    );
    CREATE UNIQUE INDEX live_labels ON resources (label) WHERE state != 'gone';
    CREATE TABLE events (
        id INTEGER PRIMARY KEY,
        run TEXT NOT NULL REFERENCES runs (id),
        at_s REAL NOT NULL,
        step TEXT NOT NULL,
        status TEXT NOT NULL,
        detail TEXT NOT NULL
    );
    """,
    # What is kept after its run is nobody's until another run takes it over.
    """
    DROP INDEX live_labels;
    CREATE UNIQUE INDEX live_labels ON resources (label) WHERE state IN ('intended', 'live');
    """,
)
BUSY_TIMEOUT_S = 30.0

State = Literal["planned", "provisioned", "synced", "training", "trained", "fetched", "down"]
STATES: tuple[State, ...] = (
    "planned",
    "provisioned",
    "synced",
    "training",
    "trained",
    "fetched",
    "down",
)


@dataclass(frozen=True)
class Run:
    """One durable record. `record` holds everything that another process needs to take over."""

    id: str
    cloud: str
    state: State
    created_s: float
    deadline_s: float
    record: dict[str, Any] = field(default_factory=dict)

    @property
    def is_open(self) -> bool:
        return self.state != "down"

    def has_reached(self, state: State) -> bool:
        """Whether the run is at `state` or behind it."""
        return STATES.index(self.state) >= STATES.index(state)


@dataclass(frozen=True)
class Resource:
    """Something that bills, from the intent to make it until it was seen gone.

    What is `kept` has stayed when its run was over; `gone_s` is then when it stopped being the
    run's to pay for.
    """

    id: int
    run: str
    kind: Kind
    label: str
    state: Literal["intended", "live", "kept", "gone"]
    cloud_id: str | None
    usd_per_hour: float
    intended_s: float
    gone_s: float | None


class Ledger:
    """The runs of one user. Every method that writes returns when the disk has it."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self.path = path
        self._clock = clock
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._db = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
            self._db.row_factory = sqlite3.Row
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("PRAGMA foreign_keys = ON")
            self._migrate()
        except (sqlite3.Error, OSError) as error:
            raise self._unreadable(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def add_run(self, run: Run) -> None:
        """Record a new run."""
        with self._writing() as db:
            db.execute(
                "INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?)",
                (
                    run.id,
                    run.cloud,
                    run.state,
                    run.created_s,
                    run.deadline_s,
                    json.dumps(run.record),
                ),
            )

    def run(self, run_id: str) -> Run:
        """The run with that id, or the one whose id begins so.

        Raises:
            LedgerError: there is none, or there are several.
        """
        found = [run for run in self.runs() if run.id == run_id]
        found = found or [run for run in self.runs() if run.id.startswith(run_id)]
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(run.id for run in found)
            raise LedgerError(f"{run_id} may mean {names}.", fix="Give more of the run's id.")
        raise LedgerError(f"There is no run {run_id}.", fix="segaway runs lists them.")

    def runs(self) -> list[Run]:
        """All runs, newest first."""
        rows = self._read("SELECT * FROM runs ORDER BY created_s DESC, rowid DESC")
        return [Run(**{**dict(row), "record": json.loads(row["record"])}) for row in rows]

    def newest_open_run(self) -> Run:
        """The run that a command without a run's id means.

        Raises:
            LedgerError: no run is open.
        """
        for run in self.runs():
            if run.is_open:
                return run
        raise LedgerError(
            "No run is open.", fix="segaway run DATASET starts one; segaway runs lists all."
        )

    def update_run(self, run_id: str, state: State | None = None, **record: Any) -> Run:
        """Move the run to `state` and merge `record` into its record."""
        with self._writing() as db:
            run = self.run(run_id)
            merged = json.dumps({**run.record, **record})
            db.execute(
                "UPDATE runs SET state = ?, record = ? WHERE id = ?",
                (state or run.state, merged, run_id),
            )
        return self.run(run_id)

    def move_deadline(self, run_id: str, deadline_s: float) -> Run:
        """Record when the run is to be over at the latest."""
        with self._writing() as db:
            db.execute("UPDATE runs SET deadline_s = ? WHERE id = ?", (deadline_s, run_id))
        return self.run(run_id)

    def intend(self, run_id: str, kind: Kind, label: str, usd_per_hour: float) -> Resource:
        """Record that a resource is about to be made; the one recorded before, if there is one.

        One that another run has kept becomes this run's.
        """
        with self._writing() as db:
            known = self._live("label = ?", label)
            if known and known[0].state == "intended":
                db.execute(
                    "UPDATE resources SET usd_per_hour = ? WHERE id = ?",
                    (usd_per_hour, known[0].id),
                )
            if not known:
                db.execute(
                    "UPDATE resources SET state = 'gone' WHERE label = ? AND state = 'kept'",
                    (label,),
                )
                db.execute(
                    "INSERT INTO resources (run, kind, label, state, usd_per_hour, intended_s) "
                    "VALUES (?, ?, ?, 'intended', ?, ?)",
                    (run_id, kind, label, usd_per_hour, self._clock()),
                )
        return self._live("label = ?", label)[0]

    def confirm(self, resource: Resource, cloud_id: str) -> None:
        """Record the id under which the cloud knows a resource."""
        with self._writing() as db:
            db.execute(
                "UPDATE resources SET state = 'live', cloud_id = ? WHERE id = ?",
                (cloud_id, resource.id),
            )

    def void(self, resource: Resource) -> None:
        """Record that the cloud made nothing of an intent: it is looked for, but costs nothing."""
        with self._writing() as db:
            db.execute(
                "UPDATE resources SET usd_per_hour = 0 WHERE id = ? AND state = 'intended'",
                (resource.id,),
            )

    def mark_gone(self, resource: Resource, latest_s: float = math.inf) -> None:
        """Record that the cloud has been seen not to know the resource any more.

        `latest_s` is when it went at the latest, where that is known to be earlier than now.
        """
        with self._writing() as db:
            db.execute(
                "UPDATE resources SET state = 'gone', gone_s = ? WHERE id = ?",
                (min(self._clock(), latest_s), resource.id),
            )

    def mark_kept(self, resource: Resource) -> None:
        """Record that a resource stays, and is no longer its run's to pay for."""
        with self._writing() as db:
            db.execute(
                "UPDATE resources SET state = 'kept', gone_s = ? WHERE id = ?",
                (self._clock(), resource.id),
            )

    def kept_resources(self) -> list[Resource]:
        """What has stayed when its run was over, of all runs; oldest first."""
        rows = self._read("SELECT * FROM resources WHERE state = 'kept' ORDER BY id")
        return [Resource(**dict(row)) for row in rows]

    def find_resources(self, label: str) -> list[Resource]:
        """Everything that ever had that label, in whatever run; oldest first."""
        rows = self._read("SELECT * FROM resources WHERE label = ? ORDER BY id", label)
        return [Resource(**dict(row)) for row in rows]

    def live_resources(self, run_id: str) -> list[Resource]:
        """What the run has, or may have: intended or live, in the order of their making."""
        return self._live("run = ?", run_id)

    def resources(self, run_id: str) -> list[Resource]:
        """Everything that the run ever had."""
        rows = self._read("SELECT * FROM resources WHERE run = ? ORDER BY id", run_id)
        return [Resource(**dict(row)) for row in rows]

    def record_event(self, run_id: str, step: str, status: str, **detail: Any) -> None:
        """Add a line to the run's history."""
        with self._writing() as db:
            db.execute(
                "INSERT INTO events (run, at_s, step, status, detail) VALUES (?, ?, ?, ?, ?)",
                (run_id, self._clock(), step, status, json.dumps(detail)),
            )

    def events(self, run_id: str) -> list[dict[str, Any]]:
        """The run's history, oldest first."""
        rows = self._read("SELECT * FROM events WHERE run = ? ORDER BY id", run_id)
        return [{**dict(row), "detail": json.loads(row["detail"])} for row in rows]

    def _live(self, where: str, value: str) -> list[Resource]:
        sql = f"SELECT * FROM resources WHERE state IN ('intended', 'live') AND {where} ORDER BY id"
        return [Resource(**dict(row)) for row in self._read(sql, value)]

    def _read(self, sql: str, *values: object) -> list[sqlite3.Row]:
        try:
            return self._db.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise self._unreadable(error) from error

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction; other processes wait, then see all of it or nothing."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._unreadable(error) from error

    def _migrate(self) -> None:
        if self._version() == len(MIGRATIONS):
            return
        with self._writing() as db:
            done = self._version()  # again: another process may have been faster
            if done > len(MIGRATIONS):
                raise LedgerError(
                    f"{self.path} was written by a newer segaway.",
                    fix="Upgrade segaway on this machine.",
                )
            for statement in ";".join(MIGRATIONS[done:]).split(";"):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")

    def _version(self) -> int:
        return int(self._db.execute("PRAGMA user_version").fetchone()[0])

    def _unreadable(self, error: Exception) -> LedgerError:
        return LedgerError(
            f"The ledger {self.path} cannot be used: {error}.",
            fix="Free disk space, or mend its permissions; set SEGAWAY_HOME to keep it elsewhere.",
        )

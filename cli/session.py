"""A run being worked on: its record, its cloud, its host and its lock."""

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from cli.config import Settings, find_home
from cli.console import Console
from cli.errors import Busy, CliError, Interrupted, RunError
from provision.base import CloudError, Kind, Provider, make_label
from provision.clouds import open_cloud
from provision.ledger import Ledger, Resource, Run, State
from provision.plan import Rate
from remote import shell
from remote.host import Address, Host

ID_ALPHABET = "23456789abcdefghjkmnpqrstvwxyz"
NAME_LENGTH = 12
LEDGER = "ledger.sqlite"


@dataclass
class Session:
    """One run and everything that its steps need."""

    home: Path
    ledger: Ledger
    run: Run
    console: Console

    @property
    def record(self) -> dict[str, Any]:
        return self.run.record

    @property
    def settings(self) -> Settings:
        return Settings.model_validate(self.record["settings"])

    @property
    def results(self) -> Path:
        return Path(self.record["results"])

    @property
    def folder(self) -> Path:
        """The run's own folder on this machine: keys and lock."""
        return run_folder(self.home, self.run.id)

    @property
    def root(self) -> str:
        """The folder on the node that is the volume."""
        return str(self.record["node"]["root"])

    @property
    def run_path(self) -> str:
        """The run's folder on the node."""
        return shell.run_path(self.root, self.run.id)

    @property
    def volume(self) -> dict[str, Any]:
        """The label of the run's volume, and whether it was kept from a run before."""
        if "volume" in self.record:
            return dict(self.record["volume"])
        # The record is of a segaway that had other labels: the ledger knows them.
        live = [r for r in self.ledger.live_resources(self.run.id) if r.kind == "volume"]
        label = live[0].label if live else make_label(self.run.id, "volume")
        return {"label": label, "kept": False}

    @property
    def guard(self) -> str:
        """The command of the guard that the run's node carries; empty where there is none."""
        return str((self.record.get("node") or {}).get("guard", ""))

    @property
    def rate(self) -> Rate:
        return Rate(**self.record["plan"]["rate"])

    def cloud(self) -> Provider:
        """The cloud that the run is on.

        Raises:
            CloudError: what we are let into is not the account that it was rented with.
        """
        cloud = open_cloud(self.run.cloud, self.home, self.settings.model_dump())
        known = self.record.get("account")
        if known and cloud.account() not in ("", known):
            raise CloudError(
                f"The run {self.run.id} was rented with another account of {self.run.cloud} than "
                "the one that is used now: what it has there cannot be seen from here.",
                fix="Use a token of the account that it was rented with.",
            )
        return cloud

    def address(self) -> Address:
        """How the node is reached, and known.

        Raises:
            RunError: the run has no node.
        """
        node = self.record.get("node")
        if not node:
            raise RunError(
                f"The run {self.run.id} has no node yet.",
                fix=f"segaway run --resume {self.run.id}, or segaway provision.",
            )
        key_path = self.folder / "client_key"
        return Address(node["host"], node["port"], node["user"], node["host_key"], key_path)

    def host(self) -> Host:
        """The node, not yet connected.

        Raises:
            RunError: the run has no node.
        """
        return Host(self.address())

    def label(self, kind: Kind) -> str:
        """The name that the cloud knows a resource of this run by."""
        return make_label(self.run.id, kind)

    def update(self, state: State | None = None, **record: Any) -> None:
        """Write to the run's record; `state` only ever moves on."""
        if state and self.run.has_reached(state):
            state = None
        self.run = self.ledger.update_run(self.run.id, state, **record)

    def rewind(self, state: State, **record: Any) -> None:
        """Write to the run's record; from `state` on, everything is to be done again."""
        self.run = self.ledger.update_run(self.run.id, state, **record)

    def extend(self, deadline_s: float) -> None:
        """Move the run's deadline, in the record."""
        self.run = self.ledger.move_deadline(self.run.id, deadline_s)

    def refresh(self) -> None:
        """Read the record again: another process may have written to it."""
        self.run = self.ledger.run(self.run.id)

    def usd(self) -> float:
        """The cost so far, by started hours."""
        return sum(cost for _, cost in bill(self.ledger.resources(self.run.id)))

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """One of the run's verbs: alone on this run, and in its history."""
        with self._lock():
            self.refresh()
            self.ledger.record_event(self.run.id, name, "started")
            try:
                yield
            except BaseException as error:
                word = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
                self.ledger.record_event(self.run.id, name, word, message=str(error))
                raise
            self.ledger.record_event(self.run.id, name, "done")

    @contextmanager
    def _lock(self) -> Iterator[None]:
        # The kernel drops the lock with its process: what a killed segaway left is no obstacle.
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self.folder / "lock"
        owner = self.folder / "lock.pid"
        try:
            with FileLock(path, timeout=0):
                owner.write_text(str(os.getpid()))
                yield
        except Timeout:
            pid = owner.read_text() if owner.exists() else "?"
            raise Busy(
                f"Process {pid} is working on the run {self.run.id} (it holds {path}).",
                fix="Wait for it, or stop it, and repeat the command.",
            ) from None


def run_folder(home: Path, run_id: str) -> Path:
    """Where a run's keys and its lock lie on this machine."""
    return home / "runs" / run_id


def open_ledger(home: Path | None = None) -> Ledger:
    """The user's ledger."""
    return Ledger((home or find_home()) / LEDGER)


def make_run_id(name: str) -> str:
    """A new id: part of the name, and random characters that read well aloud."""
    kept = "".join(c if c.isascii() and c.isalnum() else "-" for c in name.lower())
    slug = "-".join(part for part in kept.split("-") if part)[:NAME_LENGTH].strip("-")
    # Clouds want labels to begin with a letter; ours begin with segaway-.
    suffix = "".join(secrets.choice(ID_ALPHABET) for _ in range(5))
    return f"{slug or 'run'}-{suffix}"


@contextmanager
def open_session(run_id: str | None, console: Console) -> Iterator[Session]:
    """The run with that id (or the newest open one), for the length of a command.

    Failures leave as RunError, which says what of the run still exists.
    """
    home = find_home()
    if not (home / LEDGER).exists():
        raise CliError(
            f"There is no run {run_id}." if run_id else "No run is open.",
            fix="segaway run DATASET starts one.",
        )
    with open_ledger(home) as ledger:
        run = ledger.run(run_id) if run_id else ledger.newest_open_run()
        session = Session(home, ledger, run, console)
        with guard(session):
            yield session


@contextmanager
def guard(session: Session) -> Iterator[None]:
    """Say of every failure what of the run still exists, and what goes on."""
    try:
        yield
    except RunError as error:
        still = list_still_billing(session)
        error.run, error.still_billing = session.run.id, still
        error.exit_code = 3 if still and error.exit_code != 130 else error.exit_code
        raise
    except KeyboardInterrupt:
        raise _describe_interrupt(session) from None
    except Exception as error:
        if not hasattr(error, "fix"):
            raise
        fix = str(error.fix).replace("RUN", session.run.id)
        message = str(error).replace("RUN", session.run.id)
        raise RunError(message, fix, session.run.id, list_still_billing(session)) from error


def _describe_interrupt(session: Session) -> Interrupted:
    session.refresh()
    run, still = session.run, list_still_billing(session)
    if run.state == "training":
        left = max(0.0, run.deadline_s - time.time()) / 3600
        message = (
            f"You left; the training of {run.id} goes on, for {session.rate.usd_per_hour:.2f} USD "
            f"per hour and {left:.1f} hours at most."
        )
        fix = f"segaway attach {run.id} comes back, segaway down {run.id} --discard stops it."
    else:
        message = f"Interrupted; the run {run.id} is {run.state}."
        fix = f"segaway run --resume {run.id} goes on, segaway down {run.id} --discard ends it."
    return Interrupted(message, fix, run.id, still)


def list_still_billing(session: Session) -> list[str]:
    """What of the run exists, or may exist: a sentence each."""
    return [
        f"{resource.kind} {resource.label} on {session.run.cloud}, "
        f"{resource.usd_per_hour:.2f} USD per hour; segaway down {session.run.id} ends it"
        for resource in session.ledger.live_resources(session.run.id)
    ]


def bill(resources: list[Resource]) -> list[tuple[Resource, float]]:
    """The cost of each resource, until it went or until now, by started hours."""
    return [
        (r, Rate(r.usd_per_hour, 0.0).cost_usd((r.gone_s or time.time()) - r.intended_s))
        for r in resources
    ]

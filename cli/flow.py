"""A run, as its verbs in order: plan, provision, sync, train, watch, fetch, teardown.

Each verb can be repeated: done work is found done. Each is one step of the run's history, and
leaves the record such that any process, after any crash, can take over.
"""

import contextlib
import time
from pathlib import Path
from typing import Any

from cli.config import Settings
from cli.consent import confirm_warnings
from cli.console import format_size
from cli.contact import connect
from cli.errors import Busy, RunError
from cli.machine import tell_fetched
from cli.outcome import record_end
from cli.planning import Plan, make_plan
from cli.reach import forget_reach, remember_reach
from cli.renting import give_back, rent
from cli.session import Session, bill, guard
from cli.training import push_trainer, start_training
from cli.watch import watch_training
from provision.base import NodeLost
from provision.ledger import Run
from remote import shell
from remote.agent.files import Manifest, read_manifest
from remote.errors import JobError, RemoteError, Unreachable
from remote.fetch import fetch_folder
from remote.job import JobStatus, read_status
from remote.sync import push_folder
from train.data.dataset import MANIFEST, Dataset, load_dataset


def new_run(made: Plan, settings: Settings, folder: Path, dataset: Dataset, summary: Any) -> Run:
    """The record of a run that is about to begin."""
    record = {
        "settings": settings.model_dump(mode="json", exclude_none=True),
        "results": str((settings.results / made.run).absolute()),
        "dataset": summary,
        "dataset_folder": str(folder.absolute()),
        "fingerprint": dataset.fingerprint,
        **made.as_record(),
    }
    return Run(made.run, settings.on, "planned", made.created_s, made.deadline_s, record)


def provision(session: Session) -> None:
    """Rent the volume and the node, or find them; returns when the node can be used."""
    with session.step("provision"):
        rent(session)
        remember_reach(session)
    session.console.say(f"Node {session.label('node')} is up.")


def sync(session: Session) -> None:
    """The dataset and the trainer's code to the volume: only what it lacks."""
    with session.step("sync"), connect(session) as host:
        push_trainer(host, session.root)
        source = Path(session.record["dataset_folder"])
        target = shell.dataset_path(session.root, session.record["fingerprint"])
        with session.console.transfer("sync") as progress:
            pushed = push_folder(
                host, session.root, source, dataset_manifest(source), target, progress
            )
        session.cloud().mark_volume(session.volume["label"], session.record["fingerprint"])
        session.update("synced")
    rest = "; the rest was there" if pushed.files < pushed.files_total else ""
    session.console.say(
        f"Synced {pushed.files} of {pushed.files_total} files, "
        f"{format_size(pushed.size_bytes)}{rest}."
    )


def dataset_manifest(folder: Path) -> Manifest:
    """The files of a separated dataset, dataset.json included, as they must arrive."""
    files = {path: info.model_dump() for path, info in load_dataset(folder).files.items()}
    manifest = read_manifest(folder, skip=("images", "masks"))
    return {**files, MANIFEST: manifest[MANIFEST]}


def train(session: Session) -> JobStatus:
    """Start the trainer, detached; returns when it has begun. A finished one stays finished."""
    with session.step("train"), connect(session) as host:
        return start_training(session, host)


def watch(session: Session) -> JobStatus:
    """Show the training until it ends; log, events and results grow in the results' folder."""
    status = watch_training(session)
    with session.step("watch"):
        record_end(session, status)
    return status


def fetch(session: Session) -> JobStatus:
    """The results home, verified. Of a training that goes on, what there is so far."""
    with session.step("fetch"), connect(session) as host:
        status = read_status(host, session.root, session.run_path)
        if status.state == "none":
            raise JobError(
                "The training of RUN has not started: there is nothing to fetch.",
                fix="segaway train RUN",
            )
        with session.console.transfer("fetch") as progress:
            fetched = fetch_folder(host, session.root, session.run_path, session.results, progress)
        if status.is_over:
            record_end(session, status)
            session.update("fetched")
            tell_fetched(session, host)
    session.console.say(
        f"Fetched {fetched.files} of {fetched.files_total} files, "
        f"{format_size(fetched.size_bytes)}, to {session.results}."
    )
    return status


def teardown(session: Session, discard: bool = False) -> float:
    """Destroy what the run rented and see it gone; the bill in USD.

    Raises:
        RunError: there are results that were not fetched, or something cannot be destroyed.
    """
    with session.step("teardown"):
        if not discard:
            _refuse_unfetched(session)
        give_back(session, _keeps_volume(session))
        session.update("down")
        forget_reach(session)
    return session.usd()


def _keeps_volume(session: Session) -> bool:
    """Whether the volume stays: as asked, else as its cloud does, where it holds a dataset."""
    asked = session.settings.keep_volume
    keeps = session.cloud().keeps_volumes if asked == "auto" else asked == "yes"
    return keeps and (session.volume["kept"] or session.run.has_reached("synced"))


def _refuse_unfetched(session: Session) -> None:
    if session.run.has_reached("fetched") or not session.run.has_reached("training"):
        return
    state = _ask_state(session)
    if state == "none":
        return
    message, fix = _UNFETCHED.get(state, _UNFETCHED["over"])
    raise RunError(
        f"{message.format(session.run.id)} Nothing was destroyed.",
        fix=f"{fix} {session.run.id}; segaway down {session.run.id} --discard gives them up.",
    )


_UNFETCHED = {
    "running": ("The training of {} is still running.", "segaway attach"),
    "unknown": (
        "The node of {} is silent and has unfetched results.",
        "segaway run --resume",
    ),
    "over": ("The results of {} were not fetched.", "segaway fetch"),
}


def _ask_state(session: Session) -> str:
    """The job's state by the node's own word; `unknown` where it does not answer."""
    with contextlib.suppress(RemoteError, NodeLost), connect(session) as host:
        return read_status(host, session.root, session.run_path).state
    return "unknown"


def show_bill(session: Session) -> None:
    """What each resource cost."""
    rows = [
        [r.kind, r.label, f"{((r.gone_s or time.time()) - r.intended_s) / 3600:.2f}", f"{usd:.2f}"]
        for r, usd in bill(session.ledger.resources(session.run.id))
    ]
    session.console.table(["resource", "label", "hours", "USD"], rows)


def reopen(session: Session) -> None:
    """Let a run that has not finished go on: all its steps are to be done again.

    One that is down gets a new deadline, and of its --max-cost what is left.

    Raises:
        RunError: it is down, and nothing of it came home.
        PlanError: what is left of its --max-cost is not enough.
        CliError: nobody agrees to what the plan warns of.
    """
    if session.run.is_open:
        if session.record.get("error"):
            session.rewind("training", error=None)
        return
    if not (session.results / "checkpoints").exists():
        raise RunError(
            f"The run {session.run.id} is down, without results.", fix="segaway run DATASET"
        )
    dataset = load_dataset(Path(session.record["dataset_folder"]))
    made = make_plan(
        session.cloud(),
        session.settings,
        session.run.id,
        dataset.size_bytes,
        dataset.fingerprint,
        session.ledger,
        session.usd(),
    )
    confirm_warnings(made, session.settings, session.console)
    # The deadline first: a run that is open has one that is to come, wherever we die.
    session.extend(made.deadline_s)
    session.rewind("planned", error=None, node=None, job=None, **made.as_record())


def carry_out(session: Session, detach: bool = False) -> None:
    """All that is left of a run. Failures before the training began leave nothing behind."""
    with guard(session):
        if not session.run.has_reached("fetched"):
            _launch(session)
            if detach:
                return
            _watch_to_end(session)
            fetch(session)
        teardown(session)
        show_bill(session)
        if error := session.record.get("error"):
            raise RunError(
                error["message"], fix=error["fix"] or f"See {session.results / 'log.txt'}."
            )


def _watch_to_end(session: Session) -> None:
    """Start a training that was lost again, as often as it may; raise where it may not."""
    while (status := watch(session)).state == "lost":
        if status.attempt > session.settings.retries:
            raise RunError(
                f"The training of {session.run.id} is lost. {status.message}",
                fix=f"segaway run --resume {session.run.id} goes on from its last checkpoint.",
            )
        session.console.say(f"{status.message} Starting again from the last checkpoint.")
        provision(session)
        train(session)


def _launch(session: Session) -> None:
    try:
        provision(session)
        sync(session)
        train(session)
    except (Unreachable, Busy):
        raise  # the run may be fine: what is there already is worth keeping
    except Exception:
        if not _may_have_results(session):
            teardown(session, discard=True)
        raise


def _may_have_results(session: Session) -> bool:
    """Whether a training ever ran. A start may have failed, or its reply may have been lost."""
    session.refresh()
    if session.record.get("job"):
        return True
    return session.run.has_reached("training") and _ask_state(session) != "none"

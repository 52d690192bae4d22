"""What the commands do with a run: begin it, go on with it, one step of it."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cli import flow
from cli.broom import find_ours, show_findings
from cli.config import Settings, find_home, load_settings
from cli.consent import confirm_warnings, describe_cost
from cli.console import Console, format_duration
from cli.errors import ConfigError, RunError
from cli.planning import Plan, make_plan
from cli.preparation import plan_preparation, prepare_dataset, summarise_dataset
from cli.preview import preview_run, preview_session, show_preview
from cli.session import Session, guard, make_run_id, open_ledger, open_session
from cli.summary import describe_state, read_progress, show_metrics, show_run, summarise
from cli.training import ENGINE_KEYS, TRAINING_KEYS, check_training, hint_config_list
from provision.clouds import open_cloud
from provision.ledger import Ledger
from train.data.dataset import Dataset

RESUMABLE = (
    *ENGINE_KEYS,
    *("live_share", "max_cost", "max_hours", "boot_minutes"),
    *("region", "plan", "accept_unknown_price", "ssh_from", "unguarded", "keep_volume"),
)


def launch_run(
    source: Path, settings: Settings, console: Console, name: str | None, detach: bool
) -> None:
    """The whole job on `source`; the run's summary as the answer."""
    home = find_home()
    check_training(settings)
    preparation = plan_preparation(source, settings, home)
    dataset = prepare_dataset(preparation, console)
    for hint in hint_config_list(preparation.extracted or preparation.source, settings):
        console.say(hint)
    with open_ledger(home) as ledger:
        session = _plan_run(ledger, preparation.folder, dataset, settings, console, name)
        flow.carry_out(session, detach)
        conclude(session)


def preview_launch(source: Path, settings: Settings, console: Console, name: str | None) -> None:
    """What `launch_run` would do."""
    home = find_home()
    check_training(settings)
    preparation = plan_preparation(source, settings, home)
    show_preview(preview_run(preparation, settings, home, name), console)


def resume_run(
    run_id: str, flags: dict[str, Any], console: Console, detach: bool, dry_run: bool
) -> None:
    """The rest of a run, whatever stopped it; on a new node, where it has none any more.

    Raises:
        ConfigError: a flag would change what is trained.
        RunError: the run is down and nothing of it came home.
    """
    given = {key: value for key, value in flags.items() if value is not None}
    if fixed := [key for key in given if key not in RESUMABLE]:
        name = fixed[0].replace("_", "-")
        raise ConfigError(
            f"A run goes on as it began: --{name} cannot be changed.",
            fix="segaway run DATASET begins a new one with it.",
        )
    load_settings(given)
    if dry_run:
        return preview_steps(run_id, console, ("sync", "train", "watch", "fetch", "teardown"))
    with open_session(run_id, console) as session:
        _refuse_new_deadline(session, given)
        if session.record.get("metrics") is None or session.run.is_open:
            session.update(settings={**session.record["settings"], **given})
            flow.reopen(session)
            flow.carry_out(session, detach)
        conclude(session)
    return None


def _refuse_new_deadline(session: Session, given: dict[str, Any]) -> None:
    """Of what is rented already, the deadline stands."""
    caps = [key for key in ("max_cost", "max_hours") if key in given]
    if caps and session.run.is_open:
        raise ConfigError(
            f"--{caps[0].replace('_', '-')} comes too late: the deadline of {session.run.id} "
            "stands until it is down.",
            fix=f"segaway run --resume {session.run.id} without it.",
        )


def start_run(
    folder: Path, dataset: Dataset, settings: Settings, console: Console, name: str | None
) -> None:
    """A new run with a node and a volume, and nothing on them yet; its id as the answer."""
    with open_ledger() as ledger:
        session = _plan_run(ledger, folder, dataset, settings, console, name)
        with guard(session):
            flow.provision(session)
        console.answer(summarise(session))
        if not console.as_json:
            print(session.run.id)


def do_step(
    run_id: str | None, step: str, work: Callable[[Session], Any], dry_run: bool, as_json: bool
) -> None:
    """One verb on one run; the run's summary as the answer."""
    console = Console(as_json)
    if dry_run:
        return preview_steps(run_id, console, (step,))
    with open_session(run_id, console) as session:
        if step != "teardown" and not session.run.is_open:
            raise RunError(f"The run {session.run.id} is down.", fix="segaway run DATASET")
        work(session)
        _report_step(session, step)
    return None


def start_training(run_id: str | None, flags: dict[str, Any], dry_run: bool, as_json: bool) -> None:
    """`segaway train`: the flags become part of the run's record before the start."""
    settings = load_settings(flags)
    check_training(settings)
    known = settings.model_dump(mode="json")

    def work(session: Session) -> None:
        # One that has begun trains what it began with.
        keys = ENGINE_KEYS if session.record.get("job") else (*TRAINING_KEYS, *ENGINE_KEYS)
        old = {k: v for k, v in session.record["settings"].items() if k not in keys}
        new = {key: known[key] for key in keys if known[key] is not None}
        session.update(settings={**old, **new})
        flow.train(session)
        session.console.say(f"Training; segaway attach {session.run.id} watches it.")

    do_step(run_id, "train", work, dry_run, as_json)


def show_runs(console: Console, dry_run: bool, every: bool = False, on: str | None = None) -> None:
    """A table of all runs; with `every`, and of what is ours on the clouds."""
    path = find_home() / "ledger.sqlite"
    if dry_run or not (path.exists() or every):
        console.answer([])
        console.say("Dry run: nothing is done." if dry_run else "There are no runs yet.")
        return
    with open_ledger() as ledger:
        sessions = [Session(find_home(), ledger, run, console) for run in ledger.runs()]
        known = [summarise(session) for session in sessions]
        found = find_ours(ledger, load_settings({"on": on})) if every else []
        console.answer({"runs": known, "found": [f.as_json() for f in found]} if every else known)
        if not console.as_json:
            columns = ["run", "state", "progress", "cost USD", "deadline", "results"]
            console.table(columns, [_run_row(session) for session in sessions])
            show_findings(found, console)


def _run_row(session: Session) -> list[str]:
    progress = read_progress(session)
    left_s = session.run.deadline_s - time.time()
    deadline = "passed" if left_s < 0 else f"in {format_duration(left_s)}"
    return [
        session.run.id,
        describe_state(session),
        "" if progress is None else f"{progress:.0%}",
        f"{session.usd():.2f}",
        deadline if session.run.is_open else "",
        str(session.results),
    ]


def run_demo(settings: Settings, seed: int, console: Console, dry_run: bool) -> None:
    """The main job on skies that we draw ourselves."""
    from cli.reference import describe_reference_cost
    from cli.skies import COUNTS, draw_archive

    archive = find_home() / "demo" / f"skies-{seed}.tar"
    if dry_run:
        console.say(f"Dry run: would draw {COUNTS} skies into {archive} and run the job on them.")
        console.answer({"steps": [{"step": "draw", "does": [str(archive)]}]})
        return
    if not archive.exists():
        with console.count("draw skies") as update:
            draw_archive(archive, seed, progress=update)
    began = time.monotonic()
    launch_run(archive, settings, console, "demo", detach=False)
    console.say(describe_reference_cost(time.monotonic() - began))


def _plan_run(
    ledger: Ledger,
    folder: Path,
    dataset: Dataset,
    settings: Settings,
    console: Console,
    name: str | None,
) -> Session:
    """Plan, and write the new run down."""
    cloud = open_cloud(settings.on, find_home(), settings.model_dump())
    run_id = make_run_id(name or dataset.name)
    made = make_plan(cloud, settings, run_id, dataset.size_bytes, dataset.fingerprint, ledger)
    return open_run(ledger, folder, dataset, settings, console, made)


def open_run(
    ledger: Ledger,
    folder: Path,
    dataset: Dataset,
    settings: Settings,
    console: Console,
    made: Plan,
) -> Session:
    """A new run as it was planned, in the ledger; nothing is rented yet.

    Raises:
        CliError: nobody agrees to what the plan warns of.
    """
    confirm_warnings(made, settings, console)
    run = flow.new_run(made, settings, folder, dataset, summarise_dataset(dataset))
    ledger.add_run(run)
    console.say(f"Run {run.id} on {settings.on}: {describe_cost(made)}")
    return Session(find_home(), ledger, run, console)


def conclude(session: Session) -> None:
    """The end of a command that did a run, or began one: what is to be said of it."""
    console = session.console
    console.answer(summarise(session))
    if session.run.is_open:
        console.say(f"Left running: segaway attach {session.run.id} watches it.")
    elif not console.as_json:
        show_metrics(session, console)


def _report_step(session: Session, step: str) -> None:
    session.console.answer(summarise(session))
    error = session.record.get("error")
    if step in ("watch", "fetch") and error:
        raise RunError(error["message"], fix=error["fix"] or f"segaway logs {session.run.id}")
    if step == "watch" and not session.console.as_json:
        show_run(session, session.console)


def preview_steps(run_id: str | None, console: Console, steps: tuple[str, ...]) -> None:
    """The dry run of steps of a run that exists."""
    with open_session(run_id, console) as session:
        previews = [preview_session(session, step) for step in steps]
        joined = {**previews[0], "steps": [step for p in previews for step in p["steps"]]}
        show_preview(joined, console)

"""What a dry run prints: every step with its literal requests and commands. Does nothing."""

import shlex
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cli.config import Settings
from cli.console import Console, format_duration, format_size
from cli.orders import make_order
from cli.planning import Plan, make_plan
from cli.preparation import Preparation, describe_preparation
from cli.session import LEDGER, Session, make_run_id, open_ledger
from cli.training import (
    describe_config_list,
    guess_engine,
    hint_config_list,
    show_config,
    trainer_manifest,
    training_job,
)
from provision.clouds import open_cloud
from remote import shell
from remote.engines import load_engine
from remote.follow import FILES
from train.data.dataset import Dataset, load_dataset

Step = dict[str, Any]


def preview_run(
    preparation: Preparation, settings: Settings, home: Path, name: str | None
) -> dict[str, Any]:
    """The whole of a run that has not begun. Its id would be another one each time."""
    does, size = describe_preparation(preparation)
    fingerprint = ""
    if preparation.is_done:
        fingerprint = load_dataset(preparation.folder).fingerprint
    run_id = make_run_id(name or preparation.name)
    made = plan_dry(settings, home, run_id, size, fingerprint)
    root, data = "VOLUME", fingerprint or "FINGERPRINT"
    does += [f"note: {note}" for note in describe_config_list(settings)]
    does += hint_config_list(preparation.extracted or preparation.source, settings)
    steps = [
        _step("prepare", *does),
        _preview_provision(made),
        preview_sync(root, data, size),
        preview_train(root, run_id, data, settings, made.choice.as_json()["offer"]),
        preview_watch(root, run_id),
        preview_fetch(root, run_id, settings.results / run_id),
        _step("teardown", *made.endings),
    ]
    return {"run": run_id, "plan": made.choice.as_json(), "steps": steps, **_terms(made)}


def preview_provision(settings: Settings, home: Path, name: str, dataset: Dataset) -> Step:
    """Renting alone."""
    run_id = make_run_id(name)
    made = plan_dry(settings, home, run_id, dataset.size_bytes, dataset.fingerprint)
    steps = [_preview_provision(made)]
    return {"run": run_id, "plan": made.choice.as_json(), "steps": steps, **_terms(made)}


def plan_dry(
    settings: Settings, home: Path, run_id: str, data_bytes: int, fingerprint: str
) -> Plan:
    """The plan as the real run would make it, and nothing on this machine changed."""
    cloud = open_cloud(settings.on, home, settings.model_dump())
    if not (home / LEDGER).exists():
        return make_plan(cloud, settings, run_id, data_bytes, fingerprint)
    with open_ledger(home) as ledger:
        return make_plan(cloud, settings, run_id, data_bytes, fingerprint, ledger)


def _preview_provision(made: Plan) -> Step:
    fallbacks = [
        f"where nothing is left: {c.offer.plan} in {c.offer.region}, "
        f"{c.rate.usd_per_hour:.2f} USD per hour"
        for c in made.choices[1:]
    ]
    warnings = [f"obstacle: {obstacle}" for obstacle in made.obstacles]
    warnings += [f"warning: {warning}" for warning in made.warnings]
    requests = [asdict(request) for request in made.requests]
    return _step("provision", *warnings, *fallbacks, requests=requests)


def preview_sync(root: str, fingerprint: str, size_bytes: int) -> Step:
    target = shell.dataset_path(root, fingerprint)
    code = shell.trainer_path(root, trainer_manifest())
    return _step(
        "sync",
        f"send what the volume lacks of {format_size(size_bytes)}",
        *_commands(
            *(
                shell.call_agent(root, verb, place)
                for place in (code, target)
                for verb in ("lack", "receive")
            )
        ),
    )


def preview_train(
    root: str, run_id: str, fingerprint: str, settings: Settings, offer: dict[str, Any]
) -> Step:
    job = training_job(root, run_id, fingerprint, settings, offer)
    commands = load_engine(guess_engine(settings)).build_commands(job)
    return _step(
        "train",
        *_commands(*commands[:-1], shell.call_agent(root, "start", job.run), commands[-1]),
        config=show_config(settings, job),
    )


def preview_watch(root: str, run_id: str) -> Step:
    return _step("watch", *_commands(shell.follow_files(root, run_id, dict.fromkeys(FILES, 0))))


def preview_fetch(root: str, run_id: str, results: Path) -> Step:
    run = shell.run_path(root, run_id)
    commands = [shell.call_agent(root, verb, run) for verb in ("manifest", "send")]
    return _step("fetch", *_commands(*commands), f"write what is lacking to {results.absolute()}")


def preview_session(session: Session, step: str) -> dict[str, Any]:
    """One step of a run that exists."""
    node = session.record.get("node") or {"root": "VOLUME"}
    root, run_id, fingerprint = node["root"], session.run.id, session.record["fingerprint"]
    if step == "sync":
        size = load_dataset(Path(session.record["dataset_folder"])).size_bytes
        made = preview_sync(root, fingerprint, size)
    elif step == "train":
        made = preview_train(
            root, run_id, fingerprint, session.settings, session.record["plan"]["offer"]
        )
    elif step in ("watch", "logs"):
        made = preview_watch(root, run_id)
    elif step == "fetch":
        made = preview_fetch(root, run_id, session.results)
    else:
        made = _step("teardown", *session.cloud().endings(make_order(session)))
    return {"run": run_id, "steps": [made], "usd_per_hour": session.rate.usd_per_hour}


def show_preview(preview: dict[str, Any], console: Console) -> None:
    """The same for people; the JSON value with --json."""
    console.answer(preview)
    if console.as_json:
        return
    console.say("Dry run: nothing is done.")
    for number, step in enumerate(preview["steps"], start=1):
        console.say(f"{number}. {step['step']}")
        for line in step["does"]:
            console.say(f"   {line}")
        for request in step.get("requests", []):
            console.say(f"   {request['action']}: {request['body']}")
        if "config" in step:
            console.say(f"   config: {step['config']}")
    if "worst_case_usd" in preview:
        console.say(
            f"Price: {preview['usd_per_hour']:.2f} USD per started hour, "
            f"{preview['worst_case_usd']:.2f} USD at worst; deadline in "
            f"{format_duration(preview['deadline_s'] - time.time())}."
        )


def _step(name: str, *does: str, **more: Any) -> Step:
    return {"step": name, "does": list(does), **more}


def _commands(*commands: list[str]) -> list[str]:
    return [f"$ {shlex.join(command)}" for command in commands]


def _terms(made: Plan) -> dict[str, Any]:
    return {
        "usd_per_hour": made.choice.rate.usd_per_hour,
        "worst_case_usd": made.worst_case_usd,
        "deadline_s": made.deadline_s,
        "fallbacks": [choice.as_json() for choice in made.choices[1:]],
        "obstacles": made.obstacles,
        "warnings": made.warnings,
    }

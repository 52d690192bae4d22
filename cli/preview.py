"""What a dry run prints: every step with its literal requests and commands. Does nothing."""

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cli import flow
from cli.config import Settings
from cli.console import Console, format_size
from cli.preparation import Preparation, describe_preparation
from cli.renting import node_spec, volume_spec
from cli.session import Session, make_label, make_run_id, run_folder
from cli.training import guess_engine, trainer_manifest, training_config, training_job
from provision.base import Request
from provision.clouds import open_cloud
from provision.plan import Plan
from remote import shell
from remote.engines import load_engine
from remote.follow import FILES

Step = dict[str, Any]


def preview_run(
    preparation: Preparation, settings: Settings, home: Path, name: str | None
) -> dict[str, Any]:
    """The whole of a run that has not begun. Its id would be another one each time."""
    does, size = describe_preparation(preparation)
    cloud = open_cloud(settings.on, home, settings.model_dump())
    made = flow.plan(cloud, settings, size)
    run_id = make_run_id(name or preparation.name)
    fingerprint = "FINGERPRINT"
    if preparation.is_done:
        from train.data.dataset import load_dataset

        fingerprint = load_dataset(preparation.folder).fingerprint
    root = "VOLUME"
    steps = [
        _step("prepare", *does),
        _step("provision", requests=_requests(run_id, made, settings, home)),
        preview_sync(root, fingerprint, size),
        preview_train(root, run_id, fingerprint, settings, made.as_json()["offer"]),
        preview_watch(root, run_id),
        preview_fetch(root, run_id, settings.results / run_id),
        preview_teardown(run_id),
    ]
    return {"run": run_id, "plan": made.as_json(), "steps": steps, **_money(made)}


def preview_provision(settings: Settings, home: Path, name: str, data_bytes: int) -> dict[str, Any]:
    """Renting alone."""
    cloud = open_cloud(settings.on, home, settings.model_dump())
    made = flow.plan(cloud, settings, data_bytes)
    run_id = make_run_id(name)
    steps = [_step("provision", requests=_requests(run_id, made, settings, home))]
    return {"run": run_id, "plan": made.as_json(), "steps": steps, **_money(made)}


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
        config=training_config(settings, job),
    )


def preview_watch(root: str, run_id: str) -> Step:
    return _step("watch", *_commands(shell.follow_files(root, run_id, dict.fromkeys(FILES, 0))))


def preview_fetch(root: str, run_id: str, results: Path) -> Step:
    run = shell.run_path(root, run_id)
    commands = [shell.call_agent(root, verb, run) for verb in ("manifest", "send")]
    return _step("fetch", *_commands(*commands), f"write what is lacking to {results.absolute()}")


def preview_teardown(run_id: str) -> Step:
    labels = [make_label(run_id, kind) for kind in ("node", "volume")]
    return _step("teardown", *(f"destroy {label}, and see it gone" for label in labels))


def preview_session(session: Session, step: str) -> dict[str, Any]:
    """One step of a run that exists."""
    node = session.record.get("node") or {"root": "VOLUME"}
    root, run_id, fingerprint = node["root"], session.run.id, session.record["fingerprint"]
    if step == "sync":
        from train.data.dataset import load_dataset

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
        made = preview_teardown(run_id)
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
            f"{preview['worst_case_usd']:.2f} USD at worst."
        )


def _requests(run_id: str, made: Plan, settings: Settings, home: Path) -> list[dict[str, Any]]:
    """Literally what the cloud would be sent; the deadline counts from now."""
    import time

    cloud = open_cloud(settings.on, home, settings.model_dump())
    as_json, deadline_s = made.as_json(), time.time() + made.lifetime_s
    node = node_spec(
        run_id, as_json, run_folder(home, run_id), "ssh-ed25519 (made for the run)", deadline_s
    )
    requests: list[Request] = [
        cloud.volume_request(volume_spec(run_id, as_json)),
        cloud.node_request(node),
    ]
    return [asdict(request) for request in requests]


def _step(name: str, *does: str, **more: Any) -> Step:
    return {"step": name, "does": list(does), **more}


def _commands(*commands: list[str]) -> list[str]:
    return [f"$ {shlex.join(command)}" for command in commands]


def _money(made: Plan) -> dict[str, float]:
    return {"usd_per_hour": made.rate.usd_per_hour, "worst_case_usd": made.worst_case_usd}

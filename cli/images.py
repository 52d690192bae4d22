"""The trainer's images on the node of a run."""

import shlex
from dataclasses import asdict
from typing import Any, cast

from cli.config import Settings, load_settings
from cli.console import Console
from cli.contact import connect
from cli.errors import RunError
from cli.session import Session, open_session
from cli.training import guess_engine, push_trainer, session_job, training_job
from remote.containers import Image, trainer_image
from remote.engines import ContainerEngine, JobSpec, load_engine
from remote.host import Host
from remote.job import choose_engine


def build_image(run_id: str | None, flags: dict[str, Any], dry_run: bool, as_json: bool) -> None:
    """Have the image of the trainer as it is here on the run's node. Safe to repeat.

    Raises:
        RunError: the run is down, or its engine has no images.
    """
    console = Console(as_json)
    with open_session(run_id, console) as session:
        settings = _choose(session, flags)
        if dry_run:
            return _preview(session, settings, console)
        session.update(settings=settings.model_dump(mode="json", exclude_none=True))
        with session.step("image"), connect(session) as host:
            push_trainer(host, session.root)
            job = session_job(session, host)
            engine = _open_engine(session, host, job)
            made = engine.ensure_image(host, job)
        name = trainer_image(job)
        console.say(f"{name} is made." if made else f"{name} is there already.")
        console.answer({"run": session.run.id, "image": name, "made": made})
    return None


def list_images(run_id: str | None, flags: dict[str, Any], dry_run: bool, as_json: bool) -> None:
    """The trainer's images on the run's node.

    Raises:
        RunError: the run is down, or its engine has no images.
    """
    console = Console(as_json)
    with open_session(run_id, console) as session:
        settings = _choose(session, flags)
        if dry_run:
            return _preview(session, settings, console)
        session.update(settings=settings.model_dump(mode="json", exclude_none=True))
        with connect(session) as host:
            job = session_job(session, host)
            images: list[Image] = _open_engine(session, host, job).list_images(host, job)
        console.answer({"run": session.run.id, "images": [asdict(image) for image in images]})
        if not as_json:
            rows = [[image.name, image.size, image.age] for image in images]
            console.table(["image", "size", "made"], rows)
    return None


def _choose(session: Session, flags: dict[str, Any]) -> Settings:
    """The run's settings with the flags, which become part of it: it is to find the image."""
    if not session.run.is_open:
        raise RunError(f"The run {session.run.id} is down.", fix="segaway run DATASET")
    given = {key: value for key, value in flags.items() if value is not None}
    load_settings(given)
    return Settings.model_validate({**session.record["settings"], **given})


def _open_engine(session: Session, host: Host, job: JobSpec) -> ContainerEngine:
    """The run's engine, where it is one that has images."""
    guessed = guess_engine(session.settings)
    name = choose_engine(host, job, guessed if guessed == "process" else session.settings.engine)
    if name == "process":
        raise RunError(
            "The engine process runs the synced code: it has no images.",
            fix="Give --engine podman or --engine docker.",
        )
    return cast(ContainerEngine, load_engine(name))


def _preview(session: Session, settings: Settings, console: Console) -> None:
    node = session.record.get("node") or {"root": "VOLUME"}
    job = training_job(
        node["root"],
        session.run.id,
        session.record["fingerprint"],
        settings,
        session.record["plan"]["offer"],
    )
    commands = load_engine(guess_engine(settings)).build_commands(job)[:-1]
    lines = [f"$ {shlex.join(command)}" for command in commands]
    console.answer({"run": session.run.id, "steps": [{"step": "image", "does": lines}]})
    console.say("Dry run: nothing is done.")
    for line in lines:
        console.say(f"   {line}")

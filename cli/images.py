"""The trainer's images on the node of a run."""

import shlex
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from cli.config import Settings, load_settings
from cli.console import Console
from cli.contact import connect
from cli.errors import RunError
from cli.preview import show_preview
from cli.session import Session, open_session
from cli.training import guess_engine, pick_engine, push_trainer, session_job, training_job
from remote.containers import ContainerEngine, trainer_image
from remote.engines import JobSpec, load_engine
from remote.host import Host

Work = Callable[[Session, Host, ContainerEngine, JobSpec], None]


def build_image(run_id: str | None, flags: dict[str, Any], dry_run: bool, as_json: bool) -> None:
    """Have the image of the trainer as it is here on the run's node. Safe to repeat.

    Raises:
        RunError: the run is down, or its engine has no images.
    """

    def build(session: Session, host: Host, engine: ContainerEngine, job: JobSpec) -> None:
        push_trainer(host, session.root)
        made, name = engine.ensure_image(host, job), trainer_image(job)
        session.console.say(f"{name} is made." if made else f"{name} is there already.")
        session.console.answer({"run": session.run.id, "image": name, "made": made})

    _work(run_id, flags, dry_run, as_json, build)


def list_images(run_id: str | None, flags: dict[str, Any], dry_run: bool, as_json: bool) -> None:
    """The trainer's images on the run's node.

    Raises:
        RunError: the run is down, or its engine has no images.
    """

    def tell(session: Session, host: Host, engine: ContainerEngine, job: JobSpec) -> None:
        images = engine.list_images(host, job)
        answer = {"run": session.run.id, "images": [asdict(image) for image in images]}
        session.console.answer(answer)
        if not as_json:
            rows = [[image.name, image.size, image.age] for image in images]
            session.console.table(["image", "size", "made"], rows)

    _work(run_id, flags, dry_run, as_json, tell)


def _work(
    run_id: str | None, flags: dict[str, Any], dry_run: bool, as_json: bool, work: Work
) -> None:
    """Do it with the engine of the run, on its node; or show what would be sent."""
    console = Console(as_json)
    with open_session(run_id, console) as session:
        settings = _choose(session, flags)
        if dry_run:
            return _preview(session, settings, console)
        session.update(settings=settings.model_dump(mode="json", exclude_none=True))
        with session.step("image"), connect(session) as host:
            job = session_job(session, host)
            work(session, host, _open_engine(session, host, job), job)
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
    name = pick_engine(session, host, job)
    engine = load_engine(name)
    if not isinstance(engine, ContainerEngine):
        raise RunError(
            f"The engine {name} runs the synced code: it has no images.",
            fix="Give --engine podman or --engine docker.",
        )
    return engine


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
    does = [f"$ {shlex.join(command)}" for command in commands]
    show_preview({"run": session.run.id, "steps": [{"step": "image", "does": does}]}, console)

"""The training on the node: its code, its config, its engine, its start."""

from pathlib import Path
from typing import Any

from cli.config import Settings
from cli.outcome import job_record
from cli.session import Session
from remote import shell
from remote.agent.files import Manifest, read_manifest
from remote.calls import install_agent
from remote.engines import JobSpec
from remote.host import Host
from remote.job import AUTO, CONFIG, JobStatus, choose_engine, read_status, start_job
from remote.live import STAGE
from remote.sync import push_folder
from train import config as train_config
from train.config import TrainConfig

TRAINER = Path(train_config.__file__).parent
TRAINING_KEYS = ("model", "epochs", "minutes", "crop", "batch", "seed")
ENGINE_KEYS = ("engine", "image", "base_image", "memory", "retries")
LOCAL = "local"


def trainer_manifest() -> Manifest:
    """The files of the trainer's package."""
    return {f"{TRAINER.name}/{path}": info for path, info in read_manifest(TRAINER).items()}


def push_trainer(host: Host, root: str) -> None:
    """The trainer as it is here to the volume. Waits; safe to repeat."""
    install_agent(host, root)
    manifest = trainer_manifest()
    code = shell.trainer_path(root, manifest)
    push_folder(host, root, TRAINER.parent, manifest, code, lambda *_: None)


def training_job(
    root: str,
    run_id: str,
    fingerprint: str,
    settings: Settings,
    offer: dict[str, Any],
    uid: int = 0,
) -> JobSpec:
    """Where the parts of a run's training lie on the node, and what it is run with. Pure."""
    run = shell.run_path(root, run_id)
    return JobSpec(
        run_id=run_id,
        root=root,
        code=shell.trainer_path(root, trainer_manifest()),
        config=f"{run}/{CONFIG}",
        dataset=shell.dataset_path(root, fingerprint),
        run=run,
        uid=uid,
        gpus=0 if settings.device == "cpu" else offer["gpus"],
        memory_gib=settings.memory or 0.0,
        node_memory_gib=0.0 if settings.on == LOCAL else offer["memory_gib"],
        image=settings.image,
        base_image=settings.base_image,
        retries=settings.retries,
    )


def training_config(settings: Settings, job: JobSpec) -> dict[str, Any]:
    """The trainer's config: validated here, so that a mistake costs no node."""
    chosen = settings.model_dump(include=set(TRAINING_KEYS), exclude_none=True)
    if settings.epochs is None and settings.minutes is None:
        chosen["epochs"] = train_config.DEFAULT_EPOCHS
    device = settings.device
    if device == "auto" and job.gpus and settings.on != LOCAL:
        # A GPU that is paid for and not seen is to be an error, not a slow training.
        device = "cuda"
    config = TrainConfig(dataset=Path(job.dataset), output=Path(job.run), device=device, **chosen)
    return config.model_dump(mode="json", exclude_none=True)


def guess_engine(settings: Settings) -> str:
    """The engine that a node of this cloud will most likely run the trainer with."""
    if settings.engine != AUTO:
        return settings.engine
    return "process" if settings.on == LOCAL else "podman"


def pick_engine(session: Session, host: Host, job: JobSpec) -> str:
    """The engine of the run's settings, or the best that its node has. Waits.

    Raises:
        JobError: what it, or the best of those, lacks.
    """
    settings = session.settings
    # On one's own machine there may be a podman, too; it is not asked for a container unbidden.
    return choose_engine(
        host, job, guess_engine(settings) if settings.on == LOCAL else settings.engine
    )


def session_job(session: Session, host: Host) -> JobSpec:
    """The training of a run, for the user that we are on its node."""
    return training_job(
        session.root,
        session.run.id,
        session.record["fingerprint"],
        session.settings,
        session.record["plan"]["offer"],
        uid=int(host.check(["id", "-u"])),
    )


def start_training(session: Session, host: Host) -> JobStatus:
    """Start the trainer, detached; returns when it has begun. A finished one stays finished."""
    job = session_job(session, host)
    config = training_config(session.settings, job)
    status = read_status(host, job.root, job.run)
    goes_on = status.state in ("running", "finished")
    engine = "" if goes_on else pick_engine(session, host, job)
    if status.state == "none":
        _push_results(session, host, job)
    # Before the start: from here on there may be results that a teardown must not lose.
    session.rewind("training")
    if not goes_on:
        status = start_job(host, job, engine, config, session.console.say)
    session.update(job=job_record(status), error=None)
    return status


def _push_results(session: Session, host: Host, job: JobSpec) -> None:
    """To a volume that knows nothing of a run which has begun: what came home of it."""
    if not (session.results / "checkpoints").exists():
        return
    manifest = read_manifest(session.results, skip=(STAGE,))
    manifest.pop(CONFIG, None)
    pushed = push_folder(host, job.root, session.results, manifest, job.run, lambda *_: None)
    session.console.say(f"Sent {pushed.files} files of the run's results to its new volume.")

"""The training on the node: its code, its config, its engine, its start."""

import os
import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from pydantic import ValidationError

from cli.config import SECRET, Settings
from cli.errors import ConfigError, RunError
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
from train.config import ARCHITECTURES, LENGTHS, TrainConfig, list_models
from train.waggle import NAME, find_config_list, translate_config_list

TRAINER = Path(train_config.__file__).parent
# What the trainer is told as it is said here; its other settings are in the table `train`.
PLAIN_KEYS = ("model", *LENGTHS, "crop", "batch", "seed", "loss", "lr")
TRAINING_KEYS = (*PLAIN_KEYS, "train", "config_list")
ENGINE_KEYS = ("engine", "image", "base_image", "memory", "retries")
LOCAL = "local"
MASK = "***"
ALL_WEIGHTS = ("imagenet", "coco")


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
        network=read_training(settings, environ=None).needs_network,
    )


def training_config(
    settings: Settings, job: JobSpec, environ: Mapping[str, str] | None = os.environ
) -> dict[str, Any]:
    """The trainer's config: validated here, so that a mistake costs no node.

    Raises:
        ConfigError: as `read_training`.
    """
    device = settings.device
    if device == "auto" and job.gpus and settings.on != LOCAL:
        # A GPU that is paid for and not seen is to be an error, not a slow training.
        device = "cuda"
    config = read_training(settings, environ, job.dataset, job.run, device)
    return config.model_dump(mode="json", exclude_none=True)


def show_config(settings: Settings, job: JobSpec) -> dict[str, Any]:
    """The trainer's config for people to read: no secret is in it."""
    shown = mask_url(str(settings.train.get(SECRET, "")))
    return training_config(settings, job, environ=None) | {SECRET: shown}


def read_training(
    settings: Settings,
    environ: Mapping[str, str] | None = os.environ,
    dataset: str = ".",
    output: str = ".",
    device: str = "auto",
) -> TrainConfig:
    """What the trainer is asked to do, the status URL filled in from the environment.

    Without an environment, the status URL is one that stands for it.

    Raises:
        ConfigError: the environment lacks a part of the URL, or what it holds is none.
    """
    chosen = settings.model_dump(include={*PLAIN_KEYS}, exclude_none=True) | settings.train
    if not any(name in chosen for name in LENGTHS):
        chosen["epochs"] = train_config.DEFAULT_EPOCHS
    if chosen.get(SECRET):
        known = environ is not None
        chosen[SECRET] = (
            fill_variables(chosen[SECRET], environ or {}) if known else f"http://{MASK}"
        )
    try:
        return TrainConfig(dataset=Path(dataset), output=Path(output), device=device, **chosen)
    except ValidationError as error:
        # All but the URL was looked at when it was read; what it holds is not to be seen.
        raise ConfigError(
            f"The trainer refuses its settings: {error.errors()[0]['msg']}.",
            fix="docs/training.md says what they take.",
        ) from None


def fill_variables(text: str, environ: Mapping[str, str]) -> str:
    """`text` with the environment's value for each `${NAME}`.

    Raises:
        ConfigError: there is none.
    """

    def fill(found: re.Match[str]) -> str:
        if found[1] not in environ:
            raise ConfigError(
                f"{SECRET} needs {found[1]}, and the environment has none.",
                fix=f"export {found[1]}=..., and repeat the command.",
            )
        return environ[found[1]]

    return re.sub(r"\$\{(\w+)\}", fill, text)


def mask_url(url: str) -> str:
    """The URL without what may be secret in it: its user and its query."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return MASK
    user, _, place = parts.netloc.rpartition("@")
    netloc = f"{MASK}@{place}" if user else place
    return urlunsplit((parts.scheme, netloc, parts.path, parts.query and MASK, ""))


def check_training(settings: Settings) -> None:
    """Refuse, before anything is rented, what the trainer would refuse.

    Raises:
        RunError: there is no such model.
        ConfigError: there is no such loss, or no such weights for the model; as `read_training`.
    """
    check_model(settings.model)
    check_loss(settings.loss)
    asked = read_training(settings)
    known = list_weights(asked.model)
    if asked.pretrained in ALL_WEIGHTS and asked.pretrained not in known:
        raise ConfigError(
            f"There are no weights {asked.pretrained} for {asked.model}.",
            fix=f"pretrained: {' or '.join([*known, 'a file on the node'])}.",
        )


def list_weights(model: str) -> tuple[str, ...]:
    """What `pretrained` may name for a model, beside a file."""
    if "/" in model:
        return ("imagenet",)
    return ALL_WEIGHTS if model.startswith("fcn_") else ()


def check_loss(expression: str) -> None:
    """Refuse a loss that is none of the files of `train/losses`.

    Raises:
        ConfigError: a part of the sum has another name.
    """
    known = sorted(path.stem for path in (TRAINER / "losses").glob("[!_]*.py"))
    # A plus behind an e belongs to the number, as in 1e+2.
    for part in re.split(r"(?<![\d.][eE])\+", expression):
        name = part.rpartition("*")[2].strip()
        if name not in known:
            near = get_close_matches(name, known, n=1) or [", ".join(known)]
            raise ConfigError(f"There is no loss {name!r}.", fix=f"--loss {near[0]}")


def check_model(name: str) -> None:
    """Refuse a model that there is not. Encoders are known on the node alone.

    Raises:
        RunError: there is none of that family or architecture.
    """
    plain = list_models()
    family, _, encoder = name.partition("/")
    if name in plain or (encoder and family in ARCHITECTURES):
        return
    fix = f"--model {', '.join(plain)}, or ARCHITECTURE/ENCODER as unet/resnet34; architectures: "
    fix += ", ".join(ARCHITECTURES)
    if near := get_close_matches(family, [*ARCHITECTURES, *plain], n=1):
        needs_encoder = near[0] in ARCHITECTURES
        fix = f"--model {near[0]}" + (f"/{encoder or 'resnet34'}" if needs_encoder else "")
    raise RunError(f"There is no model {name!r}.", fix=fix)


def describe_config_list(settings: Settings) -> list[str]:
    """What there is to know of the config.list that the settings come from."""
    if settings.config_list is None:
        return []
    _, notes = translate_config_list(settings.config_list, settings.crop)
    return notes


def hint_config_list(folder: Path | None, settings: Settings) -> list[str]:
    """The flag for a config.list beside a dataset's images that is not used; or nothing."""
    found = None if settings.config_list or folder is None else find_config_list(folder)
    return [f"To train as Waggle's {NAME} there says: --config-list {found}"] if found else []


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

"""Start, status and stop of a job that outlives the connection."""

import json
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from remote import shell
from remote.calls import call_agent
from remote.engines import JobSpec, load_engine
from remote.errors import JobError
from remote.host import Host

CONFIG = "config.json"
STOP_GRACE_S = 30.0
AUTO = "auto"
PREFERRED = ("podman", "docker", "process")


@dataclass(frozen=True)
class JobStatus:
    """The job's state: none, running, finished, stopped, failed or lost; and how it came to it.

    `exit_code` is 128 + N after signal N. `cause` is one word (out_of_memory, disk_full, gpu, ...:
    see remote/agent/diagnosis.py), `message` and `fix` say it to people.
    """

    state: str
    exit_code: int | None = None
    started_s: float | None = None
    ended_s: float | None = None
    cause: str = ""
    message: str = ""
    fix: str = ""
    attempt: int = 1

    @property
    def is_over(self) -> bool:
        return self.state in ("finished", "stopped", "failed", "lost")


def parse_status(answer: dict[str, Any]) -> JobStatus:
    """The status in an agent's answer."""
    known = {field.name: answer[field.name] for field in fields(JobStatus) if field.name in answer}
    return JobStatus(**known)


def choose_engine(host: Host, spec: JobSpec, wanted: str = AUTO) -> str:
    """The engine that is wanted, or the first that the node can run the trainer with. Waits.

    Raises:
        JobError: what the one, or the best of those that the node has, lacks.
    """
    if wanted != AUTO:
        load_engine(wanted).check(host, spec)
        return wanted
    refusal: JobError | None = None
    for name in PREFERRED:
        engine = load_engine(name)
        try:
            if engine.is_there(host, spec):
                engine.check(host, spec)
                return name
        except JobError as error:
            refusal = refusal or error
    raise refusal or JobError(
        f"{host.address} has no engine to run the trainer with: {', '.join(PREFERRED)}.",
        fix="Install podman there, or take another plan.",
    )


def start_job(
    host: Host,
    spec: JobSpec,
    engine: str,
    config: dict[str, Any],
    say: Callable[[str], None] = lambda _: None,
) -> JobStatus:
    """Start the trainer detached from this connection; returns when it has begun.

    Safe to repeat: a running job is left running, a finished one finished; one that was stopped,
    failed or lost goes on from its last checkpoint. `say` is told when an image was made.

    Raises:
        JobError: the image cannot be had, or the trainer cannot be started.
    """
    if load_engine(engine).ensure_image(host, spec):
        say("The trainer's image is made; the next run on this volume finds it.")
    host.check(shell.make_folder(spec.run))
    host.put(spec.config, json.dumps(config, indent=1).encode())
    job = load_engine(engine).build_job(spec)
    answer = call_agent(host, spec.root, "start", spec.run, stdin=job)
    if "refused" in answer:
        raise JobError(
            f"The trainer could not be started on {host.address}: {answer['refused']}.",
            fix="segaway doctor checks this machine; segaway down RUN ends the run.",
        )
    return parse_status(answer)


def read_status(host: Host, root: str, run: str) -> JobStatus:
    """The state of the job in the folder `run`."""
    return parse_status(call_agent(host, root, "status", run))


def stop_job(host: Host, root: str, run: str, grace_s: float = STOP_GRACE_S) -> JobStatus:
    """Ask the trainer to write a checkpoint and end; kill it after `grace_s`. Safe to repeat."""
    timeout_s = grace_s + 60
    return parse_status(call_agent(host, root, "stop", run, str(grace_s), timeout_s=timeout_s))

"""The trainer in a container: pure builders of the commands that any container engine is given.

The container sees the dataset, read-only, and the run's folder, at the paths that they have on the
node; it has no capabilities, no root, no network where it needs none, and nothing to write to but
that folder and /tmp.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

from remote.engines import TRAINER_UID, JobSpec
from remote.errors import JobError
from remote.host import Host

REPOSITORY = "localhost/segaway-trainer"
LABEL = "segaway.run"
GRACE = "GRACE_S"  # the supervisor puts the seconds in its place
BUILD_TIMEOUT_S = 3600.0
NODE_SHARE = 0.9  # the rest is the node's own
SHM_SHARE = 0.5
SHM_GIB = 2.0
STATE_FORMAT = (
    '{"Running": {{json .State.Running}}, "ExitCode": {{json .State.ExitCode}}, '
    '"Pid": {{json .State.Pid}}}'
)
LIST_FORMAT = "{{.Repository}}:{{.Tag}}\t{{.Size}}\t{{.CreatedSince}}"


@dataclass(frozen=True)
class Dialect:
    """In what one engine's commands differ. The folders are the node's."""

    head: list[str]
    user_flags: list[str]
    gpu_flags: list[str]
    log_driver: str


@dataclass(frozen=True)
class Image:
    """A trainer's image on a node."""

    name: str
    size: str
    age: str


def image_name(code: str, base_image: str) -> str:
    """What the image of a trainer is called: by its content, so that none is built twice.

    `code` is the folder of the synced trainer, which is named by its own content's hash.
    """
    content = f"{code.rpartition('/')[2]} {base_image}"
    return f"{REPOSITORY}:{hashlib.sha256(content.encode()).hexdigest()[:12]}"


def container_name(run_id: str) -> str:
    """The one container of a run."""
    return f"segaway-{run_id}"


def user_of(spec: JobSpec) -> int:
    """Who the trainer is in its container: never root."""
    return spec.uid or TRAINER_UID


def has_image(dialect: Dialect, image: str) -> list[str]:
    """Ends with 0 where the image is there."""
    return [*dialect.head, "image", "inspect", "--format", "{{.Id}}", image]


def pull_image(dialect: Dialect, image: str) -> list[str]:
    return [*dialect.head, "pull", "--quiet", image]


def build_image(dialect: Dialect, spec: JobSpec) -> list[str]:
    """Build the trainer's image from its synced folder; names it by its content."""
    base = ["--build-arg", f"BASE_IMAGE={spec.base_image}"] if spec.base_image else []
    # The host's network: a node that was just rented may have no other for its containers yet.
    flags = ["--network", "host", *base, "--tag", image_name(spec.code, spec.base_image)]
    context = f"{spec.code}/train"
    return [*dialect.head, "build", "--quiet", *flags, "--file", f"{context}/Dockerfile", context]


def list_images(dialect: Dialect) -> list[str]:
    """A line for each image of ours: name, size, age, with tabs between."""
    return [*dialect.head, "images", "--format", LIST_FORMAT, REPOSITORY]


def run_container(dialect: Dialect, spec: JobSpec) -> list[str]:
    """Start the trainer, detached."""
    memory_gib = spec.memory_gib or spec.node_memory_gib * NODE_SHARE
    memory = _size(memory_gib)
    limits = ["--memory", memory, "--memory-swap", memory] if memory_gib else []
    shm_gib = memory_gib * SHM_SHARE if memory_gib else SHM_GIB
    user = user_of(spec)
    # The node's own: its rule that keeps everybody but root from the cloud's metadata, where the
    # guard's token is, sees the packets of a process, not those of a bridge.
    network = "host" if spec.network else "none"
    return [
        *(*dialect.head, "run", "--detach", "--name", container_name(spec.run_id)),
        *("--label", f"{LABEL}={spec.run_id}", "--log-driver", dialect.log_driver),
        *("--pull", "never", "--network", network, "--read-only", "--tmpfs", "/tmp:mode=1777"),
        *("--cap-drop", "all", "--security-opt", "no-new-privileges"),
        *("--user", f"{user}:{user}", *dialect.user_flags),
        *(*limits, "--shm-size", _size(shm_gib)),
        *(dialect.gpu_flags if spec.gpus else []),
        *("--volume", f"{spec.dataset}:{spec.dataset}:ro", "--volume", f"{spec.run}:{spec.run}"),
        *("--env", "HOME=/tmp", "--env", "PYTHONUNBUFFERED=1"),
        *(trainer_image(spec), spec.config, "--log", f"{spec.run}/log.txt"),
    ]


def trainer_image(spec: JobSpec) -> str:
    """The published image that was asked for, else the one that is built from the synced code."""
    return spec.image or image_name(spec.code, spec.base_image)


def build_job(dialect: Dialect, spec: JobSpec) -> dict[str, Any]:
    """The job for the node's supervisor: how the container is started, watched and ended."""
    name, head = container_name(spec.run_id), dialect.head
    job: dict[str, Any] = {
        "container": {
            "start": run_container(dialect, spec),
            "wait": [*head, "wait", name],
            "state": [*head, "container", "inspect", "--format", STATE_FORMAT, name],
            "stop": [*head, "stop", "--time", GRACE, name],
            "remove": [*head, "rm", "--force", "--volumes", name],
            "logs": [*head, "logs", "--tail", "50", name],
        },
        "retries": spec.retries,
    }
    return job if spec.uid else {**job, "owner": user_of(spec)}


class ContainerEngine:
    """The promises of `Engine`, for one that has images; its file adds what is its own."""

    program = ""

    def dialect(self, spec: JobSpec) -> Dialect:
        """How this engine is spoken to. Pure."""
        raise NotImplementedError

    def is_there(self, host: Host, spec: JobSpec) -> bool:
        return host.run(["sh", "-c", 'command -v "$0"', self.program]).code == 0

    def check(self, host: Host, spec: JobSpec) -> None:
        if not self.is_there(host, spec):
            raise JobError(
                f"There is no {self.program} on {host.address}.",
                fix=f"Install {self.program} there, or take --engine process.",
            )

    def ensure_image(self, host: Host, spec: JobSpec) -> bool:
        dialect, image = self.dialect(spec), trainer_image(spec)
        if host.run(has_image(dialect, image)).code == 0:
            return False
        command = pull_image(dialect, image) if spec.image else build_image(dialect, spec)
        result = host.run(command, timeout_s=BUILD_TIMEOUT_S)
        if result.code:
            what = f"{image} cannot be pulled"
            if not spec.image:
                what = "The trainer's image cannot be built"
            raise JobError(
                f"{what} on {host.address}: {result.last_words}",
                fix="Name another with --image or --base-image, or take --engine process.",
            )
        return True

    def build_commands(self, spec: JobSpec) -> list[list[str]]:
        dialect = self.dialect(spec)
        image = pull_image(dialect, spec.image) if spec.image else build_image(dialect, spec)
        return [has_image(dialect, trainer_image(spec)), image, run_container(dialect, spec)]

    def build_job(self, spec: JobSpec) -> dict[str, Any]:
        return build_job(self.dialect(spec), spec)

    def list_images(self, host: Host, spec: JobSpec) -> list[Image]:
        """The trainer's images on the node. Waits."""
        lines = host.check(list_images(self.dialect(spec))).decode().splitlines()
        return [Image(*line.split("\t")) for line in lines]


def _size(gib: float) -> str:
    return f"{round(gib * 1024)}m"

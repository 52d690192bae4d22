"""Ways to run the trainer, one file each, found by file name.

An engine is a module with an object `engine`, which keeps the promises of `Engine`. All that
starts, watches, stops and explains a job is one value, `Engine.build_job`: with it, the supervisor
on the node needs no laptop any more.
"""

import importlib
import pkgutil
from dataclasses import dataclass
from typing import Any, Protocol, cast

from remote.host import Host

TRAINER_UID = 10001
"""Who the trainer is in its container, where a root of the node starts it."""


@dataclass(frozen=True)
class JobSpec:
    """What a training is run with; paths are the node's, and absolute.

    `uid` is the node's user that we come as. `memory_gib` is the limit that was asked for; without
    one, a container may have most of `node_memory_gib`; 0 is no limit, and unknown. `network` says
    that the trainer has to reach something outside its node.
    """

    run_id: str
    root: str
    code: str
    config: str
    dataset: str
    run: str
    uid: int = 0
    gpus: int = 0
    memory_gib: float = 0.0
    node_memory_gib: float = 0.0
    image: str = ""
    base_image: str = ""
    retries: int = 0
    network: bool = False


class Engine(Protocol):
    """What a file of this folder offers."""

    def is_there(self, host: Host, spec: JobSpec) -> bool:
        """Whether the node has it at all. Waits."""
        ...

    def check(self, host: Host, spec: JobSpec) -> None:
        """Nothing, where the trainer can run, on the GPUs that the spec asks for. Waits.

        Raises:
            JobError: what is missing there, and what mends it.
        """
        ...

    def ensure_image(self, host: Host, spec: JobSpec) -> bool:
        """Whether the image had to be made or pulled; it is there afterwards. Waits.

        Safe to repeat: an image that is there is never made again.

        Raises:
            JobError: it cannot be had; the engine's last words.
        """
        ...

    def build_commands(self, spec: JobSpec) -> list[list[str]]:
        """What is sent to make the image and to start the trainer, for people to read. Pure."""
        ...

    def build_job(self, spec: JobSpec) -> dict[str, Any]:
        """The job for the node's supervisor. Pure."""
        ...


def list_engines() -> list[str]:
    """The names of the engines."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load_engine(name: str) -> Engine:
    """The engine called `name`."""
    return cast(Engine, importlib.import_module(f"{__name__}.{name}").engine)

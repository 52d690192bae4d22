"""Ways to run the trainer, one file each, found by file name.

An engine is a module with two functions:

    check(host) -> None          raises JobError where it cannot run there; waits
    build_command(spec)          the trainer's command, pure; what the supervisor will run
"""

import importlib
import pkgutil
from dataclasses import dataclass
from typing import Any, Protocol, cast

from remote.host import Host


@dataclass(frozen=True)
class JobSpec:
    """Where on the node the trainer's code, its config, its data and its output lie."""

    code: str
    config: str
    dataset: str
    run: str


@dataclass(frozen=True)
class Command:
    """What the supervisor runs."""

    argv: list[str]
    cwd: str
    env: dict[str, str]

    def as_json(self) -> dict[str, Any]:
        return {"argv": self.argv, "cwd": self.cwd, "env": self.env}


class Engine(Protocol):
    """What a file of this folder offers."""

    def check(self, host: Host) -> None: ...

    def build_command(self, spec: JobSpec) -> Command: ...


def list_engines() -> list[str]:
    """The names of the engines."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load_engine(name: str) -> Engine:
    """The engine called `name`: a module, which has the protocol's two functions."""
    return cast(Engine, importlib.import_module(f"{__name__}.{name}"))

"""The trainer as a plain process of the node's own Python. No isolation; nothing to build."""

from typing import Any

from remote import shell
from remote.engines import JobSpec
from remote.errors import JobError
from remote.host import Host

NEEDED = ("torch", "numpy", "PIL", "pydantic")
_PROBE = (
    "import importlib.util, sys; "
    "print(*[n for n in sys.argv[1:] if importlib.util.find_spec(n) is None])"
)
_GPU_PROBE = "import torch; print(torch.cuda.device_count())"


class ProcessEngine:
    """The promises of `Engine`, with Python alone."""

    def is_there(self, host: Host, spec: JobSpec) -> bool:
        return host.run([shell.PYTHON, "-c", _PROBE, *NEEDED]).code == 0

    def check(self, host: Host, spec: JobSpec) -> None:
        missing = host.check([shell.PYTHON, "-c", _PROBE, *NEEDED]).decode().split()
        if missing:
            raise JobError(
                f"The node's {shell.PYTHON} lacks {', '.join(missing)}: no training there.",
                fix="Install it on the node, for the local cloud in this environment: "
                "pip install 'segaway[train]'",
            )
        if spec.memory_gib:
            raise JobError(
                "The engine process cannot limit the trainer's memory.",
                fix="Leave --memory out, or take --engine podman.",
            )
        if spec.gpus and not int(host.check([shell.PYTHON, "-c", _GPU_PROBE])):
            raise JobError(
                f"The node's torch sees no GPU, and the plan has {spec.gpus}.",
                fix="segaway ssh RUN -- nvidia-smi shows whether the driver is there.",
            )

    def ensure_image(self, host: Host, spec: JobSpec) -> bool:
        return False  # it has none

    def build_commands(self, spec: JobSpec) -> list[list[str]]:
        return [_command(spec)]

    def build_job(self, spec: JobSpec) -> dict[str, Any]:
        return {
            "argv": _command(spec),
            "cwd": spec.code,
            "env": {"PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"},
            "retries": spec.retries,
        }


def _command(spec: JobSpec) -> list[str]:
    return [shell.PYTHON, "-m", "train", spec.config]


engine = ProcessEngine()

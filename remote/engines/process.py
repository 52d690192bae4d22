"""The trainer as a plain process of the node's own Python. No isolation; nothing to build."""

from remote import shell
from remote.engines import Command, JobSpec
from remote.errors import JobError
from remote.host import Host

NEEDED = ("torch", "numpy", "PIL", "pydantic")
_PROBE = (
    "import importlib.util, sys; "
    "print(*[n for n in sys.argv[1:] if importlib.util.find_spec(n) is None])"
)


def check(host: Host) -> None:
    """Nothing, when the node's Python has what the trainer imports."""
    missing = host.check([shell.PYTHON, "-c", _PROBE, *NEEDED]).decode().split()
    if missing:
        raise JobError(
            f"The node's {shell.PYTHON} lacks {', '.join(missing)}: no training there.",
            fix="Install it on the node, for the local cloud in this environment: "
            "pip install 'segaway[train]'",
        )


def build_command(spec: JobSpec) -> Command:
    """`python3 -m train CONFIG` in the folder of the synced code."""
    return Command(
        argv=[shell.PYTHON, "-m", "train", spec.config],
        cwd=spec.code,
        env={"PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"},
    )

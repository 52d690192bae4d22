"""`segaway plan`."""

import inspect
from typing import Any

from cli.commands import run

LEFT_OUT = ("resume", "detach")


def command(**flags: Any) -> None:
    """Plan a run without beginning it: what is rented, until when, what it costs at worst.

    With --json the plan can be saved and given to segaway apply, which sends exactly that.
    """
    from cli.application import show_plan
    from cli.config import load_settings
    from cli.console import Console

    flags.pop("dry_run")  # it is one
    dataset, name, as_json = (flags.pop(key) for key in ("dataset", "name", "json"))
    show_plan(dataset, load_settings(flags), Console(as_json), name)


# The flags are those of `run`, but for what begins or resumes one.
command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # what Typer reads
    [p for p in inspect.signature(run.command).parameters.values() if p.name not in LEFT_OUT]
)
command.__annotations__ = {
    name: kind for name, kind in run.command.__annotations__.items() if name not in LEFT_OUT
}

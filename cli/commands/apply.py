"""`segaway apply`."""

from pathlib import Path
from typing import Annotated

import typer

from cli import options

PlanFile = Annotated[
    Path, typer.Argument(help="What segaway plan DATASET --json printed.", exists=False)
]
Detach = Annotated[bool, typer.Option("--detach", help="Leave when the training has started.")]


def command(
    plan: PlanFile,
    detach: Detach = False,
    dry_run: options.DryRun = False,
    json: options.Json = False,
) -> None:
    """Do the whole job as it was planned: what the plan says is sent, and nothing else.

    Refused when the plan's deadline is too near, or its prices have changed.
    """
    from cli.application import apply_plan
    from cli.console import Console

    apply_plan(plan, Console(json), detach, dry_run)

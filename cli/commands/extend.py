"""`segaway extend`."""

from typing import Annotated

import typer

from cli import options

Hours = Annotated[float, typer.Option("--hours", min=0.1, help="Hours that it moves.")]


def command(
    hours: Hours,
    run: options.Run = None,
    max_cost: options.MaxCost = None,
    dry_run: options.DryRun = False,
    json: options.Json = False,
) -> None:
    """Move a run's deadline: on its node, on its label, and in the record here.

    A --max-cost that the run began with stands, unless another one is given.
    """
    from cli.console import Console
    from cli.extension import extend_run

    extend_run(run, hours, max_cost, Console(json), dry_run)

"""`segaway runs`."""

from typing import Annotated

import typer

from cli import options

All = Annotated[
    bool, typer.Option("--all", help="Also what is on the clouds, whoever made it there.")
]


def command(
    every: All = False,
    on: options.On = None,
    dry_run: options.DryRun = False,
    json: options.Json = False,
) -> None:
    """List the runs: state, progress, cost so far, time to the deadline."""
    from cli.console import Console
    from cli.launch import show_runs

    show_runs(Console(json), dry_run, every, on)

"""`segaway logs`."""

from typing import Annotated

import typer

from cli import options

Follow = Annotated[bool, typer.Option("--follow", "-f", help="Go on until the training ends.")]


def command(
    run: options.Run = None,
    follow: Follow = False,
    dry_run: options.DryRun = False,
    json: options.Json = False,
) -> None:
    """Print the trainer's log as it is now: from the node, else what came home."""
    from cli.journal import follow_log, show_log

    if follow:
        follow_log(run, dry_run, json)
    else:
        show_log(run, dry_run, json)

"""`segaway ssh-config`."""

from typing import Annotated

import typer

from cli import options

Install = Annotated[
    bool, typer.Option("--install", help="Let ~/.ssh/config include it, once and for all runs.")
]


def command(
    install: Install = False, dry_run: options.DryRun = False, json: options.Json = False
) -> None:
    """Let ssh, scp, rsync and editors reach the nodes by the runs' names.

    Prints the ssh config of all open runs; with --install it is kept up to date where ssh reads it.
    """
    from cli.sshconfig import show_config

    show_config(install, dry_run, json)

"""`segaway init`."""

from typing import Annotated

import typer

from cli import options

Force = Annotated[bool, typer.Option("--force", help="Replace the files that are there.")]


def command(
    force: Force = False, dry_run: options.DryRun = False, json: options.Json = False
) -> None:
    """Write a commented segaway.toml here, and its JSON schema for the editor."""
    from cli.console import Console
    from cli.template import write_template

    write_template(Console(json), force, dry_run)

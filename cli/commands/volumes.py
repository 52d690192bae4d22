"""`segaway volumes`."""

from typing import Annotated, Literal, Optional

import typer

from cli import options

Action = Annotated[
    Literal["list", "rm"], typer.Argument(help="list: what is kept; rm: destroy LABEL.")
]
Label = Annotated[
    Optional[str],  # noqa: UP045  # as in cli.options
    typer.Argument(help="The volume to destroy; its data is gone for good."),
]


def command(
    action: Action = "list",
    label: Label = None,
    on: options.On = None,
    yes: options.Yes = False,
    dry_run: options.DryRun = False,
    json: options.Json = False,
) -> None:
    """List the volumes that are kept, what they cost per month and hold; or destroy one.

    The next run on the same dataset takes a kept volume, and uploads nothing.
    """
    from cli.console import Console
    from cli.errors import ConfigError
    from cli.shelf import list_volumes, remove_volume

    if (action == "rm") != (label is not None):
        raise ConfigError("rm wants a LABEL, list none.", fix="segaway volumes lists the labels.")
    if label:
        remove_volume(label, on, Console(json), yes, dry_run)
    else:
        list_volumes(on, Console(json))

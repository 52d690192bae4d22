"""`segaway ssh`."""

from typing import Annotated, Optional

import typer

from cli import options

Command = Annotated[
    Optional[list[str]],  # noqa: UP045  # as in cli.options
    typer.Argument(
        metavar="COMMAND",
        help="After a --. One word is a line for the node's shell; several arrive as they are.",
    ),
]


def command(
    run: options.Run = None,
    line: Command = None,
    dry_run: options.DryRun = False,
    json: options.Json = False,
) -> None:
    """Open a shell on the run's node, or run a command there.

    Becomes OpenSSH's ssh: the command's input, output and exit status are its own. The node's key
    is pinned from the run's record; your own ssh configuration is not read.
    """
    from cli.sshclient import open_shell

    raise typer.Exit(open_shell(run, line or [], dry_run, json))

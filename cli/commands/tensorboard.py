"""`segaway tensorboard`."""

from typing import Annotated

import typer

from cli import options

Port = Annotated[
    int, typer.Option("--port", min=0, max=65535, help="Port on this machine; 0: any free one.")
]
NoBrowser = Annotated[bool, typer.Option("--no-browser", help="Print the address, open nothing.")]


def command(
    run: options.Run = None,
    port: Port = 0,
    no_browser: NoBrowser = False,
    dry_run: options.DryRun = False,
    json: options.Json = False,
) -> None:
    """Show a run's curves in TensorBoard, while it trains or after.

    From the node, through a forwarded port; where the node is gone, from what came home. Runs until
    Ctrl-C. With --json no browser is opened.
    """
    from cli.board import show_board

    show_board(run, port, not (no_browser or json), dry_run, json)

"""`segaway demo`."""

from typing import Annotated

import typer

from cli import options

DemoEpochs = Annotated[int, typer.Option("--epochs", help="Passes over the train list.")]
DemoSeed = Annotated[int, typer.Option("--seed", help="Another seed draws other skies.")]


def command(
    epochs: DemoEpochs = 8,
    seed: DemoSeed = 0,
    results: options.Results = None,
    dry_run: options.DryRun = False,
    json: options.Json = False,
) -> None:
    """Draw a small set of skies with clouds and run the whole job on it, on this machine."""
    from cli.config import load_settings
    from cli.console import Console
    from cli.launch import run_demo

    flags = {"on": "local", "epochs": epochs, "crop": 128, "batch": 8, "results": results}
    run_demo(load_settings(flags), seed, Console(json), dry_run)

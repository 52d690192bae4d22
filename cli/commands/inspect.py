"""`segaway inspect`."""

from pathlib import Path
from typing import Annotated

import typer

from cli import options

Sheet = Annotated[
    Path | None, typer.Option("--sheet", help="PNG that gets some images with their masks.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Look at names alone; decode no image.")]


def command(
    dataset: options.Dataset,
    sheet: Sheet = None,
    layout: options.Layout = None,
    group_by: options.GroupBy = None,
    val: options.Val = None,
    test: options.Test = None,
    dry_run: DryRun = False,
    json: options.Json = False,
) -> None:
    """Say what a dataset is, and what is wrong with it, before any money is spent.

    DATASET is an archive or a folder. Every image and mask is opened; nothing is changed.
    """
    from cli.config import load_settings
    from cli.console import Console
    from cli.inspection import inspect_dataset

    given = {"layout": layout, "group_by": group_by, "val": val, "test": test}
    settings = load_settings(given)
    inspect_dataset(dataset, settings, Console(json), sheet, dry_run)

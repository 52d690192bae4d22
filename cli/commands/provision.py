"""`segaway provision`."""

from pathlib import Path
from typing import Annotated

import typer

from cli import options

DatasetFolder = Annotated[
    Path, typer.Option("--dataset", help="The separated dataset that the run is for.")
]


def command(
    dataset: DatasetFolder,
    on: options.On = None,
    region: options.Region = None,
    plan: options.Plan = None,
    max_cost: options.MaxCost = None,
    max_hours: options.MaxHours = None,
    accept_unknown_price: options.AcceptUnknownPrice = None,
    ssh_from: options.SshFrom = None,
    unguarded: options.Unguarded = None,
    keep_volume: options.KeepVolume = None,
    move_data: options.MoveData = None,
    boot_minutes: options.BootMinutes = None,
    name: options.Name = None,
    results: options.Results = None,
    dry_run: options.DryRun = False,
    json: options.Json = False,
) -> None:
    """Rent a volume and a node for a dataset; prints the new run's id.

    What it rents goes on billing until segaway down, or until the deadline.
    """
    from cli.config import find_home, load_settings
    from cli.console import Console
    from cli.launch import start_run
    from cli.preview import preview_provision, show_preview
    from train.data.dataset import load_dataset

    settings = load_settings(
        {
            "on": on,
            "region": region,
            "plan": plan,
            "accept_unknown_price": accept_unknown_price,
            "ssh_from": ssh_from,
            "unguarded": unguarded,
            "keep_volume": keep_volume,
            "move_data": move_data,
            "boot_minutes": boot_minutes,
            "max_cost": max_cost,
            "max_hours": max_hours,
            "results": results,
        }
    )
    console = Console(json)
    data = load_dataset(dataset)
    if dry_run:
        preview = preview_provision(settings, find_home(), name or data.name, data)
        show_preview(preview, console)
        return
    start_run(dataset, data, settings, console, name)

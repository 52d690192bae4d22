"""`segaway run`."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from cli import options
from cli.completion import complete_dataset, complete_run

OptionalDataset = Annotated[
    Optional[Path],  # noqa: UP045  # as in cli.options
    typer.Argument(
        help="An archive, a folder as it was published, or a separated dataset.",
        autocompletion=complete_dataset,
    ),
]
Resume = Annotated[
    str | None,
    typer.Option("--resume", help="Go on with this run instead.", autocompletion=complete_run),
]
Detach = Annotated[bool, typer.Option("--detach", help="Leave when the training has started.")]


def command(
    dataset: OptionalDataset = None,
    on: options.On = None,
    model: options.Model = None,
    epochs: options.Epochs = None,
    minutes: options.Minutes = None,
    steps: options.Steps = None,
    crop: options.Crop = None,
    batch: options.Batch = None,
    seed: options.Seed = None,
    loss: options.Loss = None,
    lr: options.LearningRate = None,
    set: options.Set = None,
    config_list: options.ConfigList = None,
    layout: options.Layout = None,
    group_by: options.GroupBy = None,
    engine: options.Engine = None,
    image: options.Image = None,
    base_image: options.BaseImage = None,
    memory: options.Memory = None,
    retries: options.Retries = None,
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
    resume: Resume = None,
    detach: Detach = False,
    dry_run: options.DryRun = False,
    json: options.Json = False,
) -> None:
    """Do the whole job: rent, sync, train, watch, fetch, destroy, and print the bill.

    DATASET is extracted and separated where it is not yet. Interrupt it at any time: what was
    begun can be gone on with (--resume) or ended (segaway down).
    """
    from cli.config import load_settings
    from cli.console import Console
    from cli.errors import ConfigError
    from cli.launch import launch_run, preview_launch, resume_run
    from cli.training import describe_config_list

    flags = {
        "on": on,
        "model": model,
        "epochs": epochs,
        "minutes": minutes,
        "steps": steps,
        "crop": crop,
        "batch": batch,
        "seed": seed,
        "loss": loss,
        "lr": lr,
        "set": set or None,
        "config_list": config_list,
        "layout": layout,
        "group_by": group_by,
        "engine": engine,
        "image": image,
        "base_image": base_image,
        "memory": memory,
        "retries": retries,
        "max_cost": max_cost,
        "max_hours": max_hours,
        "region": region,
        "plan": plan,
        "accept_unknown_price": accept_unknown_price,
        "ssh_from": ssh_from,
        "unguarded": unguarded,
        "keep_volume": keep_volume,
        "move_data": move_data,
        "boot_minutes": boot_minutes,
        "results": results,
    }
    console = Console(json)
    if (dataset is None) == (resume is None):
        raise ConfigError("Give a DATASET or --resume RUN, one of them.", fix="segaway run --help")
    if resume:
        return resume_run(resume, {**flags, "name": name}, console, detach, dry_run)
    assert dataset is not None  # it is one of the two
    settings = load_settings(flags)
    if dry_run:
        return preview_launch(dataset, settings, console, name)
    for note in describe_config_list(settings):
        console.say(f"Note: {note}")
    return launch_run(dataset, settings, console, name, detach)

"""The flags that several commands share."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from cli.completion import (
    complete_dataset,
    complete_run,
    list_cloud_names,
    list_engine_names,
)


def complete_model() -> list[str]:
    """The model families, and each architecture with one of its many encoders."""
    from train.config import ARCHITECTURES, list_models

    return [*list_models(), *(f"{name}/resnet34" for name in ARCHITECTURES)]


def complete_key() -> list[str]:
    """The keys of --set, as far as they can be typed for one."""
    from cli.config import list_table_keys

    return [f"{key}=" for key in list_table_keys()]


Dataset = Annotated[
    Path,
    typer.Argument(
        help="An archive, a folder as it was published, or a separated dataset.",
        autocompletion=complete_dataset,
    ),
]
Run = Annotated[
    Optional[str],  # noqa: UP045  # Typer shows the type in the help; this one reads better
    typer.Argument(
        help="A run's id, or its beginning; default: the newest open run.",
        autocompletion=complete_run,
    ),
]
On = Annotated[
    str | None, typer.Option("--on", help="Cloud to rent from.", autocompletion=list_cloud_names)
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model", help="resunet, fcn_resnet101, unet/resnet34, ...", autocompletion=complete_model
    ),
]
Epochs = Annotated[int | None, typer.Option("--epochs", help="Passes over the train list.")]
Minutes = Annotated[float | None, typer.Option("--minutes", help="Training time, instead.")]
Steps = Annotated[int | None, typer.Option("--steps", help="Optimiser steps, instead.")]
Crop = Annotated[int | None, typer.Option("--crop", help="Side of the training crop, px.")]
Batch = Annotated[str | None, typer.Option("--batch", help="Images per optimiser step, or auto.")]
Seed = Annotated[int | None, typer.Option("--seed", help="Same seed, same weights.")]
Loss = Annotated[str | None, typer.Option("--loss", help="A loss, or 1.0*dice+0.8*bce.")]
LearningRate = Annotated[float | None, typer.Option("--lr", help="Peak learning rate.")]
ConfigList = Annotated[
    Path | None, typer.Option("--config-list", help="Waggle's config.list to train by.")
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="KEY=VALUE: any other setting of the trainer; again for the next.",
        autocompletion=complete_key,
    ),
]
Engine = Annotated[
    str | None,
    typer.Option("--engine", help="Runs the trainer.", autocompletion=list_engine_names),
]
Image = Annotated[str | None, typer.Option("--image", help="Published image of the trainer.")]
BaseImage = Annotated[
    str | None, typer.Option("--base-image", help="Image that the trainer's is built from.")
]
Memory = Annotated[float | None, typer.Option("--memory", help="GiB for the container.")]
Retries = Annotated[
    int | None, typer.Option("--retries", help="Times a failed trainer is started again.")
]
MaxCost = Annotated[float | None, typer.Option("--max-cost", help="USD that it may cost.")]
MaxHours = Annotated[float | None, typer.Option("--max-hours", help="Hours until the deadline.")]
Region = Annotated[
    str | None, typer.Option("--region", help="Region to rent in; any: the cheapest.")
]
Plan = Annotated[str | None, typer.Option("--plan", help="Plan to rent; any: the cheapest.")]
AcceptUnknownPrice = Annotated[
    bool | None,
    typer.Option("--accept-unknown-price", help="Rent also what has no known price."),
]
SshFrom = Annotated[
    str | None, typer.Option("--ssh-from", help="Networks (CIDR) that may reach the node.")
]
Unguarded = Annotated[
    bool | None,
    typer.Option("--unguarded", help="Rent also a node that cannot destroy itself."),
]
KeepVolume = Annotated[
    str | None,
    typer.Option("--keep-volume", help="Keep the volume with the data: yes, no or auto."),
]
MoveData = Annotated[
    bool | None,
    typer.Option("--move-data", help="Take a new volume though one has the data already."),
]
BootMinutes = Annotated[
    float | None, typer.Option("--boot-minutes", help="Minutes that the node may take to be ready.")
]
Yes = Annotated[bool, typer.Option("--yes", help="Do it without asking.")]
Name = Annotated[str | None, typer.Option("--name", help="Beginning of the run's id.")]
Results = Annotated[Path | None, typer.Option("--results", help="Folder that gets a folder a run.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be done; do nothing.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON value on stdout.")]
Discard = Annotated[bool, typer.Option("--discard", help="Give up what was not fetched.")]
Layout = Annotated[
    str | None, typer.Option("--layout", help="Layout of the dataset, where several fit.")
]
GroupBy = Annotated[
    str | None,
    typer.Option("--group-by", help="Regular expression: names that match alike stay together."),
]
Val = Annotated[float | None, typer.Option("--val", help="Share for validation.")]
Test = Annotated[float | None, typer.Option("--test", help="Share for testing.")]

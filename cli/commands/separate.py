"""`segaway separate`."""

from pathlib import Path
from typing import Annotated

import typer

from cli import options

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="A folder as `extract` wrote it.")]
To = Annotated[Path, typer.Option("--to", help="Folder that gets the dataset.")]
SplitSeed = Annotated[int | None, typer.Option("--seed", help="Seed of the split.")]


def command(
    folder: Folder,
    to: To,
    val: options.Val = None,
    test: options.Test = None,
    seed: SplitSeed = None,
    group_by: options.GroupBy = None,
    layout: options.Layout = None,
    dry_run: options.DryRun = False,
    json: options.Json = False,
) -> None:
    """Separate labelled from unlabelled, train from val from test; check every mask.

    Published lists are kept as they are; --val, --test and --seed hold where there are none.
    """
    from cli.config import load_settings
    from cli.console import Console
    from cli.preparation import read_split, show_dataset, summarise_dataset
    from train.data.separate import plan_separation, separate_dataset

    given = {"val": val, "test": test, "split_seed": seed, "group_by": group_by, "layout": layout}
    settings = load_settings(given)
    split = read_split(settings)
    console = Console(json)
    if dry_run:
        with (
            console.count("look") as update,
            plan_separation(folder, split, settings.layout, update) as (survey, lists, findings),
        ):
            counts = {name: len(ids) for name, ids in lists.items()}
            found = survey.source.layout
        console.say(f"Would separate {folder} ({found}) to {to}: {counts}")
        notes = [finding.message for finding in findings]
        console.answer({"layout": found, "counts": counts, "notes": notes, "target": str(to)})
        return
    with console.count("separate") as update:
        done = separate_dataset(folder, to, split, None, update, settings.layout)
    for note in done.notes:
        console.say(f"Note: {note}")
    show_dataset(done.dataset, console)
    console.answer(
        {
            **summarise_dataset(done.dataset),
            "pixel_share": done.dataset.pixel_share,
            "fingerprint": done.dataset.fingerprint,
            "notes": done.notes,
            "target": str(to),
        }
    )

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
    dry_run: options.DryRun = False,
    json: options.Json = False,
) -> None:
    """Separate labelled from unlabelled, train from val from test; check every mask.

    Published lists are kept as they are; --val, --test and --seed hold where there are none.
    """
    from cli.config import load_settings
    from cli.console import Console
    from cli.preparation import show_dataset, summarise_dataset
    from train.data.formats import read_source
    from train.data.separate import SplitSettings, plan_separation, separate_dataset

    settings = load_settings({"val": val, "test": test, "split_seed": seed})
    split = SplitSettings(settings.val, settings.test, settings.split_seed)
    console = Console(json)
    if dry_run:
        source = read_source(folder)
        lists, notes = plan_separation(source, split)
        counts = {name: len(ids) for name, ids in lists.items()}
        console.say(f"Would separate {folder} ({source.layout}) to {to}: {counts}")
        console.answer(
            {"layout": source.layout, "counts": counts, "notes": notes, "target": str(to)}
        )
        return
    with console.count("separate") as update:
        done = separate_dataset(folder, to, split, progress=update)
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

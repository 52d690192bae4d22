"""`segaway extract`."""

from pathlib import Path
from typing import Annotated

import typer

from cli import options

To = Annotated[Path, typer.Option("--to", help="Folder that gets the files.")]


def command(
    archive: options.Dataset,
    to: To,
    dry_run: options.DryRun = False,
    json: options.Json = False,
) -> None:
    """Unpack an archive (tar, zip or a folder) safely; repeat it to complete it."""
    from cli.console import Console, format_size
    from train.data.extract import extract_archive, survey_archive

    console = Console(json)
    if dry_run:
        files, size = survey_archive(archive)
        console.say(f"Would extract {files} files, {format_size(size)}, to {to}.")
        console.answer({"files": files, "bytes": size, "target": str(to)})
        return
    with console.count(f"extract {archive.name}") as update:
        done = extract_archive(archive, to, lambda files, _bytes: update(files, 0))
    word = "Already extracted" if done.done_before else "Extracted"
    console.say(f"{word}: {done.files} files, {format_size(done.size_bytes)}, in {to}.")
    console.answer({"files": done.files, "bytes": done.size_bytes, "target": str(to)})

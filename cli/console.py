"""What a person sees: sentences, tables, progress. With --json, one value on stdout and no more."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console as RichConsole
from rich.console import JustifyMethod
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table


class Console:
    """Where a command speaks. With `as_json` everything but the answer goes to stderr."""

    def __init__(self, as_json: bool = False) -> None:
        self.as_json = as_json
        self.rich = RichConsole(stderr=as_json, highlight=False, soft_wrap=True)

    @property
    def is_live(self) -> bool:
        """Whether lines may be redrawn."""
        return self.rich.is_terminal and not self.as_json

    def say(self, text: str) -> None:
        """A line for people."""
        self.rich.print(text, markup=False)

    def answer(self, value: Any) -> None:
        """The command's one JSON value; nothing without --json."""
        if self.as_json:
            print(json.dumps(value), file=sys.stdout, flush=True)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> None:
        """A table for people; a column whose name ends in a unit is set right."""
        table = Table(title=title or None, title_justify="left", box=None, pad_edge=False)
        for number, column in enumerate(columns):
            # The first is what a row is called by, and may be wanted by the next command.
            justify: JustifyMethod = "right" if "%" in column or "USD" in column else "left"
            table.add_column(column, justify=justify, no_wrap=number == 0, overflow="fold")
        for row in rows:
            table.add_row(*row)
        self.rich.print(table)

    @contextmanager
    def transfer(self, title: str) -> Iterator[Callable[[int, int, int, int], None]]:
        """A bar of files, bytes, rate and time left; told files and bytes, done and in all."""
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[files]} files"),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self.rich, disable=not self.is_live) as progress:
            task = progress.add_task(title, total=None, files="0")

            def update(files: int, files_total: int, size: int, size_total: int) -> None:
                count = f"{files}/{files_total}"
                progress.update(task, completed=size, total=size_total, files=count)

            yield update

    @contextmanager
    def count(self, title: str) -> Iterator[Callable[[int, int], None]]:
        """A bar of things done; call it with how many are done, and how many there are (or 0)."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, console=self.rich, disable=not self.is_live) as progress:
            task = progress.add_task(title, total=None)
            yield lambda done, total: progress.update(task, completed=done, total=total or None)


def format_duration(seconds: float) -> str:
    """`1:02:03`, or `2:03` below an hour."""
    hours, rest = divmod(max(0, round(seconds)), 3600)
    minutes, seconds = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def format_size(size: float) -> str:
    """`35.3 MiB`."""
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"

"""`segaway runs`."""

from cli import options


def command(dry_run: options.DryRun = False, json: options.Json = False) -> None:
    """List the runs: state, progress, cost so far, time to the deadline."""
    from cli.console import Console
    from cli.launch import show_runs

    show_runs(Console(json), dry_run)

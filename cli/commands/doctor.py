"""`segaway doctor`."""

from cli import options


def command(dry_run: options.DryRun = False, json: options.Json = False) -> None:
    """Check what this laptop needs; name what is missing, each with its fix."""
    from cli.checkup import examine
    from cli.console import Console

    examine(Console(json), dry_run)

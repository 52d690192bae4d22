"""`segaway logs`."""

from cli import options


def command(
    run: options.Run = None, dry_run: options.DryRun = False, json: options.Json = False
) -> None:
    """Print the trainer's log as it is now: from the node, else what came home."""
    from cli.launch import show_log

    show_log(run, dry_run, json)

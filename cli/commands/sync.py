"""`segaway sync`."""

from cli import options


def command(
    run: options.Run = None, dry_run: options.DryRun = False, json: options.Json = False
) -> None:
    """Send the dataset and the trainer to the volume: only what it lacks, verified."""
    from cli import flow
    from cli.launch import do_step

    do_step(run, "sync", flow.sync, dry_run, json)

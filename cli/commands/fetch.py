"""`segaway fetch`."""

from cli import options


def command(
    run: options.Run = None, dry_run: options.DryRun = False, json: options.Json = False
) -> None:
    """Bring the results home, verified by checksum; repeat it to complete it."""
    from cli import flow
    from cli.launch import do_step

    do_step(run, "fetch", flow.fetch, dry_run, json)

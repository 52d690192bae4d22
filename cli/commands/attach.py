"""`segaway attach`."""

from cli import options


def command(
    run: options.Run = None, dry_run: options.DryRun = False, json: options.Json = False
) -> None:
    """Watch a training, from where the terminal left off, until it ends.

    Ctrl-C leaves it running.
    """
    from cli import flow
    from cli.launch import do_step

    do_step(run, "watch", flow.watch, dry_run, json)

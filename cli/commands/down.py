"""`segaway down`."""

from cli import options


def command(
    run: options.Run = None,
    discard: options.Discard = False,
    dry_run: options.DryRun = False,
    json: options.Json = False,
) -> None:
    """Destroy the node and the volume, see them gone, and print the bill.

    Refuses while there are results that were not fetched, unless --discard is given.
    """
    from cli import flow
    from cli.launch import do_step
    from cli.session import Session

    def end(session: Session) -> None:
        flow.teardown(session, discard)
        flow.show_bill(session)

    do_step(run, "teardown", end, dry_run, json)

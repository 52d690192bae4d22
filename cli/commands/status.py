"""`segaway status`."""

from cli import options


def command(
    run: options.Run = None, dry_run: options.DryRun = False, json: options.Json = False
) -> None:
    """Show one run: state, metrics, results, cost, and what still exists."""
    from cli.console import Console
    from cli.session import open_session
    from cli.summary import show_run, summarise

    console = Console(json)
    if dry_run:
        console.say("Would read the ledger; nothing is done.")
        console.answer({"steps": []})
        return
    with open_session(run, console) as session:
        console.answer(summarise(session))
        if not json:
            show_run(session, console)

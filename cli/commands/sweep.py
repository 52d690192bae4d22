"""`segaway sweep`."""

from cli import options


def command(
    on: options.On = None,
    yes: options.Yes = False,
    dry_run: options.DryRun = False,
    json: options.Json = False,
) -> None:
    """Destroy what is ours on a cloud and past its deadline, or of no run that lives.

    Works on any machine that has the credentials; lists first, with the cost, and asks. Nodes that
    live by their own deadline are left alone, and so are volumes with data.
    """
    from cli.broom import sweep_cloud
    from cli.console import Console

    sweep_cloud(on, Console(json), yes, dry_run)

"""`segaway offers`."""

from cli import options


def command(
    on: options.On = None,
    region: options.Region = None,
    plan: options.Plan = None,
    dry_run: options.DryRun = False,
    json: options.Json = False,
) -> None:
    """List what a cloud has to rent, cheapest first: GPU, memory, price, region.

    What is sold out now is listed as such; a price that is not known is never taken for 0.
    """
    from cli.console import Console
    from cli.market import show_offers

    show_offers({"on": on, "region": region, "plan": plan}, Console(json), dry_run)

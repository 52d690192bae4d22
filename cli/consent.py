"""What somebody has to agree to before anything is rented."""

import sys

from cli.config import Settings
from cli.console import Console
from cli.errors import CliError
from cli.planning import Plan


def confirm_warnings(made: Plan, settings: Settings, console: Console) -> None:
    """Say what the plan warns of, and ask; --unguarded is the answer of who is not there to ask.

    Raises:
        CliError: nobody agreed.
    """
    if made.obstacles:
        raise CliError(
            f"Nothing can be rented: {'; '.join(made.obstacles)}. Nothing was created.",
            fix="segaway doctor says what is missing.",
        )
    for warning in made.warnings:
        console.say(f"Warning: {warning}")
    if not made.warnings or settings.unguarded:
        return
    if not ask("Rent it all the same?", console):
        raise CliError(
            "Nothing was created: " + " ".join(made.warnings),
            fix="Mend what the warning names, or agree to it with --unguarded.",
        )


def ask(question: str, console: Console) -> bool:
    """Whether a person at the terminal says yes; no where there is none."""
    if console.as_json or not sys.stdin.isatty():
        return False
    return console.rich.input(f"{question} [y/N] ").strip().lower() in ("y", "yes")


def describe_cost(made: Plan) -> str:
    """The price of a plan in a sentence."""
    choice = made.choice
    until = f"deadline in {choice.lifetime_s / 3600:.1f} hours."
    if not choice.rate.is_known:
        return f"at a price that is unknown, {until}"
    return (
        f"{choice.rate.usd_per_hour:.2f} USD per started hour, "
        f"{made.worst_case_usd:.2f} USD at worst, {until}"
    )

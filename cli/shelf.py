"""The volumes that are kept: what they hold and cost, and the end of one."""

from datetime import UTC, datetime

from cli.config import find_home, load_settings
from cli.consent import ask
from cli.console import Console
from cli.errors import CliError
from cli.session import open_ledger
from provision.base import Provider, Volume
from provision.clouds import open_cloud
from provision.ledger import Ledger, Run
from provision.plan import month_usd


def list_volumes(on: str | None, console: Console) -> None:
    """Every volume of ours on the cloud."""
    cloud = _open(on)
    with open_ledger() as ledger:
        known = [_describe(volume, ledger) for volume in _find(cloud)]
    console.answer(known)
    if console.as_json:
        return
    columns = ["volume", "region", "GiB", "USD per month", "dataset", "attached", "last used"]
    console.table(columns, [_row(volume) for volume in known])
    if not known:
        console.say(f"No volume is kept on {cloud.name}.")


def remove_volume(
    label: str, on: str | None, console: Console, is_agreed: bool, dry_run: bool
) -> None:
    """Destroy one, data and all, and see it gone.

    Raises:
        CliError: there is none, a node has it, or nobody agreed.
    """
    cloud = _open(on)
    volume = next((volume for volume in _find(cloud) if volume.label == label), None)
    if volume is None:
        raise CliError(
            f"There is no volume {label} on {cloud.name}.",
            fix=f"segaway volumes --on {cloud.name} lists them.",
        )
    if volume.node:
        raise CliError(f"A node has {label}.", fix="segaway down RUN first.")
    if dry_run:
        console.say(f"Dry run: would destroy {label}.")
        return console.answer({"destroyed": []})
    if not is_agreed and not ask(f"Destroy {label} and what is on it?", console):
        raise CliError(
            "Nothing was destroyed.", fix=f"segaway volumes rm {label} --on {cloud.name} --yes"
        )
    cloud.destroy("volume", label)
    with open_ledger() as ledger:
        forget(ledger, label)
    console.answer({"destroyed": [label]})
    console.say(f"{label} is gone.")
    return None


def forget(ledger: Ledger, label: str) -> None:
    """What has that label has been seen gone: so the record."""
    for resource in ledger.find_resources(label):
        if resource.state != "gone":
            ledger.mark_gone(resource)


def _open(on: str | None) -> Provider:
    settings = load_settings({"on": on})
    return open_cloud(settings.on, find_home(), settings.model_dump())


def _find(cloud: Provider) -> list[Volume]:
    return [item for item in cloud.find_all() if isinstance(item, Volume)]


def _describe(volume: Volume, ledger: Ledger) -> dict[str, object]:
    run = _find_run(volume, ledger)
    monthly = volume.usd_per_month
    if monthly is None and volume.usd_per_hour is not None:
        monthly = month_usd(volume.usd_per_hour)
    return {
        "label": volume.label,
        "region": volume.region,
        "size_gib": volume.size_gib,
        "usd_per_month": monthly,
        "dataset": run.record["dataset"]["name"] if run else volume.data or None,
        "is_attached": bool(volume.node),
        "used_s": volume.used_s,
    }


def _find_run(volume: Volume, ledger: Ledger) -> Run | None:
    """The last run here that had it."""
    runs = {run.id: run for run in ledger.runs()}
    found = [runs[resource.run] for resource in ledger.find_resources(volume.label)]
    return found[-1] if found else None


def _row(volume: dict[str, object]) -> list[str]:
    monthly, used_s = volume["usd_per_month"], volume["used_s"]
    used = datetime.fromtimestamp(used_s, UTC) if isinstance(used_s, float) else None
    return [
        str(volume["label"]),
        str(volume["region"]),
        str(volume["size_gib"]),
        f"{monthly:.2f}" if isinstance(monthly, float | int) else "unknown",
        str(volume["dataset"] or "none"),
        "yes" if volume["is_attached"] else "no",
        f"{used:%Y-%m-%d %H:%M} UTC" if used else "",
    ]

"""What a cloud has to rent, as a table."""

from dataclasses import asdict
from typing import Any

from cli.config import find_home, load_settings
from cli.console import Console
from provision.base import Offer
from provision.clouds import open_cloud
from provision.plan import ANY

UNKNOWN = "unknown"


def show_offers(flags: dict[str, Any], console: Console, dry_run: bool) -> None:
    """One row for plans that are the same but for their region; with --json one object each."""
    settings = load_settings(flags)
    if dry_run:
        console.say(f"Dry run: would ask {settings.on} for its plans, prices and regions.")
        return console.answer([])
    cloud = open_cloud(settings.on, find_home(), settings.model_dump())
    offers = [
        offer
        for offer in cloud.offers()
        if settings.region in (ANY, offer.region) and settings.plan in (ANY, offer.plan)
    ]
    console.answer([asdict(offer) for offer in offers])
    if console.as_json:
        return None
    columns = [
        "plan",
        "GPU",
        "speed",
        "memory",
        "vCPU",
        "RAM",
        "USD per hour",
        "regions",
        "sold out in",
    ]
    console.table(columns, [_row(group) for group in _group(offers)])
    return None


def _group(offers: list[Offer]) -> list[list[Offer]]:
    """Offers of one plan at one price together, in the order in which they came."""
    groups: dict[tuple[str, float | None], list[Offer]] = {}
    for offer in offers:
        groups.setdefault((offer.plan, offer.usd_per_hour), []).append(offer)
    return list(groups.values())


def _row(group: list[Offer]) -> list[str]:
    first = group[0]
    gpu = f"{first.gpus} x {first.gpu or UNKNOWN}" if first.gpus else "none"
    return [
        first.plan,
        gpu,
        first.speed or "",
        f"{first.vram_gib} GiB" if first.vram_gib else UNKNOWN if first.gpus else "",
        str(first.vcpus),
        f"{first.memory_gib:g} GiB",
        UNKNOWN if first.usd_per_hour is None else f"{first.usd_per_hour:.2f}",
        " ".join(offer.region for offer in group if offer.available),
        " ".join(offer.region for offer in group if not offer.available),
    ]

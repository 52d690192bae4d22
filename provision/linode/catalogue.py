"""What there is to rent: plans, regions, prices, images. All of it is asked, nothing assumed."""

from collections.abc import Mapping, Sequence
from typing import Any

from provision.base import CloudError, Offer
from provision.linode.client import Client
from provision.linode.gpus import find_gpu

NAME = "linode"
NEEDED = frozenset({"GPU Linodes", "Block Storage", "Metadata", "Cloud Firewall"})
INTERFACES = "Linode Interfaces"
IMAGE_WITH_DRIVER, IMAGE = "linode/ubuntu24.04-nvidia", "linode/ubuntu24.04"
MIB_PER_GIB = 1024

Raw = dict[str, Any]


def list_offers(client: Client, generation: str) -> list[Offer]:
    """A GPU plan in each region that has what a run needs; cheapest first, priceless ones last."""
    plans = [plan for plan in client.list("/linode/types") if plan["gpus"] > 0]
    regions = [
        region
        for region in client.list("/regions")
        if region["site_type"] == "core"
        and region["status"] == "ok"
        and frozenset(region["capabilities"]) >= NEEDED
        and (generation != "linode" or INTERFACES in region["capabilities"])
    ]
    sold_out = {
        (row["region"], row["plan"])
        for row in client.list("/regions/availability")
        if not row["available"]
    }
    (volume, *_) = client.list("/volumes/types")
    offers = [
        _make_offer(plan, region["id"], volume, (region["id"], plan["id"]) not in sold_out)
        for plan in plans
        for region in regions
    ]
    return sorted(offers, key=lambda o: (o.usd_per_hour is None, o.usd_per_hour, o.plan, o.region))


def _make_offer(plan: Raw, region: str, volume: Raw, available: bool) -> Offer:
    gpu = find_gpu(plan["id"])
    return Offer(
        cloud=NAME,
        region=region,
        plan=plan["id"],
        gpus=plan["gpus"],
        vcpus=plan["vcpus"],
        memory_gib=plan["memory"] / MIB_PER_GIB,
        usd_per_hour=find_price(plan, region, "hourly"),
        volume_usd_per_gib_hour=find_price(volume, region, "hourly"),
        available=available,
        gpu=gpu.name if gpu else None,
        vram_gib=gpu.vram_gib if gpu else None,
        speed=gpu.speed if gpu else None,
    )


def find_price(priced: Mapping[str, Any], region: str, per: str) -> float | None:
    """The price in a region, which may have one of its own; None where it is 0 or not told."""
    own: Sequence[Raw] = priced.get("region_prices") or []
    prices = next((row for row in own if row["id"] == region), priced.get("price") or {})
    return float(prices[per]) if prices.get(per) else None


def find_image(client: Client) -> tuple[str, bool]:
    """The image to boot, and whether it has NVIDIA's driver.

    Raises:
        CloudError: the account lists neither.
    """
    ids = {
        image["id"]
        for image in client.list("/images")
        if "cloud-init" in (image.get("capabilities") or []) and not image["deprecated"]
    }
    for image, has_driver in ((IMAGE_WITH_DRIVER, True), (IMAGE, False)):
        if image in ids:
            return image, has_driver
    raise CloudError(
        f"Linode lists neither the image {IMAGE_WITH_DRIVER} nor {IMAGE}.",
        fix="Upgrade segaway; this one knows no other.",
    )


def find_generation(client: Client) -> str:
    """Which networking new nodes get: `linode` where the account takes no other.

    `firewall_id` is honoured by `legacy_config` alone, hence never left to the account's default.
    """
    if not client.may("account:read_only"):
        return "legacy_config"
    settings = client.get("/account/settings") or {}
    only_new = settings.get("interfaces_for_new_linodes") == "linode_only"
    return "linode" if only_new else "legacy_config"

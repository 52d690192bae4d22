"""What the emulated cloud sells: plans, regions, images, and what they cost.

Prices and names are those that the real cloud was seen with; where a price per hour was never seen
it is the monthly one over 30 days, as it is there.
"""

from typing import Any

Row = dict[str, Any]

COMMON = (
    *("Linodes", "Block Storage", "Block Storage Encryption", "Cloud Firewall", "Vlans", "VPCs"),
    *("Metadata", "Linode Interfaces", "Placement Group", "Disk Encryption", "Backups"),
    *("NodeBalancers", "Object Storage", "StackScripts", "Maintenance Policy"),
)
# Region, label, country, GPUs.
CORE_REGIONS = (
    ("us-ord", "Chicago, IL", "us", True),
    ("us-sea", "Seattle, WA", "us", True),
    ("fr-par-2", "Paris 2, FR", "fr", True),
    ("de-fra-2", "Frankfurt 2, DE", "de", True),
    ("id-cgk", "Jakarta, ID", "id", True),
    ("br-gru", "Sao Paulo, BR", "br", False),
    ("us-iad", "Washington, DC", "us", False),
    ("in-maa", "Chennai, IN", "in", True),
)
DISTRIBUTED_REGIONS = (("us-den-1", "Edge - Denver, CO", "us"),)

# Plan, label, class, vCPUs, memory MB, disk MB, GPUs, USD per hour, per month.
PLANS = (
    ("g6-nanode-1", "Nanode 1GB", "nanode", 1, 1024, 25600, 0, 0.0075, 5),
    ("g6-standard-1", "Linode 2GB", "standard", 1, 2048, 51200, 0, 0.018, 12),
    ("g6-standard-2", "Linode 4GB", "standard", 2, 4096, 81920, 0, 0.036, 24),
    ("g6-standard-4", "Linode 8GB", "standard", 4, 8192, 163840, 0, 0.072, 48),
    ("g6-standard-6", "Linode 16GB", "standard", 6, 16384, 327680, 0, 0.144, 96),
    ("g6-dedicated-2", "Dedicated 4GB", "dedicated", 2, 4096, 81920, 0, 0.054, 36),
    ("g6-dedicated-8", "Dedicated 16GB", "dedicated", 8, 16384, 327680, 0, 0.216, 144),
    ("g7-premium-2", "Premium 4GB", "premium", 2, 4096, 81920, 0, 0.0645, 43),
    ("g1-gpu-rtx6000-1", "RTX6000 x1", "gpu", 8, 32768, 655360, 1, 1.5, 1000),
    ("g1-gpu-rtx6000-2", "RTX6000 x2", "gpu", 16, 65536, 1310720, 2, 3.0, 2000),
    ("g1-gpu-rtx6000-3", "RTX6000 x3", "gpu", 20, 98304, 1966080, 3, 4.5, 3000),
    ("g1-gpu-rtx6000-4", "RTX6000 x4", "gpu", 24, 131072, 2621440, 4, 6.0, 4000),
    ("g2-gpu-rtx4000a1-s", "RTX4000 Ada x1 Small", "gpu", 4, 16384, 524288, 1, 0.52, 350),
    ("g2-gpu-rtx4000a1-m", "RTX4000 Ada x1 Medium", "gpu", 8, 32768, 524288, 1, 0.67, 446),
    ("g2-gpu-rtx4000a1-l", "RTX4000 Ada x1 Large", "gpu", 16, 65536, 524288, 1, 0.96, 638),
    ("g2-gpu-rtx4000a1-xl", "RTX4000 Ada x1 X-Large", "gpu", 32, 131072, 524288, 1, 1.53, 1022),
    ("g2-gpu-rtx4000a2-s", "RTX4000 Ada x2 Small", "gpu", 8, 32768, 1048576, 2, 1.05, 700),
    ("g2-gpu-rtx4000a2-m", "RTX4000 Ada x2 Medium", "gpu", 16, 65536, 1048576, 2, 1.34, 892),
    ("g2-gpu-rtx4000a4-s", "RTX4000 Ada x4 Small", "gpu", 32, 131072, 2097152, 4, 2.96, 1976),
    ("g2-gpu-rtx4000a4-m", "RTX4000 Ada x4 Medium", "gpu", 48, 200704, 2097152, 4, 3.57, 2384),
)
DEARER = {"id-cgk": 1.2, "br-gru": 1.4}

# Image, label, vendor, size MB.
NVIDIA = "linode/ubuntu24.04-nvidia"
IMAGES = (
    ("linode/debian11", "Debian 11", "Debian", 1500),
    ("linode/debian12", "Debian 12", "Debian", 1600),
    ("linode/ubuntu22.04", "Ubuntu 22.04 LTS", "Ubuntu", 3500),
    ("linode/ubuntu24.04", "Ubuntu 24.04 LTS", "Ubuntu", 3500),
    (NVIDIA, "Ubuntu 24.04 LTS NVIDIA", "Ubuntu", 4500),
)
NO_CLOUD_INIT = (("linode/alpine3.19", "Alpine 3.19", "Alpine", 300),)


def _price(hourly: float, monthly: float) -> Row:
    return {"hourly": hourly, "monthly": monthly}


def _dearer(hourly: float, monthly: float) -> list[Row]:
    return [
        {"id": region, "hourly": round(hourly * factor, 5), "monthly": round(monthly * factor, 2)}
        for region, factor in DEARER.items()
    ]


def list_types() -> list[Row]:
    """The plans, as GET /linode/types shows them."""
    found = []
    for plan, label, kind, vcpus, memory, disk, gpus, hourly, monthly in PLANS:
        backup = (round(hourly / 4, 4), round(monthly / 4, 2))
        prices = {"price": _price(*backup), "region_prices": _dearer(*backup)}
        found.append(
            {
                **{"id": plan, "label": label, "class": kind, "vcpus": vcpus, "memory": memory},
                **{"disk": disk, "gpus": gpus, "transfer": memory, "network_out": 10000},
                **{"price": _price(hourly, monthly), "region_prices": _dearer(hourly, monthly)},
                **{"addons": {"backups": prices}, "successor": None, "accelerated_devices": 0},
            }
        )
    return found


def list_regions() -> list[Row]:
    """The data centers, as GET /regions shows them."""
    core = [
        _region(region, label, country, "core", [*COMMON, *(["GPU Linodes"] if gpus else [])])
        for region, label, country, gpus in CORE_REGIONS
    ]
    edge = ["Linodes", "Cloud Firewall", "Distributed Plans", "Placement Group"]
    return core + [_region(*row, "distributed", edge) for row in DISTRIBUTED_REGIONS]


def _region(region: str, label: str, country: str, site: str, capabilities: list[str]) -> Row:
    limits = {
        "maximum_pgs_per_customer": 100,
        "maximum_linodes_per_pg": 5,
        "maximum_linodes_per_flexible_pg": 5,
    }
    return {
        **{"id": region, "label": label, "country": country, "capabilities": capabilities},
        **{"status": "ok", "site_type": site, "placement_group_limits": limits},
        "resolvers": {"ipv4": "192.0.2.53,192.0.2.54", "ipv6": "2001:db8::53,2001:db8::54"},
        "monitors": {"alerts": [], "metrics": []},
    }


def list_availability() -> list[Row]:
    """Which limited plan can be had where: every core region and plan, no other kind of plan."""
    limited = [plan[0] for plan in PLANS if plan[2] in ("gpu", "premium")]
    gpu_regions = {region for region, _, _, gpus in CORE_REGIONS if gpus}
    return [
        {
            "region": region,
            "plan": plan,
            "available": "premium" in plan or (region in gpu_regions and "rtx6000" not in plan),
        }
        for region, _, _, _ in CORE_REGIONS
        for plan in limited
    ]


def list_images() -> list[Row]:
    """The public images."""
    ready = [_image(*row, ["cloud-init"]) for row in IMAGES]
    return ready + [_image(*row, []) for row in NO_CLOUD_INIT]


def _image(image: str, label: str, vendor: str, size: int, capabilities: list[str]) -> Row:
    born = "2024-05-01T12:00:00"
    return {
        **{"id": image, "label": label, "vendor": vendor, "size": size, "total_size": size},
        **{"capabilities": capabilities, "created": born, "updated": born, "created_by": "linode"},
        **{"deprecated": False, "description": "", "eol": "2029-04-01T04:00:00", "expiry": None},
        **{"is_public": True, "is_shared": False, "image_sharing": None, "regions": []},
        **{"status": "available", "tags": [], "type": "manual"},
    }


def list_volume_types() -> list[Row]:
    """What a gigabyte of a volume costs."""
    regions = [
        {"id": "id-cgk", "hourly": 0.00018, "monthly": 0.12},
        {"id": "br-gru", "hourly": 0.00021, "monthly": 0.14},
    ]
    price = _price(0.00015, 0.1)
    kind = {"id": "volume", "label": "Storage Volume", "price": price}
    return [{**kind, "region_prices": regions, "transfer": 0}]

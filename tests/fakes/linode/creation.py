"""POST /linode/instances: what is refused, and what is made."""

import uuid
from typing import Any

from tests.fakes.linode import power, rules
from tests.fakes.linode.networking import add_device
from tests.fakes.linode.routes import Call
from tests.fakes.linode.rules import ApiError, refuse
from tests.fakes.linode.state import Instance, Row

FIELDS = (
    *("authorized_keys", "authorized_users", "backup_id", "backups_enabled", "boot_size"),
    *("booted", "disk_encryption", "firewall_id", "group", "image", "interface_generation"),
    *("interfaces", "ipv4", "kernel", "label", "maintenance_policy", "metadata"),
    *("network_helper", "placement_group", "private_ip", "region", "root_pass"),
    *("stackscript_data", "stackscript_id", "swap_size", "tags", "type"),
)
LEAST_BOOT_SIZE, SWAP_SIZE = 8192, 512
POLICIES = ("linode/migrate", "linode/power_off_on")


def create_instance(call: Call) -> Instance:
    """The instance that the body asks for. Raises what the API would refuse it with."""
    body, state = call.body, call.state
    rules.check_known(body, FIELDS)
    plan, region = _check_place(call)
    label = body.get("label") or f"linode{state.make_id()}"
    check_free_label(call, label)
    image = _check_image(call, plan)
    keys = rules.check_keys(body.get("authorized_keys"))
    if image and not (body.get("root_pass") or keys or body.get("authorized_users")):
        raise ApiError(400, rules.NO_CREDENTIALS)
    user_data = _check_metadata(call, region, image)
    generation = _check_generation(call)
    firewall = _check_firewall(call, generation)
    tags = call.read_tags()
    _check_capacity(call, plan, region)
    instance = Instance(
        _make_view(call, plan, region, label, image, generation, tags), configs=[], disks=[]
    )
    instance.machine = label
    instance.never_boots = "never-boots" in call.faults
    instance.other_host_key = "other-host-key" in call.faults
    instance.user_data = user_data
    instance.view["has_user_data"] = user_data is not None
    instance.authorized_keys = [*keys, *_find_user_keys(call)]
    if image:
        _make_disks(call, instance, plan, image)
    if generation == "linode":
        _make_interfaces(call, instance)
    state.instances[instance.id] = instance
    if firewall:
        add_device(state, firewall, instance)
    power.create(state, instance, boots=bool(image) and body.get("booted", True) is not False)
    return instance


def check_free_label(call: Call, label: object, own: int = 0) -> None:
    """Raises the refusal for a label that is malformed, or taken."""
    text = rules.check_label(label, rules.INSTANCE_LABEL, 3, 64)
    for other in call.state.instances.values():
        if other.label == text and other.id != own:
            raise refuse("label", "Label must be unique among your linodes")


def _check_place(call: Call) -> tuple[Row, Row]:
    body, state = call.body, call.state
    for field in ("region", "type"):
        if not body.get(field):
            raise refuse(field, f"{field} is required")
    if body["region"] not in state.regions:
        raise refuse("region")
    if body["type"] not in state.types:
        raise refuse("type", "A valid plan type by that ID was not found")
    plan, region = state.types[body["type"]], state.regions[body["region"]]
    if region["site_type"] == "distributed":
        raise refuse("type", "The selected plan is not supported in this region")
    if plan["class"] == "gpu" and "GPU Linodes" not in region["capabilities"]:
        raise refuse("region", "Linodes with GPUs are not supported in this region")
    return plan, region


def _check_image(call: Call, plan: Row) -> str | None:
    body, state = call.body, call.state
    image = body.get("image")
    if image is None:
        return None
    if image not in state.images:
        raise refuse("image")
    boot = body.get("boot_size")
    swap = rules.check_integer(body, "swap_size", SWAP_SIZE)
    if boot is not None and (not isinstance(boot, int) or boot < LEAST_BOOT_SIZE):
        raise refuse("boot_size", f"Must be at least {LEAST_BOOT_SIZE}")
    size = boot if boot is not None else plan["disk"] - swap
    if size < state.images[image]["size"]:
        raise refuse("image", "The image does not fit on the disk of the selected plan")
    if size + swap > plan["disk"]:
        raise refuse("boot_size", "Insufficient space for the requested disks")
    return str(image)


def _check_metadata(call: Call, region: Row, image: str | None) -> bytes | None:
    metadata = call.body.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise refuse("metadata", "metadata must be an object")
    user_data = rules.check_user_data(metadata.get("user_data"))
    if user_data is None:
        return None
    if "Metadata" not in region["capabilities"]:
        raise refuse("metadata", "Metadata is not supported in this region")
    if image and "cloud-init" not in call.state.images[image]["capabilities"]:
        raise refuse("metadata.user_data", "The selected image does not support cloud-init")
    return user_data


def _check_generation(call: Call) -> str:
    setting = call.state.options.interfaces_for_new_linodes
    default = "linode" if setting.startswith("linode") else "legacy_config"
    found = call.body.get("interface_generation") or default
    if found not in ("linode", "legacy_config"):
        raise refuse("interface_generation")
    if setting.endswith("_only") and found != default:
        raise refuse("interface_generation", "Not allowed by the settings of your account")
    return str(found)


def _check_firewall(call: Call, generation: str) -> int | None:
    number = call.body.get("firewall_id")
    if number == -1:
        return None
    if generation == "linode":
        if number is not None:
            raise refuse("firewall_id", "Firewalls of Linode interfaces go with the interface")
        return None
    if number is None:
        default = call.state.default_firewalls["linode"]
        return int(default) if default is not None else None
    if number not in call.state.firewalls:
        raise refuse("firewall_id")
    return int(number)


def _check_capacity(call: Call, plan: Row, region: Row) -> None:
    state = call.state
    stock = [
        row
        for row in state.availability
        if row["region"] == region["id"] and row["plan"] == plan["id"]
    ]
    if any(not row["available"] for row in stock):
        raise ApiError(403, rules.NO_CAPACITY)


def _make_view(
    call: Call,
    plan: Row,
    region: Row,
    label: str,
    image: str | None,
    generation: str,
    tags: list[str],
) -> dict[str, Any]:
    state, body, now = call.state, call.body, call.state.now()
    number = state.make_id()
    address = state.machines.take_address(label, state.options.reuse_addresses)
    specs = ("disk", "memory", "vcpus", "gpus", "transfer", "accelerated_devices")
    backups = {
        **{"enabled": bool(body.get("backups_enabled")), "available": False},
        **{"schedule": {"day": None, "window": None}, "last_successful": None},
    }
    return {
        **{"id": number, "label": label, "group": body.get("group", ""), "status": "provisioning"},
        **{"created": now, "updated": now, "type": plan["id"], "region": region["id"]},
        **{"ipv4": [address], "ipv6": f"2001:db8::f03c:91ff:fe00:{number % 65536:x}/128"},
        **{"image": image, "hypervisor": "kvm", "watchdog_enabled": True, "tags": tags},
        **{"host_uuid": uuid.UUID(int=number).hex, "has_user_data": False, "backups": backups},
        **{"placement_group": None, "lke_cluster_id": None, "site_type": region["site_type"]},
        **{"disk_encryption": body.get("disk_encryption") or "enabled"},
        **{"capabilities": ["Block Storage Encryption"], "interface_generation": generation},
        **{"maintenance_policy": _check_policy(body), "specs": {key: plan[key] for key in specs}},
        "alerts": {
            **{"cpu": 90 * plan["vcpus"], "io": 10000, "network_in": 10, "network_out": 10},
            "transfer_quota": 80,
        },
    }


def _check_policy(body: dict[str, Any]) -> str:
    policy = body.get("maintenance_policy") or POLICIES[0]
    if policy not in POLICIES:
        raise refuse("maintenance_policy", "Unsupported maintenance policy slug format.")
    return str(policy)


def _find_user_keys(call: Call) -> list[str]:
    users = call.body.get("authorized_users") or []
    for user in users:
        if user != call.state.options.username:
            raise refuse("authorized_users", f"Username {user} is not valid")
    return [row["ssh_key"] for row in call.state.sshkeys.values()] if users else []


def _make_disks(call: Call, instance: Instance, plan: Row, image: str) -> None:
    state, now = call.state, call.state.now()
    swap = rules.check_integer(call.body, "swap_size", SWAP_SIZE)
    size = call.body.get("boot_size") or plan["disk"] - swap
    names = [(f"{state.images[image]['label']} Disk", size, "ext4")]
    if swap:
        names.append((f"{swap} MB Swap Image", swap, "swap"))
    for label, size_mb, kind in names:
        instance.disks.append(
            {
                **{"id": state.make_id(), "label": label, "size": size_mb, "filesystem": kind},
                **{"status": "ready", "created": now, "updated": now},
                "disk_encryption": instance.view["disk_encryption"],
            }
        )
    slots = {f"sd{letter}": None for letter in "abcdefgh"}
    disks = {
        f"sd{letter}": {"disk_id": disk["id"], "volume_id": None}
        for letter, disk in zip("ab", instance.disks, strict=False)
    }
    helpers = ("updatedb_disabled", "distro", "modules_dep", "network", "devtmpfs_automount")
    instance.configs.append(
        {
            **{"id": state.make_id(), "label": f"My {state.images[image]['label']} Disk Profile"},
            **{"comments": "", "kernel": "linode/grub2", "memory_limit": 0, "initrd": None},
            **{"root_device": "/dev/sda", "run_level": "default", "virt_mode": "paravirt"},
            **{"devices": {**slots, **disks}, "helpers": dict.fromkeys(helpers, True)},
            **{"interfaces": [], "created": now, "updated": now},
        }
    )


def _make_interfaces(call: Call, instance: Instance) -> None:
    state, now = call.state, call.state.now()
    asked = call.body.get("interfaces") or [{"public": {}}]
    for one in asked:
        number = state.make_id()
        firewall = one.get("firewall_id") or state.default_firewalls["public_interface"]
        if firewall is None:
            raise refuse("interfaces", "A firewall_id is required: there is no default firewall")
        if firewall == -1:
            firewall = 0
        elif firewall not in state.firewalls:
            raise refuse("interfaces[0].firewall_id", "firewall_id is not valid")
        address = {"address": instance.view["ipv4"][0], "primary": True}
        slaac = [{"address": instance.view["ipv6"].split("/")[0], "prefix": 64}]
        instance.interfaces.append(
            {
                **{"id": number, "mac_address": f"22:00:00:00:{number // 256:02x}:00"},
                **{"created": now, "updated": now, "version": 1, "vlan": None, "vpc": None},
                "default_route": {"ipv4": True, "ipv6": True},
                "public": {
                    "ipv4": {"addresses": [address], "shared": []},
                    "ipv6": {"slaac": slaac, "ranges": [], "shared": []},
                },
            }
        )
        if firewall:
            add_device(state, firewall, instance, instance.interfaces[-1])

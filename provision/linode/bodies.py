"""The literal bodies of what is sent. Pure."""

from typing import Any

from provision.base import Order, stamp

Body = dict[str, Any]
TAG = "segaway"
TOKEN_SCOPES = "linodes:read_write"
SWAP_MIB = 512


def tag_run(order: Order) -> list[str]:
    """What says whose it is and when that ends, to every machine that has the credentials."""
    return [TAG, f"run:{order.run}", f"deadline:{stamp(order.deadline_s)}"]


def name_node(order: Order, may_tag: bool) -> str:
    """The node's label; it ends in the deadline where the node cannot be tagged."""
    label = order.label("node")
    return label if may_tag else f"{label}-{stamp(order.deadline_s)}"


def make_volume(order: Order, encrypts: bool, may_tag: bool) -> Body:
    body: Body = {
        "label": order.label("volume"),
        "region": order.offer.region,
        "size": order.volume_gib,
    }
    if encrypts:
        body["encryption"] = "enabled"
    return {**body, "tags": tag_run(order)} if may_tag else body


def make_firewall(order: Order, networks: list[str], may_tag: bool) -> Body:
    body: Body = {"label": order.label("firewall"), "rules": make_rules(networks)}
    return {**body, "tags": tag_run(order)} if may_tag else body


def make_rules(networks: list[str]) -> Body:
    """SSH from these networks, and nothing else, comes in; everything goes out."""
    addresses: Body = {
        "ipv4": [network for network in networks if ":" not in network],
        "ipv6": [network for network in networks if ":" in network],
    }
    ssh = {
        "action": "ACCEPT",
        "protocol": "TCP",
        "ports": "22",
        "label": "segaway-ssh",
        "addresses": {family: found for family, found in addresses.items() if found},
    }
    return {
        "inbound_policy": "DROP",
        "inbound": [ssh],
        "outbound_policy": "ACCEPT",
        "outbound": [],
    }


def make_token(order: Order, expiry: str) -> Body:
    """A token that may do nothing but with nodes, and not for long."""
    return {"label": order.label("token"), "scopes": TOKEN_SCOPES, "expiry": expiry}


def make_node(order: Order, image: str, generation: str, user_data: str, may_tag: bool) -> Body:
    body: Body = {
        "label": name_node(order, may_tag),
        "region": order.offer.region,
        "type": order.offer.plan,
        "image": image,
        "booted": True,
        "swap_size": SWAP_MIB,
        "root_pass": "{root_pass}",
        "authorized_keys": ["{client_key}"],
        "disk_encryption": "enabled",
        "backups_enabled": False,
        "private_ip": False,
        "interface_generation": generation,
        "metadata": {"user_data": user_data},
    }
    if generation == "linode":
        address = {"address": "auto", "primary": True}
        public = {"ipv4": {"addresses": [address]}, "ipv6": {}}
        body["interfaces"] = [{"firewall_id": "{firewall}", "public": public}]
    else:
        body["firewall_id"] = "{firewall}"
    return {**body, "tags": tag_run(order)} if may_tag else body


def make_attachment() -> Body:
    return {"linode_id": "{node}", "persist_across_boots": True}

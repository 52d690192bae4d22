"""The literal bodies of what is sent. Pure."""

import base64
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from provision.base import Order, fill_holes, stamp
from provision.userdata import Guard, build_user_data, fill_user_data

Body = dict[str, Any]
TAG = "segaway"
TOKEN_SCOPES = "linodes:read_write"
SWAP_MIB = 512
ROOT = "/mnt/segaway"
# The guard is still at work for a while when its deadline has come.
TOKEN_SLACK_S = 6 * 3600.0


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


def make_token(order: Order) -> Body:
    """A token that may do nothing but with nodes, and not for long."""
    until = datetime.fromtimestamp(order.deadline_s + TOKEN_SLACK_S, UTC)
    expiry = until.strftime("%Y-%m-%dT%H:%M:%S")
    return {"label": order.label("token"), "scopes": TOKEN_SCOPES, "expiry": expiry}


def make_user_data(order: Order, api_url: str, has_driver: bool, has_token: bool) -> str:
    """What the node does when it boots, as text with holes for what only the run knows."""
    guard = Guard(
        run=order.run,
        label=order.label("node"),
        api_url=api_url,
        deadline_s=order.deadline_s,
        idle_s=order.idle_s,
        root=ROOT,
    )
    return build_user_data(
        guard,
        host_key="{host_key}",
        host_key_public="{host_key_public}",
        client_key="{client_key}",
        token="{token}" if has_token else "",
        gpus=order.offer.gpus,
        has_driver=has_driver,
    )


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


def fill_body(body: Mapping[str, Any], values: Mapping[str, str]) -> Body:
    """The body as it is sent: no hole in it, and the user data encoded."""
    rest = {key: value for key, value in body.items() if key != "metadata"}
    filled: Body = fill_holes(rest, values)
    if metadata := body.get("metadata"):
        text = fill_user_data(metadata["user_data"], values)
        filled["metadata"] = {"user_data": base64.b64encode(text.encode()).decode()}
    return filled

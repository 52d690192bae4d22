"""What the API answers, as items of ours. Pure."""

from datetime import UTC, datetime
from typing import Any

from provision.base import LABEL_PREFIX, Item, Node, Token, Volume, read_run, read_stamp
from provision.linode.bodies import ROOT, TAG
from provision.linode.catalogue import find_price
from provision.userdata import READY

USER, PORT = "root", 22
GUARD = "python3 /etc/segaway/guard.py"
IS_INSTALLED, HAS_DRIVER = f"test -e {READY}", "nvidia-smi"
# A guard that could not be armed must be known of before anything is entrusted to its node.
IS_GUARDED = f"{GUARD} status | grep -q '\"has_token\": true'"
# Of an old token the API shows the first characters, of a new one all of these.
SECRET_LENGTH = 64
UNKNOWN_DATA = "unknown"

Raw = dict[str, Any]


def describe_node(raw: Raw, plan: Raw, has_token: bool) -> Node:
    """A node of that plan; `has_token`: whether its guard must have one."""
    checks = [IS_GUARDED] if has_token else []
    checks += [IS_INSTALLED, *([HAS_DRIVER] if plan.get("gpus") else [])]
    return Node(
        **_name(raw),
        region=raw["region"],
        usd_per_hour=find_price(plan, raw["region"], "hourly"),
        state="running" if raw["status"] == "running" else "booting",
        host=raw["ipv4"][0] if raw["ipv4"] else "",
        port=PORT,
        user=USER,
        root=ROOT,
        checks=tuple(checks),
        guard=GUARD,
    )


def describe_volume(raw: Raw, prices: Raw) -> Volume:
    """A volume, priced by its size."""
    hourly = find_price(prices, raw["region"], "hourly")
    monthly = find_price(prices, raw["region"], "monthly")
    return Volume(
        **_name(raw),
        region=raw["region"],
        size_gib=raw["size"],
        usd_per_hour=hourly and hourly * raw["size"],
        usd_per_month=monthly and monthly * raw["size"],
        # Who may not tag has not said what is on it; whoever may has said whose it is.
        data=_read_tag(raw, "data") or ("" if TAG in raw["tags"] else UNKNOWN_DATA),
        node=str(raw["linode_id"] or ""),
        path=raw["filesystem_path"],
        used_s=_parse(raw["updated"]),
    )


def describe_firewall(raw: Raw) -> Item:
    """A firewall; it costs nothing."""
    return Item(kind="firewall", **_name(raw))


def describe_token(raw: Raw) -> Item:
    """A token; with its secret right after it was minted, and never again."""
    secret = raw.get("token") or ""
    if len(secret) >= SECRET_LENGTH:
        return Token(**_name(raw), secret=secret)
    return Item(kind="token", **_name(raw))


def _name(raw: Raw) -> Raw:
    """What every item has. Tags tell its deadline where there are any, else the label does."""
    label, deadline = raw["label"], _read_tag(raw, "deadline")
    stamped = f"{LABEL_PREFIX}{read_run(label)}-node-{deadline}" if deadline else label
    named = {"id": str(raw["id"]), "label": label, "created_s": _parse(raw["created"])}
    return {**named, "deadline_s": read_stamp(stamped)}


def _read_tag(raw: Raw, name: str) -> str:
    tags = raw.get("tags") or []
    return next((tag.partition(":")[2] for tag in tags if tag.startswith(f"{name}:")), "")


def _parse(text: str) -> float:
    """The API's times are UTC, and do not say so."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()

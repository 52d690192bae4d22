"""Firewalls: rules, and the instances that they guard. They are written down, not applied."""

import hashlib
import ipaddress
import json
import re
from typing import Any

from tests.fakes.linode import rules
from tests.fakes.linode.filters import Collection
from tests.fakes.linode.routes import Call, route
from tests.fakes.linode.rules import ApiError, refuse
from tests.fakes.linode.state import Instance, Row, State, point_at

READ, WRITE = "firewall:read_only", "firewall:read_write"
HOME = "/networking/firewalls"
FILTERABLE = ("id", "label", "tags", "created", "updated")
PROTOCOLS = ("TCP", "UDP", "ICMP", "IPENCAP")
MAX_RULES, MAX_PORTS = 25, 15


@route("GET", HOME, READ, limit=(200, 60))
def list_firewalls(call: Call) -> Any:
    """All."""
    rows = [describe_firewall(call.state, row) for row in call.state.firewalls.values()]
    return Collection(rows, FILTERABLE)


@route("POST", HOME, WRITE)
def post_firewall(call: Call) -> Any:
    """A new one, enabled."""
    state, body = call.state, call.body
    rules.check_known(body, ("label", "rules", "tags", "devices"))
    label = rules.check_label(body.get("label"), rules.INSTANCE_LABEL, 3, 32)
    _check_unique(state, label)
    if not isinstance(body.get("rules"), dict):
        raise refuse("rules", "rules is required")
    found = _check_rules(body["rules"], {}, "rules.")
    targets = [state.instance(number) for number in (body.get("devices") or {}).get("linodes", [])]
    now = state.now()
    firewall: Row = {
        **{"id": state.make_id(), "label": label, "status": "enabled", "rules": found},
        **{"tags": call.read_tags(), "created": now, "updated": now},
    }
    state.firewalls[firewall["id"]] = firewall
    state.add_event("firewall_create", point_at("firewall", firewall["id"], label))
    for instance in targets:
        add_device(state, firewall["id"], instance)
    return describe_firewall(state, firewall)


@route("GET", HOME + "/settings", READ)
def get_firewall_settings(call: Call) -> Any:
    """Which firewall new things get."""
    return {"default_firewall_ids": call.state.default_firewalls}


@route("PUT", HOME + "/settings", WRITE)
def put_firewall_settings(call: Call) -> Any:
    """Set which firewall new things get."""
    call.state.default_firewalls.update(call.body.get("default_firewall_ids") or {})
    return {"default_firewall_ids": call.state.default_firewalls}


@route("GET", HOME + "/{id}", READ)
def get_firewall(call: Call) -> Any:
    """One."""
    return describe_firewall(call.state, _find(call))


@route("PUT", HOME + "/{id}", WRITE)
def put_firewall(call: Call) -> Any:
    """Its label, status and tags."""
    firewall, body = _find(call), call.body
    rules.check_known(body, ("label", "status", "tags"))
    if "label" in body:
        label = rules.check_label(body["label"], rules.INSTANCE_LABEL, 3, 32)
        _check_unique(call.state, label, firewall["id"])
        firewall["label"] = label
    if body.get("status", "enabled") not in ("enabled", "disabled"):
        raise refuse("status")
    firewall["status"] = body.get("status", firewall["status"])
    if "tags" in body:
        firewall["tags"] = call.read_tags()
    firewall["updated"] = call.state.now()
    return describe_firewall(call.state, firewall)


@route("DELETE", HOME + "/{id}", WRITE)
def delete_firewall(call: Call) -> Any:
    """It guards nobody any more."""
    firewall = _find(call)
    if firewall["id"] in call.state.default_firewalls.values():
        raise ApiError(400, "A default firewall cannot be deleted")
    del call.state.firewalls[firewall["id"]]
    call.state.devices.pop(firewall["id"], None)
    point = point_at("firewall", firewall["id"], firewall["label"])
    call.state.add_event("firewall_delete", point)
    return {}


@route("GET", HOME + "/{id}/rules", READ)
def get_rules(call: Call) -> Any:
    """Its rules."""
    return _find(call)["rules"]


@route("PUT", HOME + "/{id}/rules", WRITE)
def put_rules(call: Call) -> Any:
    """Both lists anew."""
    firewall = _find(call)
    firewall["rules"] = _check_rules(call.body, firewall["rules"], "")
    firewall["updated"] = call.state.now()
    point = point_at("firewall", firewall["id"], firewall["label"])
    call.state.add_event("firewall_rules_update", point)
    return firewall["rules"]


@route("GET", HOME + "/{id}/devices", READ, limit=(200, 60))
def list_devices(call: Call) -> Any:
    """What it guards."""
    devices = call.state.devices[_find(call)["id"]]
    return Collection(list(devices.values()), ("id", "created", "updated"))


@route("POST", HOME + "/{id}/devices", WRITE)
def post_device(call: Call) -> Any:
    """Guard one more."""
    state, body, firewall = call.state, call.body, _find(call)
    number, kind = rules.check_integer(body, "id"), body.get("type")
    if kind == "linode":
        instance = state.instances.get(number)
        if instance is None:
            raise refuse("id", "entity_id is not valid")
        if instance.view["interface_generation"] == "linode":
            raise refuse("type", "Firewalls of this Linode go with its interfaces")
        return add_device(state, firewall["id"], instance)
    if kind == "linode_interface":
        for instance in state.instances.values():
            for interface in instance.interfaces:
                if interface["id"] == number:
                    return add_device(state, firewall["id"], instance, interface)
        raise refuse("id", "entity_id is not valid")
    raise refuse("type")


@route("GET", HOME + "/{id}/devices/{device}", READ)
def get_device(call: Call) -> Any:
    """One of what it guards."""
    return _find_device(call)


@route("DELETE", HOME + "/{id}/devices/{device}", WRITE)
def delete_device(call: Call) -> Any:
    """Guard one less."""
    del call.state.devices[_find(call)["id"]][_find_device(call)["id"]]
    return {}


def add_device(
    state: State, firewall_id: int, instance: Instance, interface: Row | None = None
) -> Row:
    """The firewall guards the instance, or one of its interfaces. One firewall each."""
    entity: Row = point_at("linode", instance.id, instance.label) | {"parent_entity": None}
    if interface:
        url = f"/v4/linode/instances/{instance.id}/interfaces/{interface['id']}"
        parent = {**entity}
        entity = {"id": interface["id"], "type": "linode_interface", "label": None, "url": url}
        entity = {**entity, "label": instance.label, "parent_entity": parent}
    for devices in state.devices.values():
        for device in devices.values():
            held = device["entity"]
            if (held["id"], held["type"]) == (entity["id"], entity["type"]):
                raise ApiError(400, "This entity already has a firewall assigned")
    now = state.now()
    device = {"id": state.make_id(), "created": now, "updated": now, "entity": entity}
    state.devices[firewall_id][device["id"]] = device
    firewall = state.firewalls[firewall_id]
    point = point_at("firewall", firewall_id, firewall["label"])
    secondary = point_at("linode", instance.id, instance.label)
    state.add_event("firewall_device_add", point, secondary)
    return device


def describe_firewall(state: State, firewall: Row) -> Row:
    """As the API shows it."""
    entities = [device["entity"] for device in state.devices[firewall["id"]].values()]
    return {**firewall, "entities": entities}


def _find(call: Call) -> Row:
    firewall = call.state.firewalls.get(call.number())
    if firewall is None:
        raise rules.not_found()
    return firewall


def _find_device(call: Call) -> Row:
    device = call.state.devices[_find(call)["id"]].get(call.number("device"))
    if device is None:
        raise rules.not_found()
    return device


def _check_unique(state: State, label: str, own: int = 0) -> None:
    if any(row["label"] == label and row["id"] != own for row in state.firewalls.values()):
        raise refuse("label", "Label must be unique among your Cloud Firewalls")


def _check_rules(body: dict[str, Any], old: Row, prefix: str) -> Row:
    found: Row = {}
    for way in ("inbound", "outbound"):
        policy = body.get(f"{way}_policy", old.get(f"{way}_policy"))
        if policy not in ("ACCEPT", "DROP"):
            raise refuse(f"{prefix}{way}_policy", "Must be ACCEPT or DROP")
        listed = body.get(way) or []
        if not isinstance(listed, list):
            raise refuse(f"{prefix}{way}", f"{way} must be a list")
        for place, rule in enumerate(listed):
            _check_rule(rule, f"{prefix}{way}[{place}]")
        found |= {way: listed, f"{way}_policy": policy}
    if len(found["inbound"]) + len(found["outbound"]) > MAX_RULES:
        raise refuse(f"{prefix}inbound", f"There may be {MAX_RULES} rules in total")
    mark = hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:8]
    return {**found, "fingerprint": mark, "version": old.get("version", 0) + 1}


def _check_rule(rule: Any, field: str) -> None:
    if not isinstance(rule, dict):
        raise refuse(field, "Must be an object")
    if rule.get("action") not in ("ACCEPT", "DROP"):
        raise refuse(f"{field}.action", "Must be ACCEPT or DROP")
    if rule.get("protocol") not in PROTOCOLS:
        raise refuse(f"{field}.protocol", "Must be TCP, UDP, ICMP, or IPENCAP")
    addresses = rule.get("addresses")
    if not isinstance(addresses, dict) or not (addresses.get("ipv4") or addresses.get("ipv6")):
        raise refuse(f"{field}.addresses", "addresses is required")
    for kind in ("ipv4", "ipv6"):
        for place, text in enumerate(addresses.get(kind) or []):
            try:
                ipaddress.ip_network(text, strict=False)
            except ValueError:
                reason = "Must be a valid IP address or network"
                raise refuse(f"{field}.addresses.{kind}[{place}]", reason) from None
    addresses.setdefault("ipv4", [])
    addresses.setdefault("ipv6", [])
    _check_words(rule, field)


def _check_words(rule: dict[str, Any], field: str) -> None:
    label, ports = rule.setdefault("label", "a rule"), rule.get("ports")
    if not isinstance(label, str) or not 3 <= len(label) <= 32:
        raise refuse(f"{field}.label", "Length must be 3-32 characters")
    if "description" in rule and not 1 <= len(rule["description"]) <= 100:
        raise refuse(f"{field}.description", "Length must be 1-100 characters")
    if ports is None:
        return
    if rule["protocol"] in ("ICMP", "IPENCAP"):
        raise refuse(f"{field}.ports", "Ports are not allowed for this protocol")
    pieces = re.split(r"[,-]", ports.replace(" ", ""))
    if len(pieces) > MAX_PORTS or not all(p.isdigit() and 1 <= int(p) <= 65535 for p in pieces):
        raise refuse(f"{field}.ports", "Ports must be 1-65535, at most 15 of them")

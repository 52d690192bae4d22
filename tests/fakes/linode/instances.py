"""Linodes: made, listed, changed and destroyed."""

from typing import Any

from tests.fakes.linode import power, rules
from tests.fakes.linode.creation import check_free_label, create_instance
from tests.fakes.linode.filters import Collection
from tests.fakes.linode.networking import describe_firewall
from tests.fakes.linode.routes import Call, route
from tests.fakes.linode.rules import ApiError
from tests.fakes.linode.state import Instance

FILTERABLE = (
    *("id", "label", "tags", "region", "image", "group", "ipv4"),
    "interface_generation",
)
HOME = "/linode/instances"
READ, WRITE = "linodes:read_only", "linodes:read_write"
MUTABLE = ("label", "tags", "group", "alerts", "backups", "watchdog_enabled", "maintenance_policy")


@route("POST", HOME, WRITE, limit=(20, 15))
def post_instance(call: Call) -> Any:
    """A new one, provisioning."""
    return create_instance(call).view


@route("GET", HOME, READ, limit=(200, 60))
def list_instances(call: Call) -> Any:
    """All."""
    return Collection([one.view for one in call.state.instances.values()], FILTERABLE)


@route("GET", HOME + "/{id}", READ)
def get_instance(call: Call) -> Any:
    """One."""
    return _find(call).view


@route("PUT", HOME + "/{id}", WRITE)
def put_instance(call: Call) -> Any:
    """What can be changed of one."""
    instance, body = _find(call), call.body
    if "label" in body:
        check_free_label(call, body["label"], instance.id)
        instance.view["label"] = body["label"]
    if "tags" in body:
        instance.view["tags"] = call.read_tags()
    for field in set(MUTABLE) & set(body) - {"label", "tags"}:
        old = instance.view.get(field)
        instance.view[field] = {**old, **body[field]} if isinstance(old, dict) else body[field]
    instance.view["updated"] = call.state.now()
    return instance.view


@route("DELETE", HOME + "/{id}", WRITE)
def delete_instance(call: Call) -> Any:
    """It goes, and its volumes stay."""
    instance = _find(call)
    instance.check_free()
    power.delete(call.state, instance)
    return {}


@route("POST", HOME + "/{id}/boot", WRITE)
def boot_instance(call: Call) -> Any:
    """Power on."""
    instance = _find_free(call)
    if instance.view["status"] == "running":
        raise ApiError(400, "Linode already booted.")
    if not instance.configs:
        raise ApiError(400, "Linode has no configuration profiles.")
    power.boot(call.state, instance)
    return {}


@route("POST", HOME + "/{id}/reboot", WRITE)
def reboot_instance(call: Call) -> Any:
    """Off and on."""
    power.reboot(call.state, _find_free(call))
    return {}


@route("POST", HOME + "/{id}/shutdown", WRITE)
def shut_down_instance(call: Call) -> Any:
    """Power off; it goes on to bill."""
    power.shut_down(call.state, _find_free(call))
    return {}


@route("GET", HOME + "/{id}/configs", READ)
def list_configs(call: Call) -> Any:
    """Its configuration profiles."""
    return Collection(_find(call).configs, ("label",))


@route("GET", HOME + "/{id}/configs/{config}", READ)
def get_config(call: Call) -> Any:
    """One of its configuration profiles."""
    return _pick(_find(call).configs, call.number("config"))


@route("GET", HOME + "/{id}/disks", READ)
def list_disks(call: Call) -> Any:
    """Its disks."""
    return Collection(_find(call).disks, ("label", "size"))


@route("GET", HOME + "/{id}/disks/{disk}", READ)
def get_disk(call: Call) -> Any:
    """One of its disks."""
    return _pick(_find(call).disks, call.number("disk"))


@route("GET", HOME + "/{id}/volumes", READ)
def list_instance_volumes(call: Call) -> Any:
    """What is attached to it."""
    return Collection(call.state.attached_volumes(_find(call).id), ("label", "tags"))


@route("GET", HOME + "/{id}/firewalls", READ, "firewall:read_only")
def list_instance_firewalls(call: Call) -> Any:
    """What guards it."""
    number = _find(call).id
    guards = [
        describe_firewall(call.state, firewall)
        for firewall in call.state.firewalls.values()
        if any(
            device["entity"]["id"] == number and device["entity"]["type"] == "linode"
            for device in call.state.devices[firewall["id"]].values()
        )
    ]
    return Collection(guards)


@route("GET", HOME + "/{id}/interfaces", READ)
def list_interfaces(call: Call) -> Any:
    """Its Linode interfaces."""
    instance = _find(call)
    if instance.view["interface_generation"] != "linode":
        raise ApiError(400, "Linode Interfaces are not supported by this Linode.")
    return {"interfaces": instance.interfaces}


@route("GET", HOME + "/{id}/transfer", READ)
def get_instance_transfer(call: Call) -> Any:
    """Its network traffic of this month."""
    return {"used": 0, "billable": 0, "quota": _find(call).view["specs"]["transfer"]}


@route("GET", HOME + "/{id}/ips", READ, "ips:read_only")
def get_instance_ips(call: Call) -> Any:
    """Its addresses."""
    instance = _find(call)
    address = instance.view["ipv4"][0]
    head = {"linode_id": instance.id, "region": instance.view["region"], "rdns": None}
    public = {
        **{**head, "address": address, "gateway": address.rpartition(".")[0] + ".1"},
        **{"prefix": 24, "subnet_mask": "255.255.255.0", "public": True, "type": "ipv4"},
        **{"interface_id": None, "vpc_nat_1_1": None, "reserved": False, "tags": []},
        "assigned_entity": {
            **{"id": instance.id, "label": instance.label, "type": "linode"},
            "url": f"/v4/linode/instances/{instance.id}",
        },
    }
    v6 = {**head, "gateway": "fe80::1", "prefix": 64, "subnet_mask": "ffff:ffff:ffff:ffff::"}
    v4 = {"public": [public], "private": [], "reserved": [], "shared": [], "vpc": []}
    slaac = {**v6, "address": instance.view["ipv6"].split("/")[0], "public": True, "type": "ipv6"}
    local = {**v6, "address": "fe80::f03c:91ff:fe24:3a2f", "public": False, "type": "ipv6"}
    return {
        "ipv4": v4,
        "ipv6": {"slaac": slaac, "link_local": local, "global": [], "vpc": []},
    }


def _find(call: Call) -> Instance:
    return call.state.instance(call.args["id"])


def _find_free(call: Call) -> Instance:
    instance = _find(call)
    instance.check_free()
    return instance


def _pick(rows: list[dict[str, Any]], number: int) -> dict[str, Any]:
    for row in rows:
        if row["id"] == number:
            return row
    raise rules.not_found()

"""The account: what it owes and has, what has happened in it, and its tags."""

import math
from typing import Any

from tests.fakes.linode import rules
from tests.fakes.linode.filters import Collection
from tests.fakes.linode.routes import ANY, Call, route
from tests.fakes.linode.rules import ApiError, refuse
from tests.fakes.linode.state import Row

READ, WRITE = "account:read_only", "account:read_write"
EVENT_FIELDS = ("action", "created", "id", "entity.id", "entity.type")
ADDS = (
    *("linodes", "volumes", "firewalls", "images", "stackscripts", "nodebalancers", "domains"),
    *("databases", "longview", "vpcs"),
)
PLACES = (200, 60)


@route("GET", "/account", READ)
def get_account(call: Call) -> Any:
    """Whose account it is, and what it owes."""
    empty = ("address_1", "address_2", "city", "company", "phone", "state", "tax_id", "zip")
    return {
        **dict.fromkeys(empty, ""),
        **{"first_name": "A", "last_name": "Tester", "country": "US", "email": "a@example.com"},
        **{"balance": 0.0, "balance_uninvoiced": 0.0, "billing_source": "linode"},
        **{"active_since": "2024-01-01T00:00:00", "active_promotions": [], "capabilities": []},
        "credit_card": {"expiry": None, "last_four": None},
        "euuid": call.state.options.euuid,
    }


@route("GET", "/account/transfer", READ)
def get_transfer(call: Call) -> Any:
    """The network traffic of this month, in GB."""
    quota = sum(one.view["specs"]["transfer"] for one in call.state.instances.values())
    return {"used": 0, "billable": 0, "quota": math.ceil(quota), "region_transfers": []}


@route("GET", "/account/settings", READ)
def get_settings(call: Call) -> Any:
    """What holds for all that is created."""
    return {
        **{"backups_enabled": False, "managed": False, "network_helper": True},
        **{"longview_subscription": None, "object_storage": "disabled"},
        "interfaces_for_new_linodes": call.state.options.interfaces_for_new_linodes,
        "maintenance_policy": "linode/migrate",
    }


@route("GET", "/account/maintenance", ANY)
def list_maintenance(call: Call) -> Any:
    """What is planned for the hosts."""
    return Collection(call.state.maintenance, ("status", "type", "when"))


@route("GET", "/account/availability", READ)
def list_account_availability(call: Call) -> Any:
    """Which services the account may have where."""
    rows = [
        {"region": region, "available": ["Linodes", "Block Storage"], "unavailable": []}
        for region in call.state.regions
    ]
    return Collection(rows, ())


@route("GET", "/account/events", "events:read_only", limit=PLACES)
def list_events(call: Call) -> Any:
    """What has happened."""
    return Collection(call.state.visible_events()[::-1], EVENT_FIELDS)


@route("GET", "/account/events/{id}", "events:read_only")
def get_event(call: Call) -> Any:
    """One thing that has happened."""
    return rules.pick(call.state.events, call.number())


@route("POST", "/account/events/{id}/seen", "events:read_only")
def see_event(call: Call) -> Any:
    """It, and all before it, are seen."""
    rules.pick(call.state.events, call.number())
    for number, row in call.state.events.items():
        row["seen"] = row["seen"] or number <= call.number()
    return {}


@route("GET", "/tags", READ)
def list_tags(call: Call) -> Any:
    """All tags that were ever given and not deleted."""
    return Collection([{"label": tag} for tag in sorted(call.state.tags)], ())


@route("POST", "/tags", WRITE)
def post_tag(call: Call) -> Any:
    """A tag, and what is to have it."""
    state, label = call.state, rules.check_tags([call.body.get("label")])[0]
    if state.options.restricted:
        raise ApiError(403, "Unauthorized")
    if label in state.tags:
        raise refuse("label", "Tag already exists")
    targets = [state.instance(number).view for number in call.body.get("linodes") or []]
    targets += [rules.pick(state.volumes, number) for number in call.body.get("volumes") or []]
    for row in targets:
        row["tags"] = [*row["tags"], label]
    state.tags.add(label)
    return {"label": label}


@route("GET", "/tags/{tag}", READ)
def list_tagged(call: Call) -> Any:
    """What has the tag."""
    state, tag = call.state, call.args["tag"]
    if tag not in state.tags:
        raise rules.not_found()
    found: list[Row] = [{"type": "linode", "data": one.view} for one in state.instances.values()]
    found += [{"type": "volume", "data": row} for row in state.volumes.values()]
    return Collection([row for row in found if tag in row["data"]["tags"]], ())


@route("DELETE", "/tags/{tag}", WRITE)
def delete_tag(call: Call) -> Any:
    """Nothing has it any more."""
    state, tag = call.state, call.args["tag"]
    if tag not in state.tags:
        raise rules.not_found()
    if state.options.restricted:
        raise ApiError(403, "Unauthorized")
    state.tags.discard(tag)
    views = [one.view for one in state.instances.values()]
    for row in [*views, *state.volumes.values(), *state.firewalls.values()]:
        row["tags"] = [one for one in row["tags"] if one != tag]
    return {}

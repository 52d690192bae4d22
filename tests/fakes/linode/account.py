"""Who the caller is, what the account has, and what can be bought."""

import math
from datetime import datetime
from typing import Any

from tests.fakes.linode import catalogue, rules
from tests.fakes.linode.filters import Collection
from tests.fakes.linode.routes import ANY, Call, route
from tests.fakes.linode.rules import ApiError, refuse
from tests.fakes.linode.state import NEVER, Row, Token, point_at

READ, WRITE = "account:read_only", "account:read_write"
SCOPES = (
    *("account", "databases", "domains", "events", "firewall", "images", "ips", "linodes"),
    *("lke", "longview", "nodebalancers", "object_storage", "stackscripts", "volumes", "vpc"),
)
TYPE_FIELDS = (
    *("class", "gpus", "label", "memory", "vcpus", "disk", "transfer", "network_out"),
    "accelerated_devices",
)
IMAGE_FIELDS = ("label", "is_public", "deprecated", "size", "status", "tags", "type", "vendor")
EVENT_FIELDS = ("action", "created", "id", "entity.id", "entity.type")
ADDS = (
    *("linodes", "volumes", "firewalls", "images", "stackscripts", "nodebalancers", "domains"),
    *("databases", "longview", "vpcs"),
)
GRANTED = (
    *("database", "domain", "firewall", "image", "linode", "longview", "nodebalancer"),
    *("stackscript", "volume", "vpc"),
)
PLACES = (200, 60)


@route("GET", "/linode/types", public=True, limit=PLACES)
def list_types(call: Call) -> Any:
    """The plans and what they cost."""
    return Collection(list(call.state.types.values()), TYPE_FIELDS)


@route("GET", "/linode/types/{type}", public=True)
def get_type(call: Call) -> Any:
    """One plan."""
    return _pick(call.state.types, call.args["type"])


@route("GET", "/volumes/types", public=True, limit=PLACES)
def list_volume_types(call: Call) -> Any:
    """What volumes cost."""
    return Collection(catalogue.list_volume_types(), ("label",))


@route("GET", "/regions", public=True, limit=PLACES)
def list_regions(call: Call) -> Any:
    """The data centers."""
    return Collection(list(call.state.regions.values()), ("country", "site_type"))


@route("GET", "/regions/availability", public=True, limit=PLACES)
def list_availability(call: Call) -> Any:
    """Where which limited plan can be had."""
    return Collection(call.state.availability, ("plan", "region", "available"))


@route("GET", "/regions/{region}", public=True)
def get_region(call: Call) -> Any:
    """One data center."""
    return _pick(call.state.regions, call.args["region"])


@route("GET", "/regions/{region}/availability", public=True)
def get_region_availability(call: Call) -> Any:
    """Which limited plan can be had there: a bare list."""
    _pick(call.state.regions, call.args["region"])
    return [row for row in call.state.availability if row["region"] == call.args["region"]]


@route("GET", "/images", public=True, limit=(20, 60))
def list_images(call: Call) -> Any:
    """The public images."""
    return Collection(list(call.state.images.values()), IMAGE_FIELDS)


@route("GET", "/images/{image}", public=True)
def get_image(call: Call) -> Any:
    """One image."""
    return _pick(call.state.images, call.args["image"])


@route("GET", "/maintenance/policies", ANY)
def list_policies(call: Call) -> Any:
    """What can be done with instances whose host needs work."""
    rows = [
        {
            **{"slug": f"linode/{kind}", "type": kind, "label": label, "description": label},
            **{"is_default": kind == "migrate", "notification_period_sec": 259200},
        }
        for kind, label in (("migrate", "Migrate"), ("power_off_on", "Power Off / Power On"))
    ]
    return Collection(rows, ())


@route("GET", "/profile", ANY)
def get_profile(call: Call) -> Any:
    """Who the caller is."""
    referrals = {"code": "0", "url": "https://www.linode.com/?r=0", "credit": 0, "pending": 0}
    return {
        **{"username": call.state.options.username, "uid": 1234, "user_type": "default"},
        **{"email": "tests@example.com", "email_notifications": True, "timezone": "GMT"},
        **{"restricted": call.state.options.restricted, "ip_whitelist_enabled": False},
        **{"lish_auth_method": "keys_only", "authorized_keys": None, "two_factor_auth": True},
        **{"authentication_type": "password", "verified_phone_number": None},
        "referrals": {**referrals, "completed": 0, "total": 0},
    }


@route("GET", "/profile/grants", ANY)
def get_grants(call: Call) -> Any:
    """What a restricted user may do; nothing at all for any other."""
    if not call.state.options.restricted:
        return None
    may: Row = {f"add_{what}": what in ("linodes", "volumes", "firewalls") for what in ADDS}
    may |= {"account_access": None, "cancel_account": False, "child_account_access": None}
    return {"global": {**may, "longview_subscription": False}, **{kind: [] for kind in GRANTED}}


@route("GET", "/profile/sshkeys", READ)
def list_keys(call: Call) -> Any:
    """The user's public keys."""
    return Collection(list(call.state.sshkeys.values()), ("label",))


@route("POST", "/profile/sshkeys", WRITE)
def post_key(call: Call) -> Any:
    """One more public key."""
    key = rules.check_key(call.body.get("ssh_key"), "ssh_key")
    row = {"id": call.state.make_id(), "label": call.body.get("label", ""), "ssh_key": key}
    call.state.sshkeys[row["id"]] = {**row, "created": call.state.now()}
    call.state.add_event("user_ssh_key_add", point_at("user_ssh_key", row["id"], row["label"]))
    return call.state.sshkeys[row["id"]]


@route("GET", "/profile/sshkeys/{id}", READ)
def get_key(call: Call) -> Any:
    """One public key."""
    return _pick(call.state.sshkeys, call.number())


@route("DELETE", "/profile/sshkeys/{id}", WRITE)
def delete_key(call: Call) -> Any:
    """One public key less."""
    _pick(call.state.sshkeys, call.number())
    del call.state.sshkeys[call.number()]
    return {}


@route("GET", "/profile/tokens", READ)
def list_tokens(call: Call) -> Any:
    """The valid tokens, their beginnings only."""
    valid = [row for row in call.state.tokens.values() if row.expiry > call.state.now()]
    return Collection([_describe_token(row) for row in valid], ("label", "created"))


@route("POST", "/profile/tokens", WRITE)
def post_token(call: Call) -> Any:
    """A new token, whole in this answer only."""
    state, body = call.state, call.body
    rules.check_known(body, ("label", "scopes", "expiry"))
    label = body.get("label", "Personal Access Token")
    if not isinstance(label, str) or not 1 <= len(label) <= 100:
        raise refuse("label", "Length must be 1-100 characters")
    expiry = _check_expiry(body.get("expiry"), state.now())
    assert call.token
    token = state.add_token(label, _check_scopes(body.get("scopes"), call.token), expiry)
    state.add_event("token_create", point_at("token", token.id, label), status="notification")
    return {**_describe_token(token), "token": token.secret}


@route("GET", "/profile/tokens/{id}", READ)
def get_token(call: Call) -> Any:
    """One token, its beginning only."""
    return _describe_token(_pick(call.state.tokens, call.number()))


@route("PUT", "/profile/tokens/{id}", WRITE)
def put_token(call: Call) -> Any:
    """Its label; nothing else of it changes, ever."""
    token = _pick(call.state.tokens, call.number())
    rules.check_known(call.body, ("label",))
    token.label = call.body.get("label", token.label)
    return _describe_token(token)


@route("DELETE", "/profile/tokens/{id}", WRITE)
def delete_token(call: Call) -> Any:
    """It is worth nothing from here on."""
    _pick(call.state.tokens, call.number())
    del call.state.tokens[call.number()]
    return {}


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
        "euuid": "E1AF5EEC-526F-487D-B317EBEB34C87D71",
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
    return _pick(call.state.events, call.number())


@route("POST", "/account/events/{id}/seen", "events:read_only")
def see_event(call: Call) -> Any:
    """It, and all before it, are seen."""
    _pick(call.state.events, call.number())
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
    targets += [_pick(state.volumes, number) for number in call.body.get("volumes") or []]
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


def _pick(table: dict[Any, Any], key: Any) -> Any:
    if key not in table:
        raise rules.not_found()
    return table[key]


def _describe_token(token: Token) -> Row:
    return {
        **{"id": token.id, "label": token.label, "scopes": token.scopes, "expiry": token.expiry},
        **{"created": token.created, "token": token.secret[:16]},
    }


def _check_scopes(value: object, acting: Token) -> str:
    if value is None or value == "*":
        return acting.scopes
    if not isinstance(value, str):
        raise refuse("scopes")
    for scope in value.replace(",", " ").split():
        name, _, level = scope.partition(":")
        if name not in SCOPES or level not in ("read_only", "read_write"):
            raise refuse("scopes", f"Invalid scope {scope}")
        if not acting.allows(scope):
            raise refuse("scopes", "Scopes may not exceed those of the acting token")
    return value.replace(",", " ")


def _check_expiry(value: object, now: str) -> str:
    if value is None:
        return NEVER
    try:
        moment = datetime.strptime(str(value), "%Y-%m-%dT%H:%M:%S")
    except ValueError:
        raise refuse("expiry", "Must be of the form YYYY-MM-DDTHH:MM:SS") from None
    if moment.isoformat() <= now:
        raise refuse("expiry", "Must be in the future")
    return moment.isoformat()

"""Who the caller is, and the keys and tokens that are theirs."""

from datetime import datetime
from typing import Any

from tests.fakes.linode import rules
from tests.fakes.linode.filters import Collection
from tests.fakes.linode.routes import ANY, Call, route
from tests.fakes.linode.rules import refuse
from tests.fakes.linode.state import NEVER, Row, Token, point_at

READ, WRITE = "account:read_only", "account:read_write"
SCOPES = (
    *("account", "databases", "domains", "events", "firewall", "images", "ips", "linodes"),
    *("lke", "longview", "nodebalancers", "object_storage", "stackscripts", "volumes", "vpc"),
)
ADDS = (
    *("linodes", "volumes", "firewalls", "images", "stackscripts", "nodebalancers", "domains"),
    *("databases", "longview", "vpcs"),
)
GRANTED = (
    *("database", "domain", "firewall", "image", "linode", "longview", "nodebalancer"),
    *("stackscript", "volume", "vpc"),
)


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
    return rules.pick(call.state.sshkeys, call.number())


@route("DELETE", "/profile/sshkeys/{id}", WRITE)
def delete_key(call: Call) -> Any:
    """One public key less."""
    rules.pick(call.state.sshkeys, call.number())
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
    return _describe_token(rules.pick(call.state.tokens, call.number()))


@route("PUT", "/profile/tokens/{id}", WRITE)
def put_token(call: Call) -> Any:
    """Its label; nothing else of it changes, ever."""
    token = rules.pick(call.state.tokens, call.number())
    rules.check_known(call.body, ("label",))
    token.label = call.body.get("label", token.label)
    return _describe_token(token)


@route("DELETE", "/profile/tokens/{id}", WRITE)
def delete_token(call: Call) -> Any:
    """It is worth nothing from here on."""
    rules.pick(call.state.tokens, call.number())
    del call.state.tokens[call.number()]
    return {}


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

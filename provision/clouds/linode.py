"""Linode (Akamai): GPU nodes, block storage volumes, firewalls, and a token for the node's guard.

What the API really does, and where linode_api4 has to be kept from doing harm, is in
docs/decisions/linode.md. Labels are unique in an account: they are how a create whose answer was
lost is found again.
"""

import time
from collections.abc import Callable, Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from provision.base import (
    LABEL_PREFIX,
    CloudError,
    CloudSilent,
    Item,
    Kind,
    LabelTaken,
    NoCapacity,
    Node,
    NodeLost,
    Offer,
    Order,
    Provider,
    Request,
    fill_holes,
    is_named,
    read_run,
)
from provision.linode import bodies, items
from provision.linode.address import find_own_network
from provision.linode.catalogue import find_generation, find_image, list_offers
from provision.linode.client import Client
from provision.linode.credentials import Credentials, find_credentials

NAME = "linode"
NEEDED_SCOPES = ("linodes:read_write", "volumes:read_write", "firewall:read_write")
MINT_SCOPE = "account:read_write"
CREATE_ATTEMPTS = 4
FIRST_POLL_S, LONGEST_POLL_S = 0.2, 3.0
GONE_TIMEOUT_S = 300.0
LISTED_TIMEOUT_S = 30.0
# Nodes last: one that is made while we list is seen with what was made for it before.
PATHS: dict[Kind, str] = {
    "volume": "/volumes",
    "firewall": "/networking/firewalls",
    "token": "/profile/tokens",
    "node": "/linode/instances",
}
# What the scopes for them begin with.
AREAS: dict[Kind, str] = {
    "node": "linodes",
    "volume": "volumes",
    "firewall": "firewall",
    "token": "account",
}

Raw = dict[str, Any]


class LinodeCloud:
    """One account. What it answers about itself is asked once."""

    name = NAME
    keeps_volumes = True

    def __init__(
        self,
        client: Client,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self._clock, self._sleep = clock, sleep

    def offers(self) -> list[Offer]:
        return list_offers(self._client, self._generation)

    def account(self) -> str:
        return self._account

    def obstacles(self) -> list[str]:
        missing = [scope for scope in NEEDED_SCOPES if not self._client.may(scope)]
        if not missing:
            return []
        return [f"the token of {self._client.credentials.source} lacks {', '.join(missing)}"]

    def examine(self) -> list[str]:
        unguarded = f"without {MINT_SCOPE} a node cannot destroy itself at its deadline"
        return [*self.obstacles(), *([] if self._may_mint else [unguarded])]

    def warnings(self, order: Order) -> list[str]:
        if self._may_mint:
            return []
        return [
            f"The token lacks {MINT_SCOPE}: the node gets none of its own, and cannot destroy "
            "itself at its deadline. Only this machine and segaway sweep guard it."
        ]

    def requests(self, order: Order) -> list[Request]:
        firewall, volume = order.label("firewall"), order.label("volume")
        networks = list(order.admit) or [self._own_network]
        made = [
            _post("firewall", firewall, bodies.make_firewall(order, networks, self._may_tag)),
            *([self._token_request(order)] if self._may_mint else []),
            _post("node", order.label("node"), self._node_body(order)),
        ]
        if order.is_volume_kept:
            made.append(Request("volume", volume, f"GET {PATHS['volume']}", {"label": volume}))
        else:
            # Told by the region: a volume cannot be encrypted everywhere.
            encrypts = "Block Storage Encryption" in self._capabilities(order.offer.region)
            made.append(_post("volume", volume, bodies.make_volume(order, encrypts, self._may_tag)))
        attach = Request(None, volume, "POST /volumes/{volume}/attach", bodies.make_attachment())
        return [*made, attach]

    def renewal(self, order: Order) -> Request | None:
        return self._token_request(order) if self._may_mint else None

    def endings(self, order: Order) -> list[str]:
        paths = [f"DELETE {PATHS[kind]}/{{{kind}}}" for kind in ("node", "token", "firewall")]
        return [
            "POST /volumes/{volume}/detach",
            *paths,
            "DELETE /volumes/{volume}, unless it is kept",
        ]

    def create(self, request: Request, values: Mapping[str, str]) -> Item:
        if request.action.startswith("GET "):
            raise CloudError(
                f"The volume {request.label}, which was to be used again, is gone.",
                fix="Run again: the data is sent to a new one.",
            )
        assert request.kind
        return self._describe(
            request.kind, self._create(request, bodies.fill_body(request.body, values))
        )

    def _create(self, request: Request, body: Raw) -> Raw:
        """Send it until it is there; look for it whenever nobody knows whether it was done."""
        assert request.kind
        for attempt in range(CREATE_ATTEMPTS):
            try:
                return self._client.post(PATHS[request.kind], body)
            except NoCapacity as error:
                message = f"No {body['type']} left in {body['region']}."
                raise NoCapacity(message, error.fix) from error
            except CloudSilent as error:
                silence: CloudError = error
            except LabelTaken as error:
                if attempt == 0:
                    message = f"There is a {request.kind} {request.label} on Linode already."
                    raise LabelTaken(message, error.fix) from error
                silence = error
            self._sleep(FIRST_POLL_S * 2**attempt)
            # The answer of a token has its secret, which is told once: another one is minted.
            if request.kind != "token" and (found := self._find_raw(request.kind, request.label)):
                return found
        raise silence

    def finish(self, request: Request, values: Mapping[str, str], timeout_s: float) -> None:
        path, node = f"/volumes/{values['volume']}", int(values["node"])

        def is_attached() -> bool:
            volume = self._client.get(path)
            if volume is None or volume["linode_id"] not in (None, node):
                raise CloudError(
                    f"The volume {request.label} is gone or attached to another node.",
                    fix="segaway volumes shows where it is; segaway down RUN ends this run.",
                )
            if volume["linode_id"] is None:
                self._ask(f"{path}/attach", fill_holes(request.body, values))
            return bool(volume["linode_id"] and volume["io_ready"])

        self._wait(is_attached, timeout_s, f"The volume {request.label} was not attached")

    def wait_node(self, label: str, timeout_s: float) -> Node:
        found: list[Node] = []

        def is_running() -> bool:
            node = self.find_node(label)
            if node is None:
                raise NodeLost(f"The node {label} is gone.", fix="segaway down RUN --discard")
            found[:] = [node]
            return node.state == "running"

        try:
            self._wait(is_running, timeout_s, f"The node {label} was not running")
        except NodeLost:
            raise
        except CloudError as error:
            raise NodeLost(
                str(error), fix="segaway down RUN --discard gives it back; then run again."
            ) from error
        return found[0]

    def find(self, kind: Kind, label: str) -> Item | None:
        raw = self._find_raw(kind, label)
        return self._describe(kind, raw) if raw else None

    def find_node(self, label: str) -> Node | None:
        raw = self._find_raw("node", label)
        return self._describe_node(raw) if raw else None

    def find_all(self) -> list[Item]:
        ours = {"label": {"+contains": LABEL_PREFIX}}
        return [
            self._describe(kind, raw)
            for kind, path in PATHS.items()
            if self._client.may(f"{AREAS[kind]}:read_only")
            for raw in self._client.list(path, ours)
            if read_run(raw["label"])
        ]

    def destroy(self, kind: Kind, label: str) -> None:
        while raw := self._find_raw(kind, label):
            path = f"{PATHS[kind]}/{raw['id']}"
            if kind == "node":
                # None where the node's own guard has been faster.
                attached = self._client.get(f"{path}/volumes?page_size=500") or {"data": []}
                for volume in attached["data"]:
                    self._detach(volume["id"])
            if kind == "volume":
                self._refuse_attached(raw)
            self._client.delete(path)

            def is_gone(path: str = path) -> bool:
                return self._client.get(path) is None

            self._wait(is_gone, GONE_TIMEOUT_S, f"The {kind} {label} ({raw['id']}) is still there")

    def extend(self, order: Order) -> None:
        raw = self._find_raw("node", order.label("node"))
        if raw is None:
            return
        path = f"{PATHS['node']}/{raw['id']}"
        if self._may_tag:
            others = [tag for tag in raw["tags"] if not tag.startswith("deadline:")]
            self._client.put(path, {"tags": sorted({*others, *bodies.tag_run(order)})})
        else:
            self._client.put(path, {"label": bodies.name_node(order, may_tag=False)})

    def admit(self, order: Order) -> bool:
        """Another laptop, or this one elsewhere: its address joins those that may."""
        if order.admit or not (raw := self._find_raw("firewall", order.label("firewall"))):
            return False
        known = raw["rules"]["inbound"][0]["addresses"]
        networks = [*known.get("ipv4", []), *known.get("ipv6", [])]
        if (own := self._own_network) in networks:
            return False
        path = f"{PATHS['firewall']}/{raw['id']}/rules"
        self._client.put(path, bodies.make_rules([*networks, own]))
        return True

    def mark_volume(self, label: str, data: str) -> None:
        if not self._may_tag:
            return
        mark = f"data:{data[:16]}"
        found: list[Raw] = []

        def is_listed() -> bool:
            found[:] = [raw] if (raw := self._find_raw("volume", label)) else []
            return bool(found)

        # It is there: a list that leaves it out was changing while it was made.
        self._wait(is_listed, LISTED_TIMEOUT_S, f"The volume {label} is not listed")
        raw = found[0]
        if mark not in raw["tags"]:
            self._client.put(f"/volumes/{raw['id']}", {"tags": [*raw["tags"], mark]})

    @cached_property
    def _may_mint(self) -> bool:
        return self._client.may(MINT_SCOPE)

    @cached_property
    def _may_tag(self) -> bool:
        """Only who is not restricted may."""
        return not (self._client.get("/profile") or {}).get("restricted", True)

    @cached_property
    def _account(self) -> str:
        """An account may have several users, who see the same; not all of them may ask for it."""
        if not self._client.may("account:read_only"):
            return ""
        return str((self._client.get("/account") or {}).get("euuid", ""))

    @cached_property
    def _generation(self) -> str:
        return find_generation(self._client)

    @cached_property
    def _own_network(self) -> str:
        return find_own_network()

    @cached_property
    def _types(self) -> dict[str, Raw]:
        return {plan["id"]: plan for plan in self._client.list("/linode/types")}

    @cached_property
    def _volume_type(self) -> Raw:
        return self._client.list("/volumes/types")[0]

    @cached_property
    def _image(self) -> tuple[str, bool]:
        return find_image(self._client)

    def _capabilities(self, region: str) -> list[str]:
        return list((self._client.get(f"/regions/{region}") or {}).get("capabilities", []))

    def _token_request(self, order: Order) -> Request:
        return _post("token", order.label("token"), bodies.make_token(order))

    def _node_body(self, order: Order) -> Raw:
        image, has_driver = self._image
        api_url = self._client.credentials.url
        user_data = bodies.make_user_data(order, api_url, has_driver, self._may_mint)
        return bodies.make_node(order, image, self._generation, user_data, self._may_tag)

    def _find_raw(self, kind: Kind, label: str) -> Raw | None:
        # A node that cannot be tagged has its deadline behind its label.
        asked: Any = {"+contains": label} if kind == "node" else label
        for raw in self._client.list(PATHS[kind], {"label": asked}):
            if is_named(raw["label"], label):
                return raw
        return None

    def _describe(self, kind: Kind, raw: Raw) -> Item:
        if kind == "node":
            return self._describe_node(raw)
        if kind == "volume":
            return items.describe_volume(raw, self._volume_type)
        return items.describe_token(raw) if kind == "token" else items.describe_firewall(raw)

    def _describe_node(self, raw: Raw) -> Node:
        return items.describe_node(raw, self._types.get(raw["type"], {}), self._may_mint)

    def _detach(self, volume_id: int) -> None:
        path = f"/volumes/{volume_id}"

        def is_free() -> bool:
            volume = self._client.get(path)
            if volume is None or volume["linode_id"] is None:
                return True
            self._ask(f"{path}/detach", {})
            return False

        self._wait(is_free, GONE_TIMEOUT_S, f"The volume {volume_id} is still attached")

    def _refuse_attached(self, raw: Raw) -> None:
        """A volume that a living node has is not taken from it; of a dying one it comes free."""

        def is_free() -> bool:
            volume = self._client.get(f"/volumes/{raw['id']}")
            if volume is None or volume["linode_id"] is None:
                return True
            if self._client.get(f"{PATHS['node']}/{volume['linode_id']}") is None:
                return False
            raise CloudError(
                f"The volume {raw['label']} is attached to {volume['linode_label']}.",
                fix="segaway runs shows whose that is; segaway down ends it.",
            )

        self._wait(is_free, GONE_TIMEOUT_S, f"The volume {raw['label']} is still attached")

    def _ask(self, path: str, body: Raw) -> None:
        """Send what may be sent again; whether it was done shows in what it was to change."""
        try:
            self._client.post(path, body)
        except CloudSilent:
            pass
        except CloudError as error:
            if "already" not in str(error) and "not attached" not in str(error):
                raise

    def _wait(self, is_so: Callable[[], bool], timeout_s: float, what: str) -> None:
        limit, pause_s = self._clock() + timeout_s, FIRST_POLL_S
        while not is_so():
            if self._clock() > limit:
                raise CloudError(
                    f"{what} after {timeout_s:.0f} s.",
                    fix="Repeat the command; segaway runs --all shows it.",
                )
            self._sleep(pause_s)
            pause_s = min(1.5 * pause_s, LONGEST_POLL_S)


def open_cloud(home: Path, options: Mapping[str, Any]) -> Provider:
    """The account of the token that the environment, or linode-cli's configuration, has."""
    return _open(find_credentials())


@cache
def _open(credentials: Credentials) -> LinodeCloud:
    return LinodeCloud(Client(credentials))


def _post(kind: Kind, label: str, body: Raw) -> Request:
    return Request(kind, label, f"POST {PATHS[kind]}", body)

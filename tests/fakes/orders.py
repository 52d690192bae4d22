"""What tests order of a cloud, and how it is made without a run."""

import time
from pathlib import Path

from provision.base import Kind, Node, Offer, Order, Provider, Token
from remote.keys import ensure_key


def make_order(
    cloud: Provider, run: str, seconds: float = 600, offer: Offer | None = None
) -> Order:
    """An order for the first of the cloud's offers that can be had."""
    return Order(
        run=run,
        offer=offer or next(offer for offer in cloud.offers() if offer.available),
        volume_label=f"segaway-{run}-vol",
        volume_gib=10,
        deadline_s=time.time() + seconds,
        admit=("10.213.0.1/32",),
    )


def make_values(folder: Path) -> dict[str, str]:
    """What fills the holes of requests; the keys lie in `folder`."""
    host_key, client_key = ensure_key(folder / "host_key"), ensure_key(folder / "client_key")
    return {
        "host_key": host_key.private,
        "host_key_public": host_key.public,
        "client_key": client_key.public,
        "root_pass": "never-used",
        "token": "",
    }


def create(cloud: Provider, order: Order, folder: Path, *kinds: Kind) -> Node | None:
    """What the order asks for, or only those kinds of it; the node, which still boots."""
    node, values = None, make_values(folder)
    for request in cloud.requests(order):
        if request.kind is None:
            continue
        if kinds and request.kind not in kinds:
            found = cloud.find(request.kind, request.label)
        else:
            found = cloud.create(request, values)
        if found:
            values[request.kind] = found.id
        if isinstance(found, Token):
            values["token"] = found.secret
        node = found if isinstance(found, Node) else node
    return node

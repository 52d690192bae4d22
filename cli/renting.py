"""What a run rents, and gives back."""

import time
from pathlib import Path
from typing import Any

from cli.errors import RunError
from cli.session import Session, make_label
from provision.base import Kind, Node, NodeSpec, Provider, Volume, VolumeSpec
from provision.ledger import Resource
from remote.errors import RemoteError
from remote.keys import ensure_key, remove_key
from remote.volume import mount_volume, unmount_volume

BOOT_TIMEOUT_S = 60.0
KEYS = ("host_key", "client_key")


def volume_spec(run_id: str, made: dict[str, Any]) -> VolumeSpec:
    """The volume that a plan wants."""
    return VolumeSpec(make_label(run_id, "volume"), made["offer"]["region"], made["volume_gib"])


def node_spec(
    run_id: str, made: dict[str, Any], folder: Path, client_key: str, deadline_s: float
) -> NodeSpec:
    """The node that a plan wants."""
    return NodeSpec(
        label=make_label(run_id, "node"),
        region=made["offer"]["region"],
        plan=made["offer"]["plan"],
        volume_label=make_label(run_id, "volume"),
        host_key_path=folder / "host_key",
        client_key=client_key,
        deadline_s=deadline_s,
    )


def rent(session: Session) -> None:
    """The volume and the node, found or made; returns when the node can be used.

    Raises:
        RunError: the run's deadline has passed.
    """
    if time.time() > session.run.deadline_s:
        raise RunError(
            "The run's deadline has passed: nothing more is rented for it.",
            fix="segaway fetch RUN, where its node still answers. After segaway down RUN "
            "--discard, segaway run --resume RUN goes on from what came home, with a new deadline.",
        )
    cloud = session.cloud()
    made, folder = session.record["plan"], session.folder
    host_key, client_key = (ensure_key(folder / name) for name in KEYS)
    _ensure(session, cloud, "volume", volume_spec(session.run.id, made))
    node = node_spec(session.run.id, made, folder, client_key.public, session.run.deadline_s)
    found = _ensure(session, cloud, "node", node)
    ready = cloud.wait_node(found.id, BOOT_TIMEOUT_S)
    reach = {"host": ready.host, "port": ready.port, "user": ready.user, "root": ready.root}
    known = {**reach, "device": ready.device, "host_key": host_key.public}
    session.update("provisioned", node=known)
    if ready.device:
        with session.host() as host:
            mount_volume(host, ready.device, ready.root)


def _ensure(
    session: Session, cloud: Provider, kind: Kind, spec: VolumeSpec | NodeSpec
) -> Volume | Node:
    """The resource under its label: found, or made, and in the ledger in either case."""
    rates = session.rate
    price = rates.node_usd_per_hour if kind == "node" else rates.volume_usd_per_hour
    find = cloud.find_node if kind == "node" else cloud.find_volume
    resource = session.ledger.intend(session.run.id, kind, spec.label, price)
    found: Volume | Node | None = find(spec.label)
    if resource.state == "live" and found is None:
        # Seen gone: it reached its deadline, or the machine that it was on was started anew.
        session.ledger.mark_gone(resource)
        resource = session.ledger.intend(session.run.id, kind, spec.label, price)
    if found is None and isinstance(spec, NodeSpec):
        found = cloud.create_node(cloud.node_request(spec))
    elif found is None and isinstance(spec, VolumeSpec):
        found = cloud.create_volume(cloud.volume_request(spec))
    assert found is not None  # created, where it was not found
    session.ledger.confirm(resource, found.id)
    return found


def give_back(session: Session) -> None:
    """Everything that the run rented is destroyed, and seen gone; its keys are forgotten.

    Raises:
        RunError: something is still there.
    """
    cloud = session.cloud()
    _release_volume(session)
    # The node first: a volume cannot go while it is attached.
    for resource in reversed(session.ledger.live_resources(session.run.id)):
        _destroy(session, cloud, resource)
    for name in KEYS:
        remove_key(session.folder / name)


def _release_volume(session: Session) -> None:
    """Unmount it, where its node still answers: what was written last is then on it."""
    node = session.record.get("node")
    if not node or not node.get("device"):
        return
    try:
        with session.host() as host:
            unmount_volume(host, node["root"])
    except RemoteError as error:
        # The node goes all the same; a file system with a journal survives that.
        session.console.say(f"The volume was not unmounted: {error}")


def _destroy(session: Session, cloud: Provider, resource: Resource) -> None:
    find = cloud.find_node if resource.kind == "node" else cloud.find_volume
    # Also where a node counts as gone: its remains may hold the label.
    cloud.destroy(resource.kind, resource.cloud_id or resource.label)
    if find(resource.label) is not None:
        raise RunError(
            f"The {resource.kind} {resource.label} is still there after it was destroyed.",
            fix=f"segaway down {session.run.id} --discard tries again.",
        )
    session.ledger.mark_gone(resource)

"""What a run rents, and gives back."""

import math
import secrets
import time
from collections.abc import Mapping
from dataclasses import replace

from cli.budget import recap_deadline
from cli.errors import RunError
from cli.machine import make_ready, release_node
from cli.orders import make_order
from cli.session import Session
from provision.base import (
    DESTROY_ORDER,
    Item,
    Kind,
    LabelTaken,
    NoCapacity,
    Node,
    Provider,
    Refused,
    Request,
    Token,
    Volume,
)
from provision.ledger import Resource
from provision.plan import TEARDOWN_S, Choice, read_choice
from remote.keys import ensure_key, remove_key

KEYS = ("host_key", "client_key")
ROOT_PASS_BYTES = 24


def rent(session: Session) -> None:
    """All that the run needs, found or made; returns when its node can be used.

    Where nothing is left of an offer, the plan's next one is taken.

    Raises:
        RunError: the run's deadline has passed.
        HostKeyRefused, NotReady: as `make_ready`.
        NoCapacity: nothing is left of any offer of the plan.
    """
    _refuse_past_deadline(session)
    cloud = session.cloud()
    _refuse_taken(session, cloud)
    while True:
        try:
            values = _make_all(session, cloud)
            break
        except NoCapacity as error:
            _take_next_offer(session, cloud, error)
    minutes = session.settings.boot_minutes
    for request in session.record["requests"]:
        if request["kind"] is None:
            cloud.finish(Request(**request), values, minutes * 60)
    node = cloud.wait_node(session.label("node"), minutes * 60)
    volume = cloud.find("volume", session.volume["label"])
    if isinstance(volume, Volume) and not node.device:
        node = replace(node, device=volume.path)
    _remember_node(session, node)
    make_ready(session, node)


def _refuse_past_deadline(session: Session) -> None:
    if time.time() > session.run.deadline_s:
        raise RunError(
            "The run's deadline has passed: nothing more is rented for it.",
            fix="segaway extend RUN --hours H, then segaway run --resume RUN, goes on from its "
            "last checkpoint; segaway down RUN --discard ends it.",
        )


def _make_all(session: Session, cloud: Provider) -> dict[str, str]:
    """Each resource of the run; the values that stand for them in requests."""
    keys = {name: ensure_key(session.folder / name) for name in KEYS}
    values = {
        "host_key": keys["host_key"].private,
        "host_key_public": keys["host_key"].public,
        "client_key": keys["client_key"].public,
        # Some accounts want one; nobody is ever to log in with it.
        "root_pass": secrets.token_urlsafe(ROOT_PASS_BYTES),
        "token": "",
    }
    has_node = cloud.find("node", session.label("node")) is not None
    if has_node:
        # Who goes on with a run may be elsewhere by now.
        cloud.admit(make_order(session))
    elif _had_node(session):
        mark_lost(session, session.label("node"))
        # It begins a new hour: what is left of the budget may end before the run's deadline.
        session.extend(recap_deadline(session))
        write_requests(session, cloud)
    if "requests" not in session.record:
        write_requests(session, cloud)
    for request in (Request(**request) for request in session.record["requests"]):
        if request.kind == "token" and has_node:
            continue  # its node has it
        if request.kind:
            made = _ensure(session, cloud, request, request.kind, values)
            values[request.kind] = made.id
            if isinstance(made, Token):
                values["token"] = made.secret
    return values


def _had_node(session: Session) -> bool:
    """Also one that a process died over: it may have been made, have billed, and be gone."""
    resources = session.ledger.resources(session.run.id)
    return any(r.kind == "node" and (r.cloud_id or r.usd_per_hour) for r in resources)


def mark_lost(session: Session, label: str) -> None:
    """It reached its deadline, or its machine was started anew, or it never came to be.

    Nobody may have looked for days: a node that guards itself has not billed for all of them.
    """
    ended_s = session.run.deadline_s + TEARDOWN_S if session.guard else math.inf
    for resource in session.ledger.live_resources(session.run.id):
        if resource.label == label:
            session.ledger.mark_gone(resource, max(ended_s, resource.intended_s))


def write_requests(session: Session, cloud: Provider) -> None:
    """Write down what the cloud will be sent, as things are now."""
    made = [vars(request) for request in cloud.requests(make_order(session))]
    session.update(requests=made)


def _take_next_offer(session: Session, cloud: Provider, error: NoCapacity) -> None:
    """The plan's next offer becomes its first. What was made already stays, where it can be used.

    Raises:
        NoCapacity: there is none.
    """
    fallbacks = [read_choice(made) for made in session.record.get("fallbacks", [])]
    # A volume stays in its region: nothing that has been made is destroyed for another offer.
    there = cloud.find("volume", session.volume["label"])
    usable = [c for c in fallbacks if there is None or c.offer.region == there.region]
    if not usable:
        raise NoCapacity(f"{error}", fix=_describe_choices(session, there)) from error
    choice = usable[0]
    session.console.say(f"{error} Trying {choice.offer.plan} in {choice.offer.region}.")
    session.update(plan=choice.as_json(), fallbacks=[c.as_json() for c in usable[1:]])
    session.extend(recap_deadline(session))
    write_requests(session, cloud)


def _describe_choices(session: Session, volume: Item | None) -> str:
    if volume is not None and session.volume["kept"]:
        return (
            f"Try again later, or with --move-data: the data is on the volume {volume.label} in "
            f"{volume.region}, and would be sent again to another one."
        )
    return "segaway offers shows what there is; --region any --plan any takes whatever is left."


def _ensure(
    session: Session, cloud: Provider, request: Request, kind: Kind, values: Mapping[str, str]
) -> Item:
    """The resource under its label: found, or made, and in the ledger in either case."""
    price = _price(read_choice(session.record["plan"]), kind)
    found = cloud.find(kind, request.label)
    if found is None:
        mark_lost(session, request.label)
    _refuse_foreign(session, request.label, found)
    resource = session.ledger.intend(session.run.id, kind, request.label, price)
    if resource.run != session.run.id:
        raise RunError(
            f"The run {resource.run} has the {kind} {resource.label}.",
            fix=f"segaway down {resource.run} first, or run again: another one is found or made.",
        )
    if found and kind == "token":
        # Its secret was told once, to a process that is no more.
        cloud.destroy(kind, request.label)
        found = None
    if found is None:
        try:
            found = cloud.create(request, values)
        except (NoCapacity, Refused):
            session.ledger.void(resource)
            raise
    session.ledger.confirm(resource, found.id)
    return found


def _refuse_foreign(session: Session, label: str, found: Item | None) -> None:
    """What is there and not in the record was made elsewhere: by the same plan, say."""
    if found is None:
        return
    is_kept = found.kind == "volume" and session.volume["kept"]
    if not is_kept and not session.ledger.find_resources(label):
        raise LabelTaken(
            f"There is a {found.kind} {found.label} already, and it was not made by this machine.",
            fix="Where the run is another machine's, go on with it there; else run again.",
        )
    if isinstance(found, Volume) and found.node:
        node = session.cloud().find("node", session.label("node"))
        if node is None or node.id != found.node:
            raise RunError(
                f"The volume {found.label} is attached to another node.",
                fix="Run again: a volume of its own is made, or another free one is found.",
            )


def _refuse_taken(session: Session, cloud: Provider) -> None:
    """A kept volume may be gone or in use since it was chosen: a node is not to be paid for it."""
    if not session.volume["kept"]:
        return
    found = cloud.find("volume", session.volume["label"])
    if found is None:
        raise RunError(
            f"The volume {session.volume['label']}, which was to be used again, is gone.",
            fix="Run again: the data is sent to a new one.",
        )
    _refuse_foreign(session, found.label, found)


def _price(choice: Choice, kind: Kind) -> float:
    prices = {"node": choice.rate.node_usd_per_hour, "volume": choice.rate.volume_usd_per_hour}
    return prices.get(kind, 0.0)


def _remember_node(session: Session, node: Node) -> None:
    host_key = ensure_key(session.folder / "host_key").public
    reach = {"host": node.host, "port": node.port, "user": node.user, "root": node.root}
    known = {**reach, "device": node.device, "guard": node.guard, "host_key": host_key}
    session.update("provisioned", node={**known, "is_ready": False})


def give_back(session: Session, keep_volume: bool = False) -> None:
    """Everything that the run rented is destroyed, and seen gone; its keys are forgotten.

    The volume stays where `keep_volume` says so.

    Raises:
        RunError: something is still there.
    """
    cloud = session.cloud()
    release_node(session, keep_volume)
    left = session.ledger.live_resources(session.run.id)
    for kind in DESTROY_ORDER:
        for resource in left:
            if resource.kind != kind:
                continue
            if kind == "volume" and keep_volume:
                # Also where it is not listed just now: it is not to be destroyed for that.
                session.ledger.mark_kept(resource)
                _announce_kept(session, cloud.find(kind, resource.label))
            else:
                _destroy(session, cloud, resource)
    for name in KEYS:
        remove_key(session.folder / name)


def _announce_kept(session: Session, volume: Item | None) -> None:
    if not isinstance(volume, Volume):
        return
    usd = volume.usd_per_month
    price = "an unknown price" if usd is None else f"{usd:.2f} USD"
    session.console.say(
        f"The volume {volume.label} stays, with the dataset on it, for {price} per month; "
        f"segaway volumes rm {volume.label} --on {session.run.cloud} ends that."
    )


def _destroy(session: Session, cloud: Provider, resource: Resource) -> None:
    # Also where a node counts as gone: its remains may hold the label.
    cloud.destroy(resource.kind, resource.label)
    if cloud.find(resource.kind, resource.label) is not None:
        raise RunError(
            f"The {resource.kind} {resource.label} is still there after it was destroyed.",
            fix=f"segaway down {session.run.id} --discard tries again.",
        )
    session.ledger.mark_gone(resource)

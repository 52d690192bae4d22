"""The node, wherever it is now: its address may change while a run lasts."""

import time
from collections.abc import Callable, Generator

from cli.orders import make_order
from cli.reach import remember_reach
from cli.session import Session
from provision.base import CloudError, NodeLost
from remote.errors import Unreachable
from remote.follow import Chunk, Reconnecting, follow_job
from remote.host import Host
from remote.job import JobStatus

PATIENCE_S = 600.0


def connect(session: Session) -> Host:
    """The run's node, connected; found anew through its cloud where its old address is silent.

    Raises:
        Unreachable: it does not answer.
        NodeLost: its cloud does not know it any more.
        RunError: the run has no node.
    """
    host = session.host()
    try:
        host.connect()
    except Unreachable:
        if not locate_node(session, host):
            raise
        host.connect()
    return host


def follow_run(
    session: Session,
    host: Host,
    offsets: dict[str, int],
    tell: Callable[[Reconnecting], None],
    *others: Host,
) -> Generator[Chunk | JobStatus]:
    """What the run's job writes from `offsets` on, and at the end its status.

    A link that breaks is told, and made anew until the run's deadline: until then the training goes
    on. A node that has moved is found again, by `others` too.

    Raises:
        NodeLost: the node is gone.
        Unreachable: it was silent until then.
    """
    patience_s = max(PATIENCE_S, session.run.deadline_s - time.time())
    for item in follow_job(host, session.root, session.run_path, offsets, patience_s):
        if isinstance(item, Reconnecting):
            tell(item)
            locate_node(session, host, *others)
        else:
            yield item


def locate_node(session: Session, *hosts: Host) -> bool:
    """Whether the node may answer now: it has another address, or lets this one in.

    The record and `hosts` know the address then.

    Raises:
        NodeLost: its cloud does not know it any more.
    """
    label = session.label("node")
    try:
        cloud = session.cloud()
        node = cloud.find_node(label)
        # This laptop may be elsewhere, or be another one: the firewall knows the first's address.
        moved = cloud.admit(make_order(session))
    except CloudError:
        return False  # this machine may be offline, cloud and all: nothing is known
    if node is None:
        raise NodeLost(
            f"The node {label} is gone. What came home until then is in {session.results}.",
            fix="segaway run --resume RUN goes on from the last checkpoint, on a new node; "
            "segaway down RUN --discard ends the run.",
        )
    session.refresh()
    known = session.record["node"]
    now = {"host": node.host or known["host"], "port": node.port or known["port"]}
    if now != {key: known[key] for key in now}:
        moved = True
        session.update(node={**known, **now})
        remember_reach(session)
    for host in hosts:
        if host.address != session.address():
            host.move(session.address())
            moved = True
    return moved

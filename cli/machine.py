"""The node as a machine: until it is ready, its volume, and the guard that it carries."""

import contextlib
import shlex
import time
from collections.abc import Callable

from cli.contact import connect
from cli.session import Session
from provision.base import Node, NodeLost
from remote import shell
from remote.errors import NotReady, RemoteError, Unreachable
from remote.host import Host
from remote.volume import mount_volume, unmount_volume

POLL_S = 1.0
CHECK_TIMEOUT_S = 60.0
INSTALL_LOG = "/var/log/cloud-init-output.log"


def make_ready(session: Session, node: Node) -> None:
    """Returns when the node answers, passes its checks, and has its volume mounted.

    Raises:
        HostKeyRefused: another machine answers there; nothing was sent to it.
        NotReady: it did not come so far in time.
    """
    if not node.checks and not node.device:
        return
    limit = time.monotonic() + session.settings.boot_minutes * 60
    with session.host() as host:
        _wait_connected(host, limit)
        for check in node.checks:
            _wait_check(host, check, limit)
        if node.device:
            mount_volume(host, node.device, node.root)
    session.update(node={**session.record["node"], "is_ready": True})


def _wait_connected(host: Host, limit: float) -> None:
    while True:
        try:
            return host.connect()
        except Unreachable as error:
            if time.monotonic() > limit:
                raise NotReady(
                    f"The node {host.address} does not answer SSH: {error}",
                    fix="Give it more time with --boot-minutes; segaway doctor checks this "
                    "machine, and --ssh-from says which networks may reach the node.",
                ) from error
            time.sleep(POLL_S)


def _wait_check(host: Host, check: str, limit: float) -> None:
    """Poll until the command succeeds: what cloud-init installs takes minutes."""
    while (result := host.run(["sh", "-c", check], timeout_s=CHECK_TIMEOUT_S)).code:
        if time.monotonic() > limit:
            last = host.run(["tail", "-n", "3", INSTALL_LOG]).stdout.decode(errors="replace")
            raise NotReady(
                f"The node {host.address} is not ready: {check} ends with {result.code}: "
                f"{result.last_words} Its installation said last: {last.strip()}",
                fix="Give it more time with --boot-minutes, or take another --plan or --region.",
            )
        time.sleep(POLL_S)


def release_node(session: Session, keeps_volume: bool) -> None:
    """Unmount the volume, where its node still answers: what was written last is then on it.

    From one that is kept, what the run left there goes: it is at home, or was given up.
    """
    node = session.record.get("node")
    if not node or not node.get("device") or not node.get("is_ready", True):
        return
    try:
        with connect(session) as host:
            if keeps_volume:
                host.run(shell.remove_folders(session.run_path, shell.job_path(session.run_path)))
            unmount_volume(host, node["root"])
    except (RemoteError, NodeLost) as error:
        # The node goes all the same; a file system with a journal survives that.
        session.console.say(f"The volume was not unmounted: {error}")


def tell_fetched(session: Session, host: Host) -> None:
    """Let the node's guard know that the results are home: it need not wait for anybody."""
    if guard := session.guard:
        with contextlib.suppress(Unreachable):
            host.run([*shlex.split(guard), "fetched"])


def move_guard(
    session: Session, host: Host, deadline_s: float, token: str, say: Callable[[str], None]
) -> None:
    """Move the deadline that the node itself keeps, and give its guard a token until then."""
    if guard := session.guard:
        host.check([*shlex.split(guard), "extend", repr(deadline_s)], f"{token}\n".encode())
        say("The node's own guard knows the new deadline.")

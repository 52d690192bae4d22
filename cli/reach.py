"""How OpenSSH's own client, and all that uses it, reaches the nodes of open runs.

What it needs is made from the runs' records when it is asked for, and forgotten with the node.
"""

import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock

from cli.console import Console
from cli.errors import RunError
from cli.session import LEDGER, Session, open_ledger
from remote import openssh
from remote.openssh import Target

KNOWN_HOSTS = "known_hosts"
CONFIG = "ssh_config"
COMMENT = "The nodes of open runs; segaway ssh-config writes it anew, down takes a run out."


def find_target(session: Session) -> Target:
    """The run's node, under the run's id.

    Raises:
        RunError: the run is down, or has no node.
    """
    if not session.run.is_open:
        raise RunError(f"The run {session.run.id} is down.", fix="segaway run DATASET")
    address = session.address()
    return Target(session.run.id, address, session.folder / KNOWN_HOSTS)


def write_known_hosts(session: Session) -> Path:
    """The file by which ssh knows the run's node, from the run's record."""
    target = find_target(session)
    line = openssh.known_hosts_line(target.alias, target.address.host_key)
    write_file(target.known_hosts, line.encode(), 0o600)
    return target.known_hosts


def remember_reach(session: Session) -> None:
    """Take a node that is new into the config that `segaway ssh-config --install` wrote, if it did.

    For the end of `flow.provision`.
    """
    if (session.home / CONFIG).exists():
        write_config(session.home)


def forget_reach(session: Session) -> None:
    """Take the run, which is down by now, out of what ssh knows. Safe to repeat.

    For the end of `flow.teardown`.
    """
    (session.folder / KNOWN_HOSTS).unlink(missing_ok=True)
    if (session.home / CONFIG).exists():
        write_config(session.home)


def list_reachable(home: Path) -> list[Session]:
    """The open runs that have a node."""
    if not (home / LEDGER).exists():
        return []
    with open_ledger(home) as ledger:
        sessions = [Session(home, ledger, run, Console()) for run in ledger.runs()]
    return [s for s in sessions if s.run.is_open and s.record.get("node")]


def make_config(sessions: Sequence[Session]) -> str:
    """The config that knows each of these runs by its id."""
    targets = [find_target(session) for session in sessions]
    blocks = [openssh.host_block(t, [t.alias, f"segaway-{t.alias}"]) for t in targets]
    return openssh.config_text(blocks, COMMENT)


def write_config(home: Path) -> None:
    """The config of all nodes of open runs, as a file of ours."""
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Read and written by one at a time: a run that has just come must not be lost to another's end.
    with FileLock(home / f"{CONFIG}.lock"):
        sessions = list_reachable(home)
        for session in sessions:
            write_known_hosts(session)
        write_file(home / CONFIG, make_config(sessions).encode(), 0o600)


def write_file(path: Path, content: bytes, mode: int) -> None:
    """Write a file whole or not at all; its folder must exist."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(fd, "wb") as writer:
            os.fchmod(fd, mode)
            writer.write(content)
            writer.flush()
            os.fsync(fd)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise

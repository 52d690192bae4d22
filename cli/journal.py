"""The trainer's log, printed."""

import sys

from cli.console import Console
from cli.contact import connect, follow_run
from cli.errors import ConfigError, RunError
from cli.launch import preview_steps
from cli.live import View
from cli.session import Session, open_session
from provision.base import ProvisionError
from remote.errors import RemoteError
from remote.job import JobStatus

LOG = "log.txt"


def show_log(run_id: str | None, dry_run: bool, as_json: bool) -> None:
    """The log as it is now: the node's where it answers, else the copy that came home."""
    console = Console(as_json)
    if dry_run:
        return preview_steps(run_id, console, ("logs",))
    with open_session(run_id, console) as session:
        content = _read_log(session)
        console.answer({"run": session.run.id, "log": content.decode(errors="replace")})
        if not as_json:
            sys.stdout.buffer.write(content)
    return None


def follow_log(run_id: str | None, dry_run: bool, as_json: bool) -> None:
    """The log from its beginning on, byte for byte, until the training has ended.

    Raises:
        ConfigError: a log without an end has no JSON value.
    """
    if as_json:
        raise ConfigError("A log that is followed has no JSON value.", fix="Leave out --json.")
    if dry_run:
        return preview_steps(run_id, Console(as_json), ("logs",))
    console = Console(as_json=True)  # whose words go to stderr: stdout is the log's alone
    with open_session(run_id, console) as session:
        if not session.run.is_open:
            sys.stdout.buffer.write(_read_log(session))
            return None
        status = _print_log(session)
        console.say(f"The training is {status.state}. {status.message}".strip())
    return None


def _print_log(session: Session) -> JobStatus:
    with session.host() as host:
        tell = View(session.console, session.usd).reconnecting
        for item in follow_run(session, host, {LOG: 0}, tell):
            if isinstance(item, JobStatus):
                return item
            sys.stdout.buffer.write(item.content)
            sys.stdout.buffer.flush()
    raise AssertionError  # a follower ends with the job's status, or raises


def _read_log(session: Session) -> bytes:
    local = session.results / LOG
    try:
        with connect(session) as host:
            return host.check(["cat", f"{session.run_path}/{LOG}"])
    except (RemoteError, RunError, ProvisionError) as error:
        if not local.exists():
            raise RunError(
                f"There is no log of {session.run.id} yet: {error}", fix="segaway train RUN"
            ) from error
        return local.read_bytes()

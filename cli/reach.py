"""How OpenSSH's own client, and all that uses it, reaches the nodes of open runs.

What it needs is made from the runs' records when it is asked for, and forgotten with the node.
"""

import os
import secrets
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from cli.config import find_home
from cli.console import Console
from cli.errors import CliError, ConfigError, RunError
from cli.session import LEDGER, Session, open_ledger, open_session
from remote import openssh
from remote.openssh import Target

KNOWN_HOSTS = "known_hosts"
CONFIG = "ssh_config"
COMMENT = "The nodes of open runs; segaway ssh-config writes it anew, down takes a run out."
NO_SSH = "OpenSSH's client, ssh, is not installed on this machine."
NO_SSH_FIX = "sudo apt-get install openssh-client"


def open_shell(run_id: str | None, command: Sequence[str], dry_run: bool, as_json: bool) -> int:
    """A shell on the run's node, or a command there; the exit status with `as_json`.

    Without `as_json` this process becomes ssh, and does not return.

    Raises:
        CliError: ssh is not installed; there is no such run; it is down, or has no node.
    """
    console = Console(as_json)
    if as_json and not command and not dry_run:
        raise ConfigError(
            "A shell has no JSON value.", fix="Give a command: segaway ssh RUN --json -- COMMAND"
        )
    with open_session(run_id, console) as session:
        target = find_target(session)
        argv = openssh.ssh_argv(target, join_command(command))
        if not dry_run:
            write_known_hosts(session)
    if dry_run:
        import shlex

        console.say(f"$ {shlex.join(argv)}")
        console.answer({"run": session.run.id, "argv": argv})
        return 0
    if not as_json:
        _become(argv)
    return _answer_command(session.run.id, argv, console)


def join_command(words: Sequence[str]) -> str | None:
    """One word is a line for the node's shell; several arrive there as they are."""
    import shlex

    if not words:
        return None
    return words[0] if len(words) == 1 else shlex.join(words)


def find_target(session: Session) -> Target:
    """The run's node, under the run's id.

    Raises:
        RunError: the run is down, or has no node.
    """
    if not session.run.is_open:
        raise RunError(f"The run {session.run.id} is down.", fix="segaway run DATASET")
    address = session.host().address
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
        write_config(session.home, _list_reachable(session.home))


def forget_reach(session: Session) -> None:
    """Take the run's node out of what ssh knows. Safe to repeat.

    For `flow.teardown`, where the run's keys go.
    """
    (session.folder / KNOWN_HOSTS).unlink(missing_ok=True)
    if (session.home / CONFIG).exists():
        left = [s for s in _list_reachable(session.home) if s.run.id != session.run.id]
        write_config(session.home, left)


def show_config(install: bool, dry_run: bool, as_json: bool) -> None:
    """The ssh config of all nodes of open runs; with `install`, where ssh reads it.

    Raises:
        CliError: a file of the user's cannot be read or written.
    """
    console, home = Console(as_json), find_home()
    sessions = _list_reachable(home)
    text, target = make_config(sessions), _user_config()
    answer: dict[str, Any] = {"runs": [s.run.id for s in sessions], "config": text}
    if dry_run:
        does = _describe_files(home, sessions, target if install else None)
        console.answer({**answer, "installed": None, "steps": [{"step": "write", "does": does}]})
        for line in does:
            console.say(f"Dry run: would {line}")
        return
    for session in sessions:
        write_known_hosts(session)
    if install:
        write_config(home, sessions)
        install_include(target, home / CONFIG)
        console.say(f"{len(sessions)} nodes in {home / CONFIG}, which {target} includes.")
    elif not as_json:
        print(text, end="")
    console.answer({**answer, "installed": str(target) if install else None})


def make_config(sessions: Sequence[Session]) -> str:
    """The config that knows each of these runs by its id."""
    targets = [find_target(session) for session in sessions]
    blocks = [openssh.host_block(t, [t.alias, f"segaway-{t.alias}"]) for t in targets]
    return openssh.config_text(blocks, COMMENT)


def write_config(home: Path, sessions: Sequence[Session]) -> None:
    """The same as a file of ours."""
    for session in sessions:
        write_known_hosts(session)
    write_file(home / CONFIG, make_config(sessions).encode(), 0o600)


def install_include(config: Path, included: Path) -> None:
    """Make the user's ssh config take in ours, first of all; the rest of it stays as it is."""
    line = openssh.include_line(included).encode()
    try:
        config.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Through a link to where the config is really kept: a link is not to become a file.
        path = config.resolve()
        content = path.read_bytes() if path.exists() else b""
        if not _has_line(content, line):
            mode = path.stat().st_mode & 0o777 if path.exists() else 0o600
            write_file(path, line + b"\n" + content, mode)
    except (OSError, RuntimeError) as error:
        raise CliError(
            f"{config} cannot be changed: {error}.",
            fix=f"Put this line at its top yourself: {line.decode()}",
        ) from error


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


def _has_line(content: bytes, line: bytes) -> bool:
    """Whether the line holds for all hosts: it stands before the first of them."""
    for found in content.splitlines():
        if found.strip() == line:
            return True
        if found.strip().lower().startswith((b"host ", b"match ")):
            return False
    return False


def _list_reachable(home: Path) -> list[Session]:
    if not (home / LEDGER).exists():
        return []
    with open_ledger(home) as ledger:
        sessions = [Session(home, ledger, run, Console()) for run in ledger.runs()]
    return [s for s in sessions if s.run.is_open and s.record.get("node")]


def _user_config() -> Path:
    return Path.home() / ".ssh" / "config"


def _describe_files(home: Path, sessions: Sequence[Session], config: Path | None) -> list[str]:
    lines = [f"write {find_target(session).known_hosts}" for session in sessions]
    if config:
        lines.append(f"write {home / CONFIG}")
        lines.append(f"put at the top of {config}: {openssh.include_line(home / CONFIG)}")
    return lines


def _become(argv: list[str]) -> NoReturn:
    try:
        os.execvp(argv[0], argv)
    except FileNotFoundError:
        raise CliError(NO_SSH, fix=NO_SSH_FIX) from None


def _answer_command(run_id: str, argv: list[str], console: Console) -> int:
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    except FileNotFoundError:
        raise CliError(NO_SSH, fix=NO_SSH_FIX) from None
    texts = {
        "stdout": done.stdout.decode(errors="replace"),
        "stderr": done.stderr.decode(errors="replace"),
    }
    console.answer({"run": run_id, "argv": argv, "exit_code": done.returncode, **texts})
    return done.returncode

"""`segaway ssh`: OpenSSH's own client on a run's node."""

import os
import shlex
import subprocess
from collections.abc import Sequence
from typing import NoReturn

from cli.console import Console
from cli.errors import CliError, ConfigError
from cli.reach import find_target, write_known_hosts
from cli.session import open_session
from remote.openssh import ssh_argv

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
        argv = ssh_argv(find_target(session), join_command(command))
        if not dry_run:
            write_known_hosts(session)
    if dry_run:
        console.say(f"Dry run: $ {shlex.join(argv)}")
        console.answer({"run": session.run.id, "argv": argv})
        return 0
    if not as_json:
        _become(argv)
    return _answer_command(session.run.id, argv, console)


def join_command(words: Sequence[str]) -> str | None:
    """One word is a line for the node's shell; several arrive there as they are."""
    if not words:
        return None
    return words[0] if len(words) == 1 else shlex.join(words)


def _become(argv: list[str]) -> NoReturn:
    try:
        os.execvp(argv[0], argv)
    except FileNotFoundError:
        raise CliError(NO_SSH, fix=NO_SSH_FIX) from None


def _answer_command(run_id: str, argv: list[str], console: Console) -> int:
    try:
        done = subprocess.run(argv, capture_output=True, check=False)
    except FileNotFoundError:
        raise CliError(NO_SSH, fix=NO_SSH_FIX) from None
    texts = {
        "stdout": done.stdout.decode(errors="replace"),
        "stderr": done.stderr.decode(errors="replace"),
    }
    console.answer({"run": run_id, "argv": argv, "exit_code": done.returncode, **texts})
    return done.returncode

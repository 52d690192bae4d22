"""`segaway ssh-config`: every tool that uses ssh reaches the nodes by their runs' ids."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cli.config import find_home
from cli.console import Console
from cli.errors import CliError
from cli.reach import (
    CONFIG,
    find_target,
    list_reachable,
    make_config,
    write_config,
    write_file,
    write_known_hosts,
)
from cli.session import Session
from remote.openssh import include_line


def show_config(install: bool, dry_run: bool, as_json: bool) -> None:
    """The ssh config of all nodes of open runs; with `install`, where ssh reads it.

    Raises:
        CliError: a file of the user's cannot be read or written.
    """
    console, home = Console(as_json), find_home()
    sessions, target = list_reachable(home), Path.home() / ".ssh" / "config"
    text = make_config(sessions)
    answer: dict[str, Any] = {"runs": [s.run.id for s in sessions], "config": text}
    if dry_run:
        does = _describe_files(home, sessions, target if install else None)
        console.answer({**answer, "installed": None, "steps": [{"step": "write", "does": does}]})
        for line in does or ["write nothing: no run has a node"]:
            console.say(f"Dry run: would {line}")
        return
    for session in sessions:
        write_known_hosts(session)
    if install:
        write_config(home)
        install_include(target, home / CONFIG)
        nodes = "1 node" if len(sessions) == 1 else f"{len(sessions)} nodes"
        console.say(f"{nodes} in {home / CONFIG}, which {target} includes.")
    elif not as_json:
        print(text, end="")
    console.answer({**answer, "installed": str(target) if install else None})


def install_include(config: Path, included: Path) -> None:
    """Make the user's ssh config take in ours, first of all; the rest of it stays as it is.

    Raises:
        CliError: it cannot be read or written.
    """
    line = include_line(included).encode()
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


def _has_line(content: bytes, line: bytes) -> bool:
    """Whether the line holds for all hosts: it stands before the first of them."""
    for found in map(bytes.strip, content.splitlines()):
        if found == line:
            return True
        if re.match(rb"(host|match)[\s=]", found, re.IGNORECASE):
            return False
    return False


def _describe_files(home: Path, sessions: Sequence[Session], config: Path | None) -> list[str]:
    lines = [f"write {find_target(session).known_hosts}" for session in sessions]
    if config:
        lines.append(f"write {home / CONFIG}")
        lines.append(f"put at the top of {config}: {include_line(home / CONFIG)}")
    return lines

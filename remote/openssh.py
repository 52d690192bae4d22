"""What OpenSSH's own client is told: pure builders of its command, its config and known_hosts."""

import glob
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from remote.host import Address

PROGRAM = "ssh"
ALIVE_S = 15
ALIVE_TRIES = 4


@dataclass(frozen=True)
class Target:
    """A machine under a name of ours: `alias` stands for its host key, whatever its address."""

    alias: str
    address: Address
    known_hosts: Path


def known_hosts_line(alias: str, host_key: str) -> str:
    """The one line that says which key the machine called `alias` has."""
    kind, blob = host_key.split()[:2]
    return f"{alias} {kind} {blob}\n"


def ssh_argv(target: Target, line: str | None = None) -> list[str]:
    """OpenSSH's command: a shell there, or `line` for the shell there to run.

    It reads no configuration of the user's or the system's, and asks for nothing.
    """
    flags = [part for key, value in _settings(target) for part in ("-o", f"{key}={value}")]
    # After the -- nothing is taken for a flag of ssh's own.
    return [PROGRAM, "-F", "none", *flags, "--", target.alias, *([] if line is None else [line])]


def host_block(target: Target, names: Sequence[str]) -> str:
    """The block of an ssh config by which every tool that uses ssh reaches the machine."""
    lines = [f"  {key} {value}" for key, value in _settings(target)]
    return "\n".join([f"Host {' '.join(names)}", *lines]) + "\n"


def config_text(blocks: Iterable[str], comment: str) -> str:
    """A whole ssh config."""
    return "\n".join([f"# {comment}\n", *blocks])


def include_line(path: Path) -> str:
    """The line by which another ssh config takes in the one at `path`."""
    # The line takes patterns: a bracket in a folder's name is to be no more than that.
    pattern = glob.escape(str(path).replace("\\", "\\\\"))
    return f"Include {_quote(pattern)}"


def _settings(target: Target) -> list[tuple[str, str]]:
    address = target.address
    return [
        ("HostName", address.host),
        ("Port", str(address.port)),
        ("User", address.user),
        ("IdentityFile", _escape(address.key_path)),
        ("IdentitiesOnly", "yes"),
        ("IdentityAgent", "none"),
        ("HostKeyAlias", target.alias),
        ("UserKnownHostsFile", _escape(target.known_hosts)),
        ("GlobalKnownHostsFile", "/dev/null"),
        ("StrictHostKeyChecking", "yes"),
        # It would write into our file what it is not asked for.
        ("UpdateHostKeys", "no"),
        ("BatchMode", "yes"),
        ("ServerAliveInterval", str(ALIVE_S)),
        ("ServerAliveCountMax", str(ALIVE_TRIES)),
    ]


def _escape(path: Path) -> str:
    """A path where ssh would put something else in a % sign's place."""
    return _quote(str(path).replace("%", "%%"))


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"' if any(sign in escaped for sign in " \t'#\\") else escaped

"""What a laptop needs, checked one by one."""

import importlib.util
import os
import shutil
import socket
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import packages_distributions

from cli.config import find_home, load_settings
from cli.console import Console, format_size
from cli.errors import CliError

OURS = ("cli", "provision", "remote", "train")
ROOM_BYTES = 5 * 2**30


@dataclass(frozen=True)
class Check:
    """One thing looked at; `fix` is empty where it is well."""

    name: str
    found: str
    fix: str = ""
    needed: bool = True


def examine(console: Console, dry_run: bool) -> None:
    """Look at everything; fails when something that every run needs is missing."""
    if dry_run:
        console.say("Would look at this machine; nothing is changed either way.")
        console.answer([])
        return
    checks = [look() for look in CHECKS]
    missing = [check for check in checks if check.fix and check.needed]
    if missing and console.as_json:
        # The one JSON value is the failure's.
        raise CliError(f"{missing[0].name}: {missing[0].found}.", fix=missing[0].fix)
    console.answer([asdict(check) for check in checks])
    for check in checks:
        mark = "ok     " if not check.fix else "missing" if check.needed else "note   "
        console.say(
            f"{mark}  {check.name}: {check.found}" + (f". Fix: {check.fix}" if check.fix else "")
        )
    if missing:
        raise CliError(f"{missing[0].name}: {missing[0].found}.", fix=missing[0].fix)


def _check_settings() -> Check:
    try:
        load_settings()
    except CliError as error:
        return Check("settings", str(error), error.fix)
    return Check("settings", "segaway.toml and environment are valid")


def _check_home() -> Check:
    home = find_home()
    place = next(p for p in (home, *home.parents) if p.exists())
    if not os.access(place, os.W_OK):
        return Check(
            "state folder", f"{home} cannot be written", f"chmod u+w {place}, or set SEGAWAY_HOME"
        )
    free = shutil.disk_usage(place).free
    if free < ROOM_BYTES:
        return Check("state folder", f"{format_size(free)} free", "Free some space.", needed=False)
    return Check("state folder", f"{home}, {format_size(free)} free")


def _check_loopback() -> Check:
    try:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
    except OSError as error:
        return Check(
            "loopback", str(error), "Allow listening on 127.0.0.1 for --on local.", needed=False
        )
    return Check("loopback", "a port on 127.0.0.1 can be had")


def _check_trainer() -> Check:
    if importlib.util.find_spec("torch") is None:
        return Check(
            "torch",
            "absent; only --on local needs it",
            "pip install 'segaway[train]'",
            needed=False,
        )
    return Check("torch", "installed, for --on local")


def _check_names() -> Check:
    claimed = find_claims()
    if claimed:
        name, other = next(iter(claimed.items()))
        return Check(
            "package names",
            f"{other} also installs a package called {name}",
            "Install segaway by itself: pipx install segaway",
        )
    return Check("package names", "nobody else claims cli, provision, remote or train")


def find_claims() -> dict[str, str]:
    """Our package names that another installed distribution has, too."""
    owners = packages_distributions()
    return {
        name: other for name in OURS for other in owners.get(name, []) if other.lower() != "segaway"
    }


def _check_linode() -> Check:
    from provision.base import CloudError, ProvisionError
    from provision.linode.credentials import find_credentials

    try:
        credentials = find_credentials()
    except CloudError as error:
        return Check("Linode", "no token; only --on linode needs it", error.fix, needed=False)
    from provision.clouds import open_cloud

    try:
        missing = open_cloud("linode", find_home(), {}).examine()
    except ProvisionError as error:
        return Check("Linode", str(error), error.fix, needed=False)
    if missing:
        fix = "Make a token that has them: cloud.linode.com/profile/tokens"
        return Check("Linode", "; ".join(missing), fix, needed=False)
    return Check("Linode", f"the token of {credentials.source} may do all that a run needs")


def _check_python() -> Check:
    return Check("Python", sys.version.split()[0])


CHECKS: tuple[Callable[[], Check], ...] = (
    _check_python,
    _check_settings,
    _check_home,
    _check_loopback,
    _check_trainer,
    _check_linode,
    _check_names,
)

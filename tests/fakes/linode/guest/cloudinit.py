"""cloud-init, as far as a training node needs it: applies an instance's user data at its boot.

    cloudinit.py init     before sshd starts
    cloudinit.py final    after it

What is to be applied lies in `INSTANCE`: `config`, the user data as JSON, `script`, user data that
is one, and `authorized_keys` of root. What is done once an instance is noted beside it.
"""

import base64
import gzip
import json
import os
import pwd
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

INSTANCE = Path("/var/lib/cloud/instance.json")
DONE = Path("/var/lib/cloud/emulated")
LOG = "/var/log/cloud-init-output.log"
SSH = Path("/etc/ssh")
# What is written elsewhere would be the host's.
OWN = tuple(
    f"/{name}/"
    for name in ["etc", "home", "mnt", "opt", "root", "run", "srv", "tmp", "usr/local", "var"]
)
HOST_KEYS = ("ed25519", "rsa", "ecdsa")
RUNTIME = Path("/run/cloud-init")
UNITS_DIR = Path("/run/units")
REFUSED_ROOT = (
    "no-port-forwarding,no-agent-forwarding,no-X11-forwarding,command=\"echo 'Please login as the "
    'user \\"{user}\\" rather than the user \\"root\\".\';echo;sleep 10;exit 142" '
)


def say(text: str) -> None:
    print(f"{time.strftime('%Y-%m-%dT%H:%M:%S')} cloud-init: {text}", flush=True)


def once(name: str, action: Callable[[], None]) -> None:
    """Do it at the instance's first boot only."""
    mark = DONE / name
    if not mark.exists():
        action()
        mark.touch()


def run_commands(commands: list[Any], name: str) -> None:
    """One script of them all, as cloud-init makes it: strings are the shell's, lists are words."""
    lines = [
        command if isinstance(command, str) else shlex.join(str(word) for word in command)
        for command in commands
    ]
    if lines:
        run_script("\n".join(["#!/bin/sh", *lines, ""]), name)


def run_script(text: str, name: str) -> None:
    """What fails is logged, and that is all."""
    path = INSTANCE.with_name(name)
    write_private(path, text)
    path.chmod(0o700)
    say(f"running {name}")
    environment = {**os.environ, "INSTANCE_ID": "emulated", "HOME": "/root"}
    code = subprocess.run(
        [str(path)], stdin=subprocess.DEVNULL, env=environment, check=False
    ).returncode
    if code:
        say(f"{name} failed with {code}")


def make_host_keys(keys: Mapping[str, str]) -> None:
    """The machine's own keys: those of the user data, else new ones."""
    for path in SSH.glob("ssh_host_*"):
        path.unlink()
    for kind in HOST_KEYS:
        if private := keys.get(f"{kind}_private"):
            path = SSH / f"ssh_host_{kind}_key"
            write_private(path, private.strip() + "\n")
            public = SSH / f"ssh_host_{kind}_key.pub"
            public.write_text(keys.get(f"{kind}_public", "").strip() + "\n")
    if not keys:
        path = SSH / "ssh_host_ed25519_key"
        make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)]
        subprocess.run(make, stdin=subprocess.DEVNULL, check=False)


def write_private(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "w") as file:
        file.write(text)


def write_files(entries: list[Mapping[str, Any]]) -> None:
    for entry in entries:
        try:
            write_file(entry)
        except (OSError, ValueError, LookupError) as error:
            say(f"failed: {entry.get('path')}: {error}")


def write_file(entry: Mapping[str, Any]) -> None:
    """One entry of write_files."""
    path = Path(os.path.realpath(entry["path"]))
    if not str(path).startswith(OWN):
        raise ValueError("the emulated machine has no place of its own there")
    content = entry.get("content", "")
    data = content if isinstance(content, bytes) else str(content).encode()
    encoding = str(entry.get("encoding", "text/plain")).lower()
    if "b64" in encoding or "base64" in encoding:
        data = base64.b64decode(data)
    if "gz" in encoding:
        data = gzip.decompress(data)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab" if entry.get("append") else "wb") as file:
        file.write(data)
    path.chmod(int(str(entry.get("permissions", "0644")), 8))
    user, _, group = str(entry.get("owner", "root:root")).partition(":")
    shutil.chown(path, user, group or None)
    say(f"wrote {path}")


def add_keys(home: Path, keys: list[str], prefix: str = "") -> None:
    """Who may log in."""
    folder = home / ".ssh"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    owner = home.stat()
    path = folder / "authorized_keys"
    old = path.read_text() if path.exists() else ""
    path.write_text(old + "".join(f"{prefix}{key.strip()}\n" for key in keys))
    path.chmod(0o600)
    for one in (folder, path):
        os.chown(one, owner.st_uid, owner.st_gid)


def add_user(entry: Any) -> str:
    """One entry of users; its name, empty where there is nobody to add."""
    if entry == "default" or entry == ["default"]:
        return ""
    entry = {"name": entry} if isinstance(entry, str) else entry
    name = entry["name"]
    try:
        home = Path(pwd.getpwnam(name).pw_dir)
    except KeyError:
        home = Path(entry.get("homedir", f"/home/{name}"))
        shell = ["-s", entry.get("shell", "/bin/bash")]
        subprocess.run(["useradd", "-m", "-d", str(home), *shell, name], check=False)
    keys = entry.get("ssh_authorized_keys") or []
    add_keys(home, [keys] if isinstance(keys, str) else keys)
    return str(name)


def set_up_users(config: Mapping[str, Any], root_keys: list[str]) -> None:
    """Everybody, and root last."""
    names = [name for entry in config.get("users") or [] if (name := add_user(entry))]
    keys = [*root_keys, *(config.get("ssh_authorized_keys") or [])]
    people = [name for name in names if name != "root"]
    prefix = REFUSED_ROOT.format(user=people[0] if people else "NONE")
    add_keys(Path("/root"), keys, prefix if config.get("disable_root") else "")
    for name in people:
        add_keys(Path(pwd.getpwnam(name).pw_dir), config.get("ssh_authorized_keys") or [])


def start_driver(instance: Mapping[str, Any]) -> None:
    """The GPU's tools are there, now or a little later."""
    if not instance["gpus"]:
        return
    delay, tools = instance["driver_delay_s"], instance["tools"]
    links = " && ".join(f"ln -sf {source} {target}" for source, target in tools.items())
    for target in tools.values() if delay else ():
        Path(target).unlink(missing_ok=True)
    command = ["sh", "-c", f"sleep {delay}; {links}" if delay else links]
    process = subprocess.Popen(command, start_new_session=True)
    if not delay:
        process.wait()


def init(instance: Mapping[str, Any]) -> None:
    """Everything up to sshd."""
    config = instance["config"]
    RUNTIME.mkdir(exist_ok=True)
    UNITS_DIR.mkdir(exist_ok=True)
    (UNITS_DIR / "boot").write_text(repr(time.monotonic()))
    start_driver(instance)
    subprocess.run(["systemctl", "__boot"], check=False)
    run_commands(config.get("bootcmd") or [], "bootcmd")
    once("write_files", lambda: write_files(config.get("write_files") or []))
    once("ssh_keys", lambda: make_host_keys(config.get("ssh_keys") or {}))
    once("users", lambda: set_up_users(config, instance["authorized_keys"]))
    if instance.get("other_host_key"):
        once("other_host_key", lambda: make_host_keys({}))


def final(instance: Mapping[str, Any]) -> None:
    """Everything after sshd."""
    config = instance["config"]

    def run_all() -> None:
        run_commands(config.get("runcmd") or [], "runcmd")
        if script := instance.get("script"):
            run_script(script, "part-001")

    if packages := config.get("packages"):
        once("packages", lambda: say(f"would install {packages}"))
    once("runcmd", run_all)
    say("finished")
    (RUNTIME / "result.json").write_text('{"v1": {"datasource": "DataSourceAkamai"}}\n')


def main(stage: str) -> None:
    """One stage; what it says, and all that it starts, goes to the log."""
    log = os.open(LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    INSTANCE.chmod(0o600)
    DONE.mkdir(parents=True, exist_ok=True)
    say(f"stage {stage}")
    instance = json.loads(INSTANCE.read_text())
    {"init": init, "final": final}[stage](instance)


if __name__ == "__main__":
    main(sys.argv[1])

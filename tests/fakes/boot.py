"""Process 1 of a node of the test bed: makes a machine of a namespace, and is it until it ends.

    python -I boot.py FOLDER

Runs as the first process of fresh mount, host name and process namespaces. FOLDER holds
`boot.json` (what the machine is like), `deadline` (when it ends), and `disk`, which is what the
machine keeps over a reboot. It needs nothing but the standard library.
"""

import ctypes
import json
import os
import socket
import stat
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

BIND, REC, READ_ONLY, REMOUNT, DETACH = 4096, 16384, 1, 32, 2
# Private and empty after each boot.
FRESH = {"/run": "755", "/tmp": "1777", "/dev": "755"}
# Private and kept: the machine's own files, over what the host has there.
OVERLAID = ("etc", "home", "opt", "srv", "usr/local", "var")
# Private and kept, and empty at first. Container storage cannot lie on an overlay.
KEPT = ("root", "mnt", "var/lib/containers")
CHARACTER_DEVICES = {
    **{"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9)},
    **{"kmsg": (1, 11), "tty": (5, 0), "net/tun": (10, 200), "fuse": (10, 229)},
}
LINKS = {
    **{"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"},
    "ptmx": "pts/ptmx",
}
CHECK_S = 0.1
HOST = "/run/host"
# Who writes "poweroff" or "reboot" there ends the machine.
POWER = "/run/power"

libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """mount(2); the target is made where there is none."""
    if not os.path.exists(target):
        os.makedirs(target)
    words = (word.encode() for word in (source, target, kind))
    if libc.mount(*words, ctypes.c_ulong(flags), data.encode()):
        raise OSError(ctypes.get_errno(), f"mount {source} on {target}")


def mount_disks(folder: Path, visible: list[str]) -> None:
    """Hide what is the host's, but for the paths in `visible`."""
    mount("tmpfs", "/run", "tmpfs", data="mode=755")
    mount("/", HOST, flags=BIND | REC)
    for path in OVERLAID:
        upper, work = folder / "disk" / path, folder / "disk" / f".{path}"
        upper.mkdir(parents=True, exist_ok=True)
        work.mkdir(parents=True, exist_ok=True)
        layers = f"lowerdir=/{path},upperdir={HOST}{upper},workdir={HOST}{work}"
        mount("overlay", f"/{path}", "overlay", data=layers)
    for path in KEPT:
        kept = folder / "disk" / path.replace("/", "-")
        kept.mkdir(exist_ok=True, mode=0o755)
        mount(f"{HOST}{kept}", f"/{path}", flags=BIND)
    for path, mode in FRESH.items():
        if path != "/run":
            mount("tmpfs", path, "tmpfs", data=f"mode={mode}")
    for path in visible:
        # Only what has just been hidden: the rest is where it was.
        if path.startswith(("/root/", "/mnt/", *(f"{fresh}/" for fresh in FRESH))):
            mount(HOST + path, path, flags=BIND)
    libc.umount2(HOST.encode(), DETACH)
    os.rmdir(HOST)


def make_devices(disks: list[dict[str, Any]]) -> None:
    """/dev, with the volumes' block devices under the names that their cloud gives them."""
    for name, (major, minor) in CHARACTER_DEVICES.items():
        make_device(f"/dev/{name}", stat.S_IFCHR, major, minor)
    for name, target in LINKS.items():
        os.symlink(target, f"/dev/{name}")
    mount("tmpfs", "/dev/shm", "tmpfs", data="mode=1777")
    mount("devpts", "/dev/pts", "devpts", data="newinstance,ptmxmode=0666,mode=620,gid=5")
    for disk in disks:
        make_device(f"/dev/{disk['name']}", stat.S_IFBLK, *disk["number"])
        os.makedirs(os.path.dirname(disk["path"]), exist_ok=True)
        os.symlink(f"../../{disk['name']}", disk["path"])


def make_device(path: str, kind: int, major: int, minor: int) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    os.mknod(path, kind | 0o666, os.makedev(major, minor))
    os.chmod(path, 0o660 if kind == stat.S_IFBLK else 0o666)


def make_boot_id(folder: Path) -> None:
    """Another one at each boot, as on any machine."""
    path = folder / "boot_id"
    path.write_text(f"{uuid.uuid4()}\n")
    mount(str(path), "/proc/sys/kernel/random/boot_id", flags=BIND)


def write_once(path: str, text: str, folder: Path) -> None:
    """A file of the machine as it was delivered; what was made of it since is kept."""
    if not (folder / "disk" / path.lstrip("/")).exists():
        os.makedirs(os.path.dirname(path), exist_ok=True)
        Path(path).write_text(text)
        os.chmod(path, 0o755 if text.startswith("#!") else 0o644)


def read_deadline(folder: Path) -> float:
    """Read anew each time, as it may move. With its folder the machine goes too."""
    try:
        return float((folder / "deadline").read_text())
    except FileNotFoundError:
        return 0.0


def run_before(commands: list[list[str]], folder: Path, environment: dict[str, str]) -> bool:
    """What sshd waits for, one after the other; False when the deadline came first."""
    for command in commands:
        step = subprocess.Popen(command, env=environment)
        while step.poll() is None:
            if time.time() >= read_deadline(folder):
                return False
            time.sleep(0.01)
    return True


def wait_end(server: "subprocess.Popen[bytes]", folder: Path) -> str:
    """Bury the dead until the deadline; why it ended."""
    while time.time() < read_deadline(folder):
        if os.path.exists(POWER):
            (folder / "power").write_text(Path(POWER).read_text())
            return "it was told to end"
        # Whatever was detached here is this process's child in the end.
        while (found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
            if found.si_pid == server.pid:
                return "sshd has ended"
            os.waitpid(found.si_pid, 0)
        time.sleep(CHECK_S)
    return "the deadline has come"


def boot(folder: Path, settings: dict[str, Any]) -> None:
    """Everything up to and with sshd; returns when the machine's life is over."""
    mount_disks(folder, settings["visible"])
    make_devices(settings["disks"])
    (folder / "devices").touch()
    make_boot_id(folder)
    socket.sethostname(settings["label"])
    for path, text in settings["files"].items():
        write_once(path, text, folder)
    for path in settings["read_only"]:
        mount(path, path, flags=BIND)
        mount("none", path, flags=BIND | REMOUNT | READ_ONLY)
    environment = settings["environment"]
    subprocess.run(["mount", "-a"], env=environment, check=False)
    os.makedirs("/run/sshd")
    if not run_before(settings["before_sshd"], folder, environment):
        return
    command = ["/usr/sbin/sshd", "-D", "-e", "-f", str(folder / "sshd_config")]
    server = subprocess.Popen(command, env=environment)
    (folder / "booted").touch()
    for step in settings["after_sshd"]:
        subprocess.Popen(step, env=environment)
    print(wait_end(server, folder), file=sys.stderr, flush=True)


if __name__ == "__main__":
    here = Path(sys.argv[1])
    boot(here, json.loads((here / "boot.json").read_text()))

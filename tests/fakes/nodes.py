"""One node of the test bed: a network, mount and process namespace with a real sshd.

`boot.py` is what runs in it; `links.py` its network, `volumes.py` its disk, `images.py` the image
that its containers start from. All that is known of it lies in its folder: the command that makes
a node and the test that pulls its cable are different processes.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock

from tests.fakes import links, volumes
from tests.fakes.images import WRAPPERS, make_settings
from tests.fakes.processes import end_family, is_same, note_process

PORT = 22
BOOT_TIMEOUT_S = 20.0
FILL_STEP_BYTES = 2**18
FILL = ".segaway-bed-fill"
OWN_HOST_KEY = "/etc/ssh/ssh_host_ed25519_key"
DISKS = "bcdefghijklmnopqrstuvwxyz"
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENVIRONMENT = {
    # The node's python3 is the one that runs the tests.
    "PATH": f"{Path(sys.executable).parent}:{WRAPPERS}:{SYSTEM_PATH}",
    "OMP_NUM_THREADS": "1",
    "CONTAINERS_CONF": "/etc/containers/containers.conf",
}


@dataclass(frozen=True)
class Build:
    """What a node is delivered with, and does at each boot.

    Without `host_key` its sshd has the host keys and the authorized keys that lie on its own disk,
    where `before_sshd` puts them.
    """

    host_key: str = ""
    authorized_keys: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    before_sshd: Sequence[Sequence[str]] = ()
    after_sshd: Sequence[Sequence[str]] = ()


@contextlib.contextmanager
def lock_bed(folder: Path) -> Iterator[None]:
    """One change of the bed in that folder at a time."""
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "lock"):
        yield


class BedNode:
    """One node. What it knows of itself is read anew from the bed's folder each time."""

    def __init__(self, bed: Path, label: str) -> None:
        self.bed, self.label = bed.absolute(), label
        self.folder = self.bed / "nodes" / label

    @property
    def address(self) -> str:
        """Where it is now; `move` changes it."""
        record = self.record()
        find = links.find_local_address if record.get("is_local") else links.find_address
        return find(record["address"])

    @property
    def device(self) -> str:
        """The first volume's block device, inside the node; empty where it has no volume."""
        return next(map(volumes.name_device, self.record()["disks"]), "")

    def is_alive(self) -> bool:
        """Whether its process 1 runs, or is about to."""
        return (self.folder / "rebooting").exists() or is_same(self.record().get("supervisor"))

    def is_booted(self) -> bool:
        """Whether it has started sshd, whatever its link does."""
        return (self.folder / "booted").exists() and self.is_alive()

    def is_up(self) -> bool:
        """Whether its sshd answers."""
        try:
            with socket.create_connection((self.address, PORT), timeout=1.0) as link:
                return link.recv(4) == b"SSH-"
        except (OSError, KeyError):
            return False

    def wait_up(self, timeout_s: float = BOOT_TIMEOUT_S) -> None:
        """Until its sshd answers. Raises TimeoutError with the node's last words."""
        limit = time.monotonic() + timeout_s
        while not self.is_up():
            if time.monotonic() > limit or not self.is_alive():
                raise TimeoutError(f"{self.label} is not up: {self.read_console()[-500:]}")
            time.sleep(0.02)

    def run(
        self, argv: Sequence[str], timeout_s: float = 60.0, check: bool = True
    ) -> "subprocess.CompletedProcess[str]":
        """A command in the node, as root, with the environment of sshd's sessions."""
        enter = ["nsenter", "-t", str(self._find_init().pid), "-m", "-u", "-n", "-p"]
        done = subprocess.run(
            [*enter, "--", *argv],
            env={**ENVIRONMENT, "HOME": "/root", "USER": "root"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        if check and done.returncode:
            raise OSError(f"{' '.join(argv)}: {done.returncode}: {done.stdout}{done.stderr}")
        return done

    def kill(self) -> None:
        """Sudden death. Its disk, its link's ends and its hold on the volume stay."""
        with lock_bed(self.bed):
            self.end()

    def reboot(self) -> None:
        """Sudden death, then a new life: same address, same disks, nothing else. Also of a dead."""
        with lock_bed(self.bed):
            (self.folder / "rebooting").touch()
            self.end()
            self.boot()

    def cut(self) -> None:
        """Pull the cable: nothing arrives, nobody is told."""
        links.set_link(self.record()["number"], up=False)

    def mend(self) -> None:
        """Plug the cable in again."""
        links.set_link(self.record()["number"], up=True)

    def slow(self, mbit: float) -> None:
        """At most that many Mbit/s each way; 0 is as fast as it goes."""
        links.limit_rate(self.record()["number"], mbit)

    def lose(self, share: float) -> None:
        """Each packet is lost with that probability, each way; 0 loses none."""
        links.lose_packets(self.record()["number"], share)

    def move(self) -> None:
        """Another address; the old one answers no more. Open connections hang."""
        with lock_bed(self.bed):
            record = self.record()
            address = links.take_number(self.folder)
            links.give_address(record["number"], address)
            self.write("record", {"address": address})
            if record["address"] != record["number"]:
                links.free_number(record["address"])

    def fill(self, path: str, leave_bytes: int = 0) -> None:
        """Fill up the volume, which holds the folder `path`, but for so many bytes.

        Raises:
            ValueError: it is not the volume, but this machine's own disk or memory.
        """
        device = self.run(["stat", "-c", "%d", path]).stdout.strip()
        if device not in [str(os.makedev(*disk["number"])) for disk in self._describe_disks()]:
            raise ValueError(f"{path} does not lie on the volume")
        self.unfill(path)
        free, unit = self.run(["stat", "-f", "-c", "%f %S", path]).stdout.split()
        size = int(free) * int(unit) - leave_bytes
        # The file system's own tables take a part of what seems free.
        while (
            size > 0
            and self.run(["fallocate", "-l", str(size), f"{path}/{FILL}"], check=False).returncode
        ):
            self.unfill(path)
            size -= FILL_STEP_BYTES

    def unfill(self, path: str) -> None:
        """Give back what `fill` took."""
        self.run(["rm", "-f", f"{path}/{FILL}"])

    def set_deadline(self, deadline_s: float) -> None:
        """When it ends by itself, in seconds since the epoch."""
        _write(self.folder / "deadline", repr(deadline_s))

    def read_console(self) -> str:
        """What it has said since it was made."""
        path = self.folder / "console.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def record(self) -> dict[str, Any]:
        """What the bed knows of it; empty when it never was."""
        return self.read("record")

    def read(self, name: str) -> dict[str, Any]:
        """One of its JSON files; empty where there is none."""
        try:
            content: dict[str, Any] = json.loads((self.folder / f"{name}.json").read_text())
            return content
        except FileNotFoundError:
            return {}

    def write(self, name: str, changes: dict[str, Any]) -> None:
        """Add to one of its JSON files."""
        _write(self.folder / f"{name}.json", json.dumps(self.read(name) | changes))

    def plug(self, label: str, loop: str) -> None:
        """It has one more volume, which is that block device; a living one has it at once."""
        disks = self.record()["disks"]
        taken = {disk["name"] for disk in disks.values()}
        name = next(name for letter in DISKS if (name := f"sd{letter}") not in taken)
        self.write("record", {"disks": {**disks, label: {"name": name, "loop": loop}}})
        if self.is_alive():
            major, minor = volumes.find_number(loop)
            path = volumes.name_device(label)
            script = (
                f"rm -f /dev/{name} && mknod -m 660 /dev/{name} b {major} {minor} && "
                f"mkdir -p {os.path.dirname(path)} && ln -sf ../../{name} {path}"
            )
            self._enter(["sh", "-c", script])

    def unplug(self, label: str) -> None:
        """It has that volume no more. What a living one has mounted of it, it keeps."""
        disks = self.record()["disks"]
        disk = disks.pop(label)
        self.write("record", {"disks": disks})
        if self.is_alive():
            self._enter(["rm", "-f", f"/dev/{disk['name']}", volumes.name_device(label)])

    def prepare(self, build: Build, store: Path) -> None:
        """What its process 1 reads at each boot."""
        if build.host_key:
            _write(self.folder / "host_key", build.host_key)
            _write(self.folder / "authorized_keys", build.authorized_keys.strip() + "\n")
        _write(self.folder / "sshd_config", self._configure_sshd(bool(build.host_key)))
        settings = {
            "label": self.label,
            "before_sshd": build.before_sshd,
            "after_sshd": build.after_sshd,
            "visible": [sys.prefix, sys.base_prefix, str(self.folder), str(store)],
            "read_only": [str(store)],
            "environment": ENVIRONMENT,
            "files": {
                "/etc/fstab": "# made by the test bed\n",
                "/etc/hosts": f"127.0.0.1 localhost\n127.0.1.1 {self.label}\n",
                **make_settings(store),
                **build.files,
            },
        }
        self.write("boot", settings)

    def boot(self) -> None:
        """Start its process 1, which nothing here waits for."""
        for mark in ("booted", "devices", "power"):
            (self.folder / mark).unlink(missing_ok=True)
        self.write("boot", {"disks": self._describe_disks()})
        record = self.record()
        space = [f"--net=/run/netns/{links.name_space(record['number'])}"]
        enter = [] if record.get("is_local") else ["nsenter", *space]
        fork = ["unshare", "-m", "-u", "-p", "-f", "--mount-proc", "--kill-child"]
        init = [sys.executable, "-I", str(Path(__file__).with_name("boot.py")), str(self.folder)]
        with (self.folder / "console.log").open("ab") as console:
            process = subprocess.Popen(
                [*enter, *fork, *init],
                cwd="/",
                env=ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
            )
        self.write("record", {"supervisor": note_process(process.pid)})
        (self.folder / "rebooting").unlink(missing_ok=True)

    def end(self) -> None:
        """Kill its process 1, and with it all the others; returns when they are gone."""
        end_family(self.record().get("supervisor"))

    def _describe_disks(self) -> list[dict[str, Any]]:
        return [
            {
                "name": disk["name"],
                "path": volumes.name_device(label),
                "number": volumes.find_number(disk["loop"]),
            }
            for label, disk in self.record()["disks"].items()
        ]

    def _enter(self, argv: Sequence[str]) -> None:
        """A command in the node as soon as it has its devices, whatever its boot waits for."""
        pid = self._find_init("devices").pid
        enter = ["nsenter", "-t", str(pid), "-m", "-p", "--", *argv]
        done = subprocess.run(enter, capture_output=True, text=True, check=False)
        if done.returncode:
            raise OSError(f"{' '.join(argv)}: {done.stderr}")

    def _find_init(self, mark: str = "booted") -> psutil.Process:
        if not self.is_alive():
            raise OSError(f"{self.label} is dead: {self.read_console()[-500:]}")
        limit = time.monotonic() + BOOT_TIMEOUT_S
        while not (self.folder / mark).exists() and time.monotonic() < limit:
            time.sleep(0.02)
        return psutil.Process(self.record()["supervisor"]["pid"]).children()[0]

    def _configure_sshd(self, has_key: bool) -> str:
        values = " ".join(f"{name}={value}" for name, value in ENVIRONMENT.items())
        lines = [
            f"Port {PORT}",
            f"ListenAddress {self.address if self.record().get('is_local') else '0.0.0.0'}",
            f"HostKey {self.folder / 'host_key' if has_key else OWN_HOST_KEY}",
            f"AuthorizedKeysFile {self.folder if has_key else '.ssh'}/authorized_keys",
            *("PidFile none", "UsePAM no", "StrictModes no", "UseDNS no"),
            *("PermitRootLogin prohibit-password", "PasswordAuthentication no"),
            *("MaxSessions 50", "MaxStartups 200:30:400", "Subsystem sftp internal-sftp"),
            f"SetEnv {values}",
        ]
        return "\n".join(lines) + "\n"


def _write(path: Path, text: str) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.touch(mode=0o600)
    partial.write_text(text)
    partial.replace(path)

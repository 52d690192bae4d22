"""The test bed's volumes: files that are block devices while they are attached."""

import os
import subprocess
import time
from pathlib import Path

DETACH_TIMEOUT_S = 20.0


def make_volume(path: Path, size_mib: int) -> None:
    """A blank disk; it takes up what is written to it.

    Raises:
        FileExistsError: there is one already.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    os.truncate(fd, size_mib * 2**20)
    os.close(fd)


def name_device(label: str) -> str:
    """The path that a node has the volume under, as its cloud names it."""
    return f"/dev/disk/by-id/scsi-0Linode_Volume_{label}"


def find_devices(path: Path) -> list[str]:
    """The block devices that the file is, right now."""
    command = ["losetup", "-n", "-O", "NAME", "-j", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def attach_volume(path: Path) -> str:
    """The block device that the file now is."""
    command = ["losetup", "-f", "--show", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def detach_volume(path: Path) -> None:
    """Returns when the file is a file only. Its file system must be mounted nowhere."""
    limit = time.monotonic() + DETACH_TIMEOUT_S
    while devices := find_devices(path):
        for device in devices:
            subprocess.run(["losetup", "-d", device], capture_output=True, check=False)
        if time.monotonic() > limit:
            raise TimeoutError(f"{path} is still in use as {devices}")
        time.sleep(0.02)


def let_go(path: Path) -> bool:
    """The file is a file only once nobody uses it; whether that is so already."""
    for device in find_devices(path):
        subprocess.run(["losetup", "-d", device], capture_output=True, check=False)
    return not find_devices(path)


def free_devices(folder: Path) -> None:
    """Give back the block devices whose files lay under a folder that is gone."""
    command = ["losetup", "-n", "-l", "-O", "NAME,BACK-FILE"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for line in listed.splitlines():
        device, path = line.split(maxsplit=1)
        if path.startswith(f"{folder}/") and path.endswith("(deleted)"):
            subprocess.run(["losetup", "-d", device], capture_output=True, check=False)


def find_number(device: str) -> list[int]:
    """The major and minor number of a block device."""
    number = os.stat(device).st_rdev
    return [os.major(number), os.minor(number)]

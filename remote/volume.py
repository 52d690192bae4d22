"""The volume: waited for, formatted where it is blank and only there, mounted, unmounted."""

import time
from collections.abc import Callable

from remote import shell
from remote.errors import VolumeError
from remote.host import Host

DEVICE_TIMEOUT_S = 120.0
POLL_S = 0.5
FORMAT_TIMEOUT_S = 600.0
NOTHING_FOUND = 2


def mount_volume(
    host: Host,
    device: str,
    root: str,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """The volume `device` is at the folder `root`, which is closed to other users. Waits.

    Safe to repeat. A device is formatted only when it is blank: no signature that blkid knows, and
    nothing but zeros where every file system and partition table has something.

    Raises:
        VolumeError: the device does not come, holds something else, or cannot be mounted.
    """
    _wait_device(host, device, clock() + DEVICE_TIMEOUT_S, clock, sleep)
    source = host.run(shell.find_mounted(root)).stdout.decode().strip()
    if source:
        _check_mounted(host, device, root, source)
    else:
        _ensure_filesystem(host, device)
        _change(host, shell.make_folder(root), device)
        _change(host, shell.remember_mount(device, root), device)
        _change(host, shell.mount_folder(root), device)
    _change(host, shell.close_folder(root), device)


def unmount_volume(host: Host, root: str) -> None:
    """Nothing is mounted at `root`, and all that was written is on the volume. Safe to repeat.

    Raises:
        VolumeError: something still uses it.
    """
    if host.run(shell.find_mounted(root)).stdout.strip():
        _change(host, shell.unmount_folder(root), root)


def _wait_device(
    host: Host,
    device: str,
    limit: float,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> None:
    while host.run(shell.has_device(device)).code:
        if clock() > limit:
            raise VolumeError(
                f"The volume's device {device} has not come up on {host.address}.",
                fix="segaway run --resume RUN waits for it again.",
            )
        sleep(POLL_S)


def _check_mounted(host: Host, device: str, root: str, source: str) -> None:
    if source != host.check(shell.resolve_path(device)).decode().strip():
        raise VolumeError(
            f"At {root} of {host.address}, {source} is mounted instead of {device}.",
            fix=f"segaway ssh RUN -- umount {root}, then repeat the command.",
        )


def _ensure_filesystem(host: Host, device: str) -> None:
    result = host.run(shell.probe_device(device))
    found = result.stdout.decode().split()
    if result.code == 0 and found == [shell.FILESYSTEM]:
        return
    if result.code != NOTHING_FOUND or found:
        what = " and ".join(found) or "more than one signature"
        raise _not_blank(host, device, f"holds {what}")
    if host.run(shell.find_content(device)).code:
        raise _not_blank(host, device, "is not empty")
    _change(host, shell.make_filesystem(device), device)


def _not_blank(host: Host, device: str, what: str) -> VolumeError:
    return VolumeError(
        f"The volume {device} of {host.address} {what}. It was not touched.",
        fix="Save what is on it, then wipe it yourself, or give segaway another volume.",
    )


def _change(host: Host, command: list[str], what: str) -> None:
    result = host.run(command, timeout_s=FORMAT_TIMEOUT_S)
    if result.code:
        raise VolumeError(
            f"{command[0]} for {what} on {host.address} ended with {result.code}: "
            f"{result.last_words}",
            fix="segaway run --resume RUN tries again; segaway ssh RUN lets you look.",
        )

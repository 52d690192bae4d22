"""What a host is sent: pure builders of commands and paths. Nothing here connects."""

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

PYTHON = "python3"
FILESYSTEM = "ext4"
BLANK_BYTES = 2**24
AGENT_FOLDER = Path(__file__).parent / "agent"
AGENT_PACKAGE = "segaway_agent"
AGENT_MAIN = f"import sys; from {AGENT_PACKAGE}.main import main; sys.exit(main(sys.argv[1:]))\n"


@cache
def pack_agent() -> bytes:
    """The agent as a zip file that Python runs; the same bytes for the same code."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        # Members of a fixed date: the file's hash is to depend on the code alone.
        archive.writestr(zipfile.ZipInfo("__main__.py"), AGENT_MAIN)
        for path in sorted(AGENT_FOLDER.glob("*.py")):
            name = f"{AGENT_PACKAGE}/{path.name}"
            archive.writestr(zipfile.ZipInfo(name), path.read_bytes())
    return buffer.getvalue()


def agent_path(root: str) -> str:
    """Where the agent lies on the volume; its name is its content's."""
    digest = hashlib.sha256(pack_agent()).hexdigest()
    return _join(root, ".segaway", f"agent-{digest[:12]}.pyz")


def dataset_path(root: str, fingerprint: str) -> str:
    """Where a dataset lies on the volume: runs that use the same data share it."""
    return _join(root, "datasets", fingerprint[:16])


def trainer_path(root: str, manifest: Mapping[str, Any]) -> str:
    """Where the trainer's code lies on the volume; changed code has another place."""
    digest = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
    return _join(root, "trainer", digest[:12])


def run_path(root: str, run: str) -> str:
    """The folder of a run on the volume: config, log, events, checkpoints, masks, report."""
    return _join(root, "runs", run)


def job_path(run: str) -> str:
    """Where the agent keeps the files of the job of a run's folder."""
    folder = PurePosixPath(run)
    return _join(str(folder.parent.parent), ".segaway", "jobs", folder.name)


def remove_folders(*paths: str) -> list[str]:
    return ["rm", "-rf", "--", *paths]


def make_folder(path: str) -> list[str]:
    return ["mkdir", "-p", path]


def has_device(path: str) -> list[str]:
    """Ends with 0 where there is a block device."""
    return ["test", "-b", path]


def resolve_path(path: str) -> list[str]:
    return ["readlink", "-f", path]


def find_mounted(folder: str) -> list[str]:
    """Prints the device that is mounted there, if one is."""
    return ["findmnt", "--noheadings", "--first-only", "--output", "SOURCE", "--mountpoint", folder]


def probe_device(device: str) -> list[str]:
    """Prints what file system or partition table the device has; ends with 2 where none.

    It reads the device itself: blkid's cache may remember what is gone.
    """
    return ["blkid", "-p", "-o", "value", "-s", "TYPE", "-s", "PTTYPE", device]


def find_content(device: str) -> list[str]:
    """Ends with 0 where the device begins with nothing but zeros."""
    return ["cmp", "--silent", f"--bytes={BLANK_BYTES}", device, "/dev/zero"]


def make_filesystem(device: str) -> list[str]:
    """A part is kept for root: a trainer that fills the disk is still reported."""
    return [f"mkfs.{FILESYSTEM}", "-q", "-m", "1", "-L", "segaway", device]


def remember_mount(device: str, folder: str) -> list[str]:
    """Mount it at each boot, and boot without it where it is missing."""
    line = f"{device} {folder} {FILESYSTEM} defaults,noatime,nofail 0 2"
    script = 'grep -qsxF "$0" /etc/fstab || printf "%s\\n" "$0" >> /etc/fstab'
    return ["sh", "-c", script, line]


def mount_folder(folder: str) -> list[str]:
    return ["mount", folder]


def close_folder(folder: str) -> list[str]:
    """Nobody but its owner sees what is in it."""
    return ["chmod", "700", folder]


def unmount_folder(folder: str) -> list[str]:
    """With what a container engine has mounted below."""
    return ["umount", "--recursive", folder]


def run_module(folder: str, module: str, *arguments: str) -> list[str]:
    """The command that runs a module of the Python code in `folder`, leaving nothing there."""
    environment = ["PYTHONUNBUFFERED=1", "PYTHONDONTWRITEBYTECODE=1"]
    return ["env", "-C", folder, *environment, PYTHON, "-m", module, *arguments]


def call_agent(root: str, verb: str, *arguments: str) -> list[str]:
    """The command that makes the agent do `verb`."""
    return [PYTHON, agent_path(root), verb, *arguments]


def follow_files(root: str, run: str, offsets: Mapping[str, int]) -> list[str]:
    """The command that sends the run's growing files from these byte offsets on."""
    marks = [f"{name}:{offset}" for name, offset in sorted(offsets.items())]
    return call_agent(root, "follow", run_path(root, run), *marks)


def _join(*parts: str) -> str:
    return str(PurePosixPath(*parts))

"""The embedded cloud: nodes are processes on this machine, volumes are folders.

It behaves as a cloud does: labels are unique, a create may be followed by a crash, a node dies at
its deadline, after a reboot it is gone and its volume is not. Nothing bills.
"""

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import psutil

from provision.base import (
    CloudError,
    Item,
    Kind,
    LabelTaken,
    Node,
    NodeLost,
    Offer,
    Order,
    Provider,
    Request,
    Volume,
    fill_holes,
)

REGION = "this-machine"
PLAN = "process"
USER = "segaway"
POLL_S = 0.05
DESTROY_TIMEOUT_S = 30.0
BOOT_S = 20.0
# The node's environment is made anew: the laptop's may hold tokens.
KEPT_ENVIRONMENT = (
    *("LANG", "LC_ALL", "TMPDIR", "TZ"),
    *("LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS"),
)


class LocalCloud:
    """Its state is a folder: one sub-folder a resource, which appears and goes by renaming."""

    name = "local"
    keeps_volumes = False

    def __init__(self, home: Path, port: int) -> None:
        self._root = home / "clouds" / "local"
        self._port = port

    def offers(self) -> list[Offer]:
        memory_gib = psutil.virtual_memory().total / 2**30
        return [
            Offer(
                cloud=self.name,
                region=REGION,
                plan=PLAN,
                gpus=_count_gpus(),
                vcpus=os.cpu_count() or 1,
                memory_gib=round(memory_gib, 1),
                usd_per_hour=0.0,
                volume_usd_per_gib_hour=0.0,
                available=True,
            )
        ]

    def account(self) -> str:
        return ""

    def obstacles(self) -> list[str]:
        return []

    def examine(self) -> list[str]:
        return []

    def warnings(self, order: Order) -> list[str]:
        return []

    def requests(self, order: Order) -> list[Request]:
        volume, node = order.label("volume"), order.label("node")
        root, folder = self._folder("volume", volume), self._folder("node", node)
        region = order.offer.region
        make = {"label": volume, "region": region, "path": str(root)}
        start = {
            "label": node,
            "region": region,
            "argv": [sys.executable, "-P", "-m", "provision.sshnode", str(folder)],
            "port": self._port,
            "volume": str(root),
            "host_key": "{host_key}",
            "client_key": "{client_key}",
            "deadline_s": order.deadline_s,
        }
        return [
            Request("volume", volume, "make folder", make),
            Request("node", node, "start process", start),
        ]

    def renewal(self, order: Order) -> Request | None:
        return None

    def endings(self, order: Order) -> list[str]:
        return [f"end {order.label('node')}", f"remove {order.label('volume')}"]

    def create(self, request: Request, values: Mapping[str, str]) -> Item:
        body = fill_holes(request.body, values)
        if request.kind == "node":
            return self._start_node(body)
        label, region = body["label"], body["region"]
        self._make_folder("volume", label, {"region": region})
        return Volume(id=label, label=label, region=region)

    def finish(self, request: Request, values: Mapping[str, str], timeout_s: float) -> None:
        raise AssertionError  # there is no such request

    def _start_node(self, body: Mapping[str, Any]) -> Node:
        self._check_port()
        root = Path(body["volume"]) / "data"
        settings = {key: body[key] for key in ("label", "region", "port", "deadline_s")}
        settings |= {"root": str(root), "created_s": time.time()}
        files = {"host_key": body["host_key"], "authorized_keys": body["client_key"] + "\n"}
        folder = self._make_folder("node", body["label"], settings, files)
        with (folder / "node.log").open("wb") as log:
            subprocess.Popen(
                body["argv"],
                cwd=root,
                env=_make_environment(body["label"], root),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return _describe(body["label"], "booting")

    def wait_node(self, label: str, timeout_s: float) -> Node:
        limit = time.monotonic() + timeout_s
        folder = self._folder("node", label)
        while time.monotonic() < limit:
            node = self.find_node(label)
            if node is None:
                raise NodeLost(
                    f"The local node {label} ended before it was ready: {_last_line(folder)}",
                    fix="segaway doctor checks what a local node needs.",
                )
            if node.state == "running":
                return node
            time.sleep(POLL_S)
        raise NodeLost(
            f"The local node {label} was not ready after {timeout_s:.0f} s.",
            fix="segaway down RUN, then repeat the command.",
        )

    def find(self, kind: Kind, label: str) -> Item | None:
        if kind == "node":
            return self.find_node(label)
        folder = self._folder(kind, label)
        return Volume(id=label, label=label, region=REGION) if folder.is_dir() else None

    def find_node(self, label: str) -> Node | None:
        folder = self._folder("node", label)
        settings = _read(folder / "node.json")
        if settings is None or not _is_alive(folder):
            return None
        address = _read(folder / "address.json")
        node = _describe(label, "booting", deadline_s=settings["deadline_s"])
        if address is None:
            return node
        return replace(
            node,
            state="running",
            host="127.0.0.1",
            port=address["port"],
            user=USER,
            root=settings["root"],
        )

    def find_all(self) -> list[Item]:
        kinds: tuple[Kind, ...] = ("node", "volume")
        found = [self.find(kind, label) for kind in kinds for label in self._labels(kind)]
        return [item for item in found if item]

    def destroy(self, kind: Kind, label: str) -> None:
        folder = self._folder(kind, label)
        if kind == "node":
            self._end_node(folder, label)
        if folder.exists():
            # Out of sight at once, so that a crash in the middle leaves nothing with a label.
            going = folder.with_name(f".{secrets.token_hex(4)}.gone")
            folder.rename(going)
            shutil.rmtree(going, ignore_errors=True)

    def extend(self, order: Order) -> None:
        path = self._folder("node", order.label("node")) / "node.json"
        settings = _read(path)
        if settings is not None:
            _write(path, {**settings, "deadline_s": order.deadline_s})

    def admit(self, order: Order) -> bool:
        return False

    def mark_volume(self, label: str, data: str) -> None:
        """A folder here costs nothing, and goes with its run."""

    def _end_node(self, folder: Path, label: str) -> None:
        from provision.sshnode import end_processes

        known = _read(folder / "pid.json")
        if known and _is_alive(folder):
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(known["pid"])
                process.terminate()
                process.wait(DESTROY_TIMEOUT_S)
        # Also where the node's own process is dead, hung, or too young to be known by its id: what
        # carries the node's mark must not outlive it.
        end_processes(label, grace_s=2.0)

    def _folder(self, kind: Kind, label: str) -> Path:
        return self._root / f"{kind}s" / label

    def _labels(self, kind: Kind) -> Iterator[str]:
        parent = self._root / f"{kind}s"
        if parent.is_dir():
            yield from sorted(p.name for p in parent.iterdir() if not p.name.startswith("."))

    def _make_folder(
        self,
        kind: Kind,
        label: str,
        settings: Mapping[str, Any],
        files: Mapping[str, str] | None = None,
    ) -> Path:
        """The folder of a new resource, whole at once. A dead node's folder gives way."""
        folder = self._folder(kind, label)
        if kind == "node" and folder.exists() and not _is_alive(folder):
            self.destroy(kind, label)
        partial = folder.with_name(f".{secrets.token_hex(4)}.new")
        try:
            (partial / "data").mkdir(parents=True, mode=0o700)
            _write(partial / f"{kind}.json", settings)
            for name, text in (files or {}).items():
                fd = os.open(partial / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(fd, "w") as writer:
                    writer.write(text)
            if folder.exists():
                raise FileExistsError
            partial.rename(folder)
        except FileExistsError:
            shutil.rmtree(partial, ignore_errors=True)
            raise LabelTaken(
                f"There is a local {kind} {label} already.", fix="segaway runs shows whose it is."
            ) from None
        except OSError as error:
            shutil.rmtree(partial, ignore_errors=True)
            raise CloudError(
                f"The local {kind} {label} cannot be made: {error}.",
                fix="Free disk space, or set SEGAWAY_HOME to a folder that can be written.",
            ) from error
        return folder

    def _check_port(self) -> None:
        """Say now, and in words, what the node could only put into its log."""
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", self._port))
            except OSError as error:
                raise CloudError(
                    f"Port {self._port} on 127.0.0.1 cannot be had: {error.strerror}. "
                    "No node was created.",
                    fix="Set local_port to another port, or to 0 for any free one.",
                ) from error


def open_cloud(home: Path, options: Mapping[str, Any]) -> Provider:
    """The local cloud, whose state lies in `home`. `local_port` 0 takes any free port."""
    return LocalCloud(home, int(options.get("local_port", 0)))


def _describe(label: str, state: Literal["booting", "running"], **more: Any) -> Node:
    return Node(id=label, label=label, region=REGION, state=state, **more)


def _make_environment(label: str, root: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in KEPT_ENVIRONMENT if name in os.environ}
    # This interpreter first: the node's python3 is the one that segaway was installed into.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return {**kept, "PATH": path, "HOME": str(root), "SEGAWAY_NODE": label}


def _is_alive(folder: Path) -> bool:
    """Whether the node runs, or has just been asked for and may still write down that it does.

    The process must be the one that was started: process ids are used again.
    """
    settings, known = _read(folder / "node.json"), _read(folder / "pid.json")
    if settings is None:
        return False
    if known is None:
        return bool(time.time() - settings["created_s"] < BOOT_S)
    return bool(known["born"] == _born(known["pid"]))


def _born(pid: int) -> float | None:
    """When the process started; None where there is none, or only its corpse."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.Error:
        return None


def _count_gpus() -> int:
    return len(list(Path("/proc/driver/nvidia/gpus").glob("*")))


def _last_line(folder: Path) -> str:
    try:
        lines = (folder / "node.log").read_text(errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return lines[-1] if lines else "it said nothing."


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content: dict[str, Any] = json.loads(path.read_text())
        return content
    except (OSError, ValueError):
        return None


def _write(path: Path, content: Mapping[str, Any]) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(dict(content)))
    partial.replace(path)

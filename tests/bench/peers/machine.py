"""What machine it was, and how much memory a tree of processes holds."""

import contextlib
import importlib.metadata
import mmap
import os
import shutil
import subprocess
import threading
import time
from types import TracebackType
from typing import Self

import psutil

MIB = 2**20
GPU_SAMPLE_MS = 200
GROWTH, LOOK_S = 1.05, 5.0
# When the benchmark began: what it finds at its end is its own.
LOAD_BEFORE = round(os.getloadavg()[0], 2)
PACKAGES = ("torch", "segmentation_models_pytorch", "lightning", "torchvision")


def describe_machine() -> dict[str, object]:
    """What a figure is worth nothing without: cores, processor, device, load, versions."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": _read_processor(),
        "device": find_gpu() or "cpu",
        "load_before": LOAD_BEFORE,
        "versions": dict(_read_versions()),
    }


def find_gpu() -> str:
    """The name of the GPU that there is; empty: none."""
    program = shutil.which("nvidia-smi")
    if not program:
        return ""
    command = [program, "--query-gpu=name", "--format=csv,noheader"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return answer.stdout.splitlines()[0].strip() if answer.returncode == 0 else ""


class MemoryWatch:
    """The most bytes that a process and all that it started held at once, as PSS: a page that some
    of them share counts once in all.

    To add up a process's PSS takes the kernel 25 ms a GiB, in which the process cannot map memory:
    it is done where the resident size, which costs nothing, has grown, and every few seconds.
    """

    def __init__(self, pid: int) -> None:
        self.peak_bytes = 0
        self._pid = pid
        self._resident, self._looked_at = 0.0, 0.0

    def look(self) -> None:
        """See what is held now."""
        pids = list_tree(self._pid)
        resident = sum(_read_resident(pid) for pid in pids)
        now = time.monotonic()
        if resident > GROWTH * self._resident or now - self._looked_at > LOOK_S:
            self.peak_bytes = max(self.peak_bytes, sum(_read_pss(pid) for pid in pids))
            self._resident, self._looked_at = max(resident, self._resident), now


def list_tree(pid: int) -> list[int]:
    """A process and all that it started, and these started; empty: it is gone."""
    try:
        process = psutil.Process(pid)
        return [pid, *(child.pid for child in process.children(recursive=True))]
    except psutil.Error:
        return []


class DeviceWatch:
    """The most memory that was taken on the GPU while it was open, above what was taken before."""

    def __init__(self) -> None:
        self.before_mib: int | None = None
        self.peak_mib = 0
        self._process: subprocess.Popen[str] | None = None
        self._thread = threading.Thread()

    @property
    def taken_mib(self) -> int | None:
        """None without a GPU."""
        return None if self.before_mib is None else self.peak_mib - self.before_mib

    def __enter__(self) -> Self:
        if program := shutil.which("nvidia-smi"):
            query = ["--query-gpu=memory.used", "--format=csv,noheader,nounits"]
            command = [program, *query, "-i", "0", "-lms", str(GPU_SAMPLE_MS)]
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            self._note()  # what is taken before the contestant begins
            self._thread = threading.Thread(target=self._follow)
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process:
            self._process.kill()
            self._thread.join()  # what was written is still read
            self._process.communicate()

    def _follow(self) -> None:
        while self._note():
            pass

    def _note(self) -> bool:
        assert self._process is not None
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        if line.isdigit():
            self.before_mib = int(line) if self.before_mib is None else self.before_mib
            self.peak_mib = max(self.peak_mib, int(line))
        return bool(line)


def _read_pss(pid: int) -> int:
    # A process may end while it is looked at.
    with contextlib.suppress(OSError), open(f"/proc/{pid}/smaps_rollup", "rb") as lines:
        for line in lines:
            if line.startswith(b"Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def _read_resident(pid: int) -> int:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/statm", "rb") as line:
        return int(line.read().split()[1]) * mmap.PAGESIZE
    return 0


def _read_processor() -> str:
    with open("/proc/cpuinfo", encoding="utf-8") as lines:
        names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
        return next(names, "unknown")


def _read_versions() -> list[tuple[str, str]]:
    found = []
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found.append((name, importlib.metadata.version(name)))
    return found

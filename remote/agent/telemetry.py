"""How busy the node is: a row of `telemetry.csv` every few seconds."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from .files import append_line

if TYPE_CHECKING:
    from collections.abc import Callable

FILE = "telemetry.csv"
PERIOD_S = 5.0
HOST_COLUMNS = ("at", "cpu_pct", "memory_used_gib", "memory_pct", "disk_free_gib")
GPU_COLUMNS = ("util_pct", "memory_used_gib", "memory_total_gib", "temperature_c", "power_w")
GPU_QUERY = (
    "nvidia-smi",
    "--query-gpu=utilization.gpu,memory.used,memory.total,temperature.gpu,power.draw",
    "--format=csv,noheader,nounits",
)
GPU_TIMEOUT_S = 10.0
MIB_COLUMNS = ("memory_used_gib", "memory_total_gib")


class Sampler(threading.Thread):
    """Appends to the run's `telemetry.csv` until its process ends."""

    def __init__(self, run: Path, period_s: float = PERIOD_S) -> None:
        super().__init__(daemon=True)
        self._run, self._period_s = run, period_s
        self._gpus = len(read_gpus())
        self._read_cpu = make_cpu_meter()

    def run(self) -> None:
        with contextlib.suppress(OSError):  # a full disk ends the telemetry, not the training
            self._write_header()
        while True:
            with contextlib.suppress(OSError):
                append_line(self._run / FILE, ",".join(self._sample()))
            time.sleep(self._period_s)

    def _write_header(self) -> None:
        path = self._run / FILE
        if not path.exists() or not path.stat().st_size:
            names = [f"gpu{n}_{name}" for n in range(self._gpus) for name in GPU_COLUMNS]
            append_line(path, ",".join([*HOST_COLUMNS, *names]))

    def _sample(self) -> list[str]:
        used, total = read_memory()
        free = shutil.disk_usage(self._run).free
        host = [time.time(), self._read_cpu(), used / 2**30, 100 * used / total, free / 2**30]
        rows = read_gpus() if self._gpus else []
        rows += [[""] * len(GPU_COLUMNS)] * (self._gpus - len(rows))
        return [f"{value:.2f}" for value in host] + [cell for row in rows for cell in row]


def read_gpus() -> list[list[str]]:
    """A row of GPU_COLUMNS for each GPU, empty where it does not say; none without nvidia-smi."""
    try:
        result = subprocess.run(
            GPU_QUERY, capture_output=True, text=True, timeout=GPU_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return [parse_gpu(line) for line in result.stdout.splitlines() if line.strip()]


def parse_gpu(line: str) -> list[str]:
    """One line of nvidia-smi's CSV, MiB made GiB."""
    cells = []
    for name, cell in zip(GPU_COLUMNS, line.split(",")):
        try:
            value = float(cell)
        except ValueError:  # "[N/A]", "[Not Supported]"
            cells.append("")
        else:
            cells.append(f"{value / 1024 if name in MIB_COLUMNS else value:.2f}")
    return cells


def read_memory() -> tuple[int, int]:
    """Bytes of memory in use and in all."""
    amounts = {}
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, rest = line.partition(":")
        amounts[name] = int(rest.split()[0]) * 1024
    return amounts["MemTotal"] - amounts["MemAvailable"], amounts["MemTotal"]


def make_cpu_meter() -> Callable[[], float]:
    """A function that gives the share of CPU time in use since it was last called, in percent."""
    last = _read_cpu_times()

    def measure() -> float:
        nonlocal last
        busy, total = _read_cpu_times()
        spent = total - last[1]
        share = 100 * (busy - last[0]) / spent if spent else 0.0
        last = (busy, total)
        return share

    return measure


def _read_cpu_times() -> tuple[int, int]:
    """Jiffies busy and in all."""
    times = [int(part) for part in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
    idle = times[3] + times[4]
    return sum(times) - idle, sum(times)

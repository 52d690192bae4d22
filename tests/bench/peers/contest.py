"""Runs contestants in turn, each in a process of its own, and says what they took."""

import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.peers.machine import MIB, DeviceWatch, MemoryWatch, describe_machine, list_tree

SAMPLE_S = 0.2
TIMEOUT_S = 3600
ROOT = Path(__file__).parents[3]
# Contestants choose their threads themselves, and look nothing up in the network.
UNSET = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF")
SET = {"NO_ALBUMENTATIONS_UPDATE": "1", "PYTHONWARNINGS": "ignore"}


@dataclass
class Measurement:
    """One process from its start to its end; times in seconds since the epoch."""

    began: float
    ended: float
    peak_pss_mib: int | None = None
    device_mib: int | None = None
    figures: dict[str, float] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        return self.ended - self.began


Contestant = Callable[[Path], Measurement]
"""Runs once, in an empty folder."""


def run_process(command: Sequence[str | Path], folder: Path) -> Measurement:
    """Run a command to its end, its output in `folder`/log.txt, and watch its memory."""
    environment = {key: value for key, value in os.environ.items() if key not in UNSET}
    environment |= {**SET, "PYTHONPATH": str(ROOT)}
    with DeviceWatch() as device, (folder / "log.txt").open("wb") as log:
        began, peak = time.time(), 0
        with subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=folder,
        ) as process:
            try:
                peak = _watch(process)
            except BaseException:  # nobody would wait for what goes on then
                _kill(process.pid)
                raise
        ended = time.time()
    if process.returncode:
        text = (folder / "log.txt").read_text(errors="replace")
        fix = "\nFix: pip install -e '.[train,bench]'" if "ModuleNotFoundError" in text else ""
        raise SystemExit(f"{command} failed ({process.returncode}):\n{text[-3000:]}{fix}")
    return Measurement(began, ended, peak // MIB, device.taken_mib)


def compete(
    contestants: Mapping[str, Contestant], rounds: int, folder: Path
) -> dict[str, list[Measurement]]:
    """A B A B: every contestant once a round."""
    results: dict[str, list[Measurement]] = {name: [] for name in contestants}
    for number in range(rounds):
        for name, run in contestants.items():
            place = folder / f"{name}-{number}"
            place.mkdir(parents=True)
            result = run(place)
            results[name].append(result)
            figures = {key: round(value, 3) for key, value in result.figures.items()}
            _tell(f"round {number + 1}/{rounds} {name}: {result.seconds:.1f} s {figures}")
    return results


def take_median(results: Sequence[Measurement], figure: str) -> float:
    """The median of a figure over the rounds."""
    return statistics.median(result.figures[figure] for result in results)


def report(
    answer: Mapping[str, float],
    limits: Mapping[str, float],
    results: Mapping[str, Sequence[Measurement]],
    **settings: object,
) -> None:
    """Print the one JSON object: what was reached, what each took, and on which machine.

    A limit of a name that ends in `_s` must not be passed, any other be reached.
    """
    reached = {
        name: answer[name] <= limit if name.endswith("_s") else answer[name] >= limit
        for name, limit in limits.items()
        if name in answer
    }
    described = {name: _describe(rows) for name, rows in results.items()}
    print(
        json.dumps(
            {
                **{name: round(value, 3) for name, value in answer.items()},
                "limits": dict(limits),
                "reached": reached,
                "contestants": described,
                **settings,
                "machine": describe_machine(),
            }
        )
    )


def _describe(rows: Sequence[Measurement]) -> dict[str, object]:
    """Median, lowest and highest of each figure; the highest peak of memory, where it was seen."""
    described: dict[str, object] = {
        name: [
            round(choose(row.figures[name] for row in rows), 3)
            for choose in (statistics.median, min, max)
        ]
        for name in rows[0].figures
    }
    for name in ("peak_pss_mib", "device_mib"):
        seen = [peak for row in rows if (peak := getattr(row, name)) is not None]
        described |= {name: max(seen)} if seen else {}
    return described


def _watch(process: "subprocess.Popen[bytes]") -> int:
    """Wait for the end; the most bytes that the process and its children held at once."""
    memory, deadline = MemoryWatch(process.pid), time.monotonic() + TIMEOUT_S
    while process.poll() is None:
        memory.look()
        try:
            process.wait(SAMPLE_S)
        except subprocess.TimeoutExpired:
            if time.monotonic() > deadline:
                _kill(process.pid)
    return memory.peak_bytes


def _kill(pid: int) -> None:
    """End a process and all that it started."""
    for one in list_tree(pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)

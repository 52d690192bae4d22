"""Seconds until the layout of 10,000 files is known and their pairs are listed, by names alone.

    python -m tests.bench.recognition

Each layout whose pairs are files; the pictures are empty. `slowest_s` is the slowest of them,
`vs_walk` how many times as long it takes as a bare walk over the same folder.
"""

import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.train.layouts import write_layout
from train.data.formats import read_source

FILES, TURNS = 10_000, 3
LAYOUTS = ("voc", "waggle", "jetcar", "cityscapes", "pairs")
PICTURES = (".jpg", ".png")
LIMITS = {"slowest_s": 2.0}


def main() -> None:
    """Time each and print the slowest."""
    seconds: dict[str, float] = {}
    ratios: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="segaway-bench-") as name:
        for layout in LAYOUTS:
            folder = Path(name) / layout
            write_layout(layout, folder)
            multiply(folder)
            seconds[layout] = take(read_source, folder)
            ratios[layout] = seconds[layout] / take(walk, folder)
            shutil.rmtree(folder)
    slowest = max(seconds, key=lambda layout: seconds[layout])
    answer = {"slowest_s": round(seconds[slowest], 3), "vs_walk": round(ratios[slowest], 1)}
    reached = {"slowest_s": seconds[slowest] <= LIMITS["slowest_s"]}
    rounded = {layout: round(value, 3) for layout, value in seconds.items()}
    print(json.dumps({**answer, "limits": LIMITS, "reached": reached, "seconds": rounded}))


def multiply(folder: Path) -> None:
    """More pictures of other names beside those that are there, all empty, up to 10,000 files."""
    pictures = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in PICTURES]
    for number in range(-(-FILES // len(pictures))):
        for path in pictures:
            path.with_name(path.name.replace("scene", f"scene{number}")).touch()


def walk(folder: Path) -> int:
    return sum(len(names) for _, _, names in os.walk(folder))


def take(work: Callable[[Path], object], folder: Path) -> float:
    """Seconds, the median of a few turns."""
    times = []
    for _ in range(TURNS):
        began = time.perf_counter()
        work(folder)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


if __name__ == "__main__":
    main()

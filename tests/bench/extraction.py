"""Extraction beside tar and unzip: CamVid's archive, and 20,000 small files.

    python -m tests.bench.extraction [--rounds N] [--archive PATH]

A B A B, medians. `camvid_vs_tar`, `small_vs_tar`, `pax_vs_tar` (a tar with a second header for
each file, as macOS and Python write it) and `small_vs_unzip` are how many times as long ours takes,
the start of Python left out: it extracts in a process that is there already, as `segaway run` does.
"""

import argparse
import json
import statistics
import subprocess
import tempfile
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from tests.bench.peers.camvid import ARCHIVE
from train.data.extract import extract_archive

FILES, LARGEST = 20_000, 3000
LIMITS = {"camvid_vs_tar": 1.2, "small_vs_tar": 1.2, "pax_vs_tar": 1.2, "small_vs_unzip": 1.2}


def main() -> None:
    """Extract in turn, and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--archive", type=Path, default=ARCHIVE)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="segaway-bench-") as name:
        folder = Path(name)
        small = make_files(folder / "small")
        tar, zipped = pack_tar(small, folder / "small.tar"), pack_zip(small, folder / "small.zip")
        pax = pack_tar(small, folder / "pax.tar", "--format=pax")
        works = {
            "camvid": lambda target: extract_archive(arguments.archive, target),
            "camvid_tar": lambda target: run_tar(arguments.archive, target),
            "small_tar": lambda target: run_tar(tar, target),
            "small": lambda target: extract_archive(tar, target),
            "pax_tar": lambda target: run_tar(pax, target),
            "pax": lambda target: extract_archive(pax, target),
            "small_unzip": lambda target: run_unzip(zipped, target),
            "small_zip": lambda target: extract_archive(zipped, target),
        }
        times = measure(works, folder, arguments.rounds)
    answer = {
        "camvid_vs_tar": times["camvid"] / times["camvid_tar"],
        "small_vs_tar": times["small"] / times["small_tar"],
        "pax_vs_tar": times["pax"] / times["pax_tar"],
        "small_vs_unzip": times["small_zip"] / times["small_unzip"],
    }
    print(
        json.dumps(
            {
                **{key: round(value, 2) for key, value in answer.items()},
                "limits": LIMITS,
                "reached": {key: answer[key] <= limit for key, limit in LIMITS.items()},
                "seconds": {key: round(value, 3) for key, value in times.items()},
            }
        )
    )


def measure(
    works: Mapping[str, Callable[[Path], object]], folder: Path, rounds: int
) -> dict[str, float]:
    """Seconds of each, the median; each has a folder of its own.

    Nothing is removed before the end: ext4 passes over inodes that were freed in the last minutes,
    one by one, and creating a file then takes several times as long for whoever comes next.
    """
    times: dict[str, list[float]] = {key: [] for key in works}
    for number in range(rounds):
        for key, work in works.items():
            began = time.perf_counter()
            work(folder / f"{key}-{number}")
            times[key].append(time.perf_counter() - began)
    return {key: statistics.median(values) for key, values in times.items()}


def make_files(folder: Path) -> Path:
    """Small files of noise in a hundred folders."""
    rng = np.random.default_rng(0)
    for number in range(FILES):
        path = folder / f"{number % 100:02}" / f"{number:05}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rng.bytes(int(rng.integers(1, LARGEST))))
    return folder


def pack_tar(folder: Path, path: Path, *flags: str) -> Path:
    command = ["tar", *flags, "-cf", str(path), "-C", str(folder.parent), folder.name]
    subprocess.run(command, check=True)
    return path


def pack_zip(folder: Path, path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder))
    return path


def run_tar(archive: Path, target: Path) -> None:
    target.mkdir()
    subprocess.run(["tar", "xf", str(archive), "-C", str(target)], check=True)


def run_unzip(archive: Path, target: Path) -> None:
    subprocess.run(["unzip", "-q", str(archive), "-d", str(target)], check=True)


if __name__ == "__main__":
    main()

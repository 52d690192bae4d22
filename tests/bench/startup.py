"""`segaway run` on a prepared node of the test bed beside a bare `python -m train`, in turn.

Prepared: the node is up, the dataset is on its volume, and with podman the image is there. As root.

For each engine: the seconds from the command to the first training step, the seconds to the end,
and what of either `run` adds to the bare trainer: medians.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cli.skies import draw_archive
from tests.conftest import PODMAN, BedLaptop
from train.data.extract import extract_archive
from train.data.separate import separate_dataset

ROUNDS = 3
LIMITS_S = {"process": 5.0, "podman": 8.0}
ENGINES = {"process": ("--engine", "process"), "podman": PODMAN}
LENGTH = {"epochs": 3, "crop": 32, "batch": 4}


def main() -> None:
    """Run all in turn and print the times."""
    with tempfile.TemporaryDirectory() as folder:
        dataset = make_dataset(Path(folder))
        times: dict[str, list[tuple[float, float]]] = {"bare": [], "process": [], "podman": []}
        for number in range(ROUNDS):
            place = Path(folder) / str(number)
            times["bare"].append(train_bare(place / "bare", dataset))
            for engine, flags in ENGINES.items():
                times[engine].append(run_prepared(place / engine, dataset, flags))
    medians = {
        name: [statistics.median(column) for column in zip(*rows, strict=True)]
        for name, rows in times.items()
    }
    print(json.dumps(describe(medians)))


def describe(medians: dict[str, list[float]]) -> dict[str, object]:
    """The answer: seconds, and what is added."""
    bare = medians.pop("bare")
    answer: dict[str, object] = {
        "bare_first_step_s": round(bare[0], 2),
        "bare_end_s": round(bare[1], 2),
    }
    for engine, (first, end) in medians.items():
        answer |= {
            f"{engine}_first_step_s": round(first, 2),
            f"{engine}_added_first_step_s": round(first - bare[0], 2),
            f"{engine}_added_end_s": round(end - bare[1], 2),
            f"{engine}_limit_s": LIMITS_S[engine],
        }
    return answer


def make_dataset(folder: Path) -> Path:
    archive, raw, dataset = folder / "skies.tar", folder / "raw", folder / "separated"
    draw_archive(archive, counts={"train": 8, "val": 2, "unlabelled": 2}, size=(48, 36))
    extract_archive(archive, raw)
    separate_dataset(raw, dataset, name="skies")
    return dataset


def train_bare(folder: Path, dataset: Path) -> tuple[float, float]:
    """Seconds to the first step and to the end."""
    folder.mkdir(parents=True)
    config = {"dataset": str(dataset), "output": str(folder), **LENGTH}
    (folder / "config.json").write_text(json.dumps(config))
    command = [sys.executable, "-m", "train", str(folder / "config.json")]
    began = time.time()
    subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True, stdout=2)
    return read_first_step(folder) - began, time.time() - began


def run_prepared(folder: Path, dataset: Path, flags: tuple[str, ...]) -> tuple[float, float]:
    """The same of a `segaway run` that finds everything there."""
    folder.mkdir(parents=True)
    laptop = BedLaptop(folder)
    try:
        # A resumed run does not ask for its length: it is the one of its beginning.
        laptop.environment |= {f"SEGAWAY_{name.upper()}": str(n) for name, n in LENGTH.items()}
        run = laptop.good("provision", "--dataset", dataset, "--on", "netns")["run"]
        laptop.good("sync", run)
        if "podman" in flags:
            laptop.good("image", "build", run, *flags)
        began = time.time()
        answer = laptop.run("run", "--resume", run, *flags)
        ended = time.time()
        if answer.code:
            raise SystemExit(answer.err)
        return read_first_step(folder / "results" / run) - began, ended - began
    finally:
        laptop.end()


def read_first_step(folder: Path) -> float:
    """When the first step was done, in seconds since the epoch."""
    events = map(json.loads, (folder / "events.jsonl").read_text().splitlines())
    return float(next(event["at"] for event in events if event["kind"] == "step"))


if __name__ == "__main__":
    main()

"""The time a training takes while its link is cut all the time, beside one that is left alone.

On a node of the test bed, watched by `segaway attach`; in turn, medians of the job's own times. As
root.
"""

import json
import random
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from tests.bench.startup import make_dataset
from tests.conftest import BedLaptop

ROUNDS = 2
EPOCHS = 250


def main() -> None:
    """Run both in turn and print the ratio."""
    with tempfile.TemporaryDirectory() as folder:
        dataset = make_dataset(Path(folder))
        times: dict[bool, list[float]] = {False: [], True: []}
        cuts = 0
        for number in range(ROUNDS):
            for cutting, seconds in times.items():
                place = Path(folder) / f"{number}-{cutting}"
                took_s, count = train(place, dataset, cutting)
                seconds.append(took_s)
                cuts += count
    alone, cut = (statistics.median(times[cutting]) for cutting in (False, True))
    answer = {"alone_s": round(alone, 2), "cut_s": round(cut, 2), "cuts": cuts}
    print(json.dumps({**answer, "ratio": round(cut / alone, 3)}))


def train(folder: Path, dataset: Path, cutting: bool) -> tuple[float, int]:
    """Seconds that the job took on the node, and how often the link was cut meanwhile."""
    folder.mkdir()
    laptop = BedLaptop(folder)
    try:
        run = laptop.good("provision", "--dataset", dataset)["run"]
        laptop.good("sync", run)
        length = ("--epochs", str(EPOCHS), "--crop", "32", "--batch", "4")
        laptop.good("train", run, *length, "--engine", "process")
        process = laptop.start("attach", run, "--json")
        cuts = cut_until_end(laptop, run, process) if cutting else 0
        process.communicate()
        return read_seconds(laptop, run), cuts
    finally:
        laptop.end()


def cut_until_end(laptop: BedLaptop, run: str, process: "subprocess.Popen[str]") -> int:
    node, dice, cuts = laptop.node(run), random.Random(1), 0
    while process.poll() is None:
        node.cut()
        time.sleep(dice.uniform(0.01, 0.5))
        node.mend()
        time.sleep(dice.uniform(0.01, 0.5))
        cuts += 1
    return cuts


def read_seconds(laptop: BedLaptop, run: str) -> float:
    """By the trainer's own clock, from its first word to its last."""
    path = f"/mnt/segaway/runs/{run}/events.jsonl"
    lines = laptop.node(run).run(["cat", path]).stdout.splitlines()
    first, last = json.loads(lines[0]), json.loads(lines[-1])
    assert last["kind"] == "finished"
    return float(last["at"] - first["at"])


if __name__ == "__main__":
    main()

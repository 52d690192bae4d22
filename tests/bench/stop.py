"""Seconds from SIGTERM until all that the trainer has done is durable, and until it has ended.

    python -m tests.bench.stop [--stops N] [-- KEY=VALUE ...]

One training of unet/resnet34, batch 8, crop 320, on CamVid, stopped at random moments of steps and
of validations and gone on with each time. `durable_s` and `ended_s` are the longest of all stops;
`steps` are those that each stop has left in the checkpoint. KEY=VALUE are settings of the trainer.
"""

import argparse
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.bench.peers.camvid import ARCHIVE, open_camvid
from tests.bench.peers.contest import ROOT, Measurement, report
from tests.bench.peers.ours import make_config, read_settings, write_config
from tests.bench.peers.task import Task
from train.events import Checkpoint, Step, parse_event

LIMITS = {"durable_s": 5.0}
# Between them lie ten steps of a second, a validation of ten, and what begins again.
WAIT_S = (0.0, 25.0)
ENDLESS, VALIDATE_STEPS = 10**6, 10
STOPPED = 128 + signal.SIGTERM


def main() -> None:
    """Stop it again and again, and print the longest wait."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stops", type=int, default=10)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--archive", type=Path, default=ARCHIVE)
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE")
    arguments = parser.parse_args()
    rng = random.Random(0)
    settings = {"validate_steps": VALIDATE_STEPS, **read_settings(arguments.settings)}
    with open_camvid(arguments.archive) as (folder, results):
        task = Task(folder, ENDLESS, 0, device=arguments.device)
        path = write_config(make_config(task, results / "run", settings), results)
        rows = [stop_once(path, results / "run", rng) for _ in range(arguments.stops)]
    steps = [row.figures.pop("step") for row in rows]
    longest = {name: max(row.figures[name] for row in rows) for name in rows[0].figures}
    report(longest, LIMITS, {"ours": rows}, steps=steps, settings=settings)


def stop_once(config: Path, output: Path, rng: random.Random) -> Measurement:
    """Train for a while, and stop.

    Figures: durable_s, ended_s, and the step of the checkpoint that is left.
    """
    began = time.time()
    command = [sys.executable, "-m", "train", str(config)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        try:
            while find_last(output, Step, began)[0] < 0 and process.poll() is None:
                time.sleep(0.05)
            time.sleep(rng.uniform(*WAIT_S))
            asked = time.time()
            process.send_signal(signal.SIGTERM)
            code = process.wait()
            ended_s = time.time() - asked
        finally:
            process.kill()
    said, _ = find_last(output, Step, began)
    kept, at = find_last(output, Checkpoint, began)
    if code != STOPPED or kept < said:
        raise SystemExit(f"It ended with {code}; step {said} was done, and {kept} is kept.")
    figures = {"durable_s": at - asked, "ended_s": ended_s, "step": kept}
    print({name: round(value, 2) for name, value in figures.items()}, file=sys.stderr, flush=True)
    return Measurement(began, time.time(), figures=figures)


def find_last(output: Path, kind: type[Step | Checkpoint], since: float) -> tuple[int, float]:
    """Step and time of the last event of that kind since then; -1 and 0: there is none."""
    path = output / "events.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    events = [event for line in lines if (event := parse_event(line))]
    found = [(e.step, e.at) for e in events if isinstance(e, kind) and e.at >= since]
    return max(found, default=(-1, 0.0))


if __name__ == "__main__":
    main()

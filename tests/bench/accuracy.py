"""Validation mIoU of `resunet` from scratch on CamVid, within a time.

    python -m tests.bench.accuracy [--minutes N] [--seeds N] [--device NAME] [-- KEY=VALUE ...]

Ours only, by `python -m train`, with the trainer's defaults but for KEY=VALUE. `val_miou` is the
best that was validated, the mean where there is more than one seed; `minutes` what a training took
from its start to its end; `runs` holds each seed's curve: minutes since the trainer began, and mIoU
(macro, over the classes in truth or prediction, void left out).
"""

import argparse
import statistics
import sys
from pathlib import Path

from tests.bench.peers.camvid import ARCHIVE, open_camvid
from tests.bench.peers.contest import Measurement, report
from tests.bench.peers.ours import read_curve, read_settings, run_trainer

LIMITS = {"val_miou": 0.50}
RECIPE = {"model": "resunet", "crop": 320, "batch": 8, "predict": []}


def main() -> None:
    """Train once a seed and print what was reached."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--archive", type=Path, default=ARCHIVE)
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE")
    arguments = parser.parse_args()
    settings = {
        **RECIPE,
        "minutes": arguments.minutes,
        "device": arguments.device,
        **read_settings(arguments.settings),
    }
    results: list[Measurement] = []
    runs: list[dict[str, object]] = []
    with open_camvid(arguments.archive) as (folder, scratch):
        for seed in range(arguments.seeds):
            place = scratch / str(seed)
            place.mkdir()
            paths = {"dataset": str(folder), "output": str(place / "run")}
            result, events = run_trainer({**settings, **paths, "seed": seed}, place)
            curve = read_curve(events)
            best = max(miou for _, miou in curve)
            result.figures = {"val_miou": best, "minutes": result.seconds / 60}
            results.append(result)
            runs.append({"seed": seed, "val_miou": best, "curve": curve})
            print(f"seed {seed}: {best}", file=sys.stderr, flush=True)
    scores = [result.figures["val_miou"] for result in results]
    answer = {
        "val_miou": statistics.mean(scores),
        "spread": max(scores) - min(scores),
        "minutes": statistics.mean(result.figures["minutes"] for result in results),
    }
    report(answer, LIMITS, {"ours": results}, settings=settings, runs=runs)


if __name__ == "__main__":
    main()

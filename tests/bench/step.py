"""Images per second of steady training steps: ours beside smp with Lightning, and the ceiling.

    python -m tests.bench.step [--steps N] [--rounds N] [--contestants A,B] [-- KEY=VALUE ...]

unet/resnet34, batch 8, crop 320, CamVid; each contestant in a process of its own, A B A B, medians.
Ours is `python -m train` by its own events, behind the pass in which it decodes the images; it
zooms and discolours its crops as the others do. `vs_shipped` and `vs_tuned` are how many times its
rate is theirs, `vs_ceiling` is its share of what the same model, loss and optimiser reach on
tensors that lie in memory. KEY=VALUE are settings of the trainer.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.bench.peers.camvid import ARCHIVE, open_camvid, shorten_list
from tests.bench.peers.contest import Contestant, Measurement, compete, report, take_median
from tests.bench.peers.machine import find_gpu
from tests.bench.peers.ours import VARIED, make_trainer, read_settings
from tests.bench.peers.task import Task, make_contestant
from train.data.dataset import load_dataset

KNOWN = ("shipped", "tuned", "ceiling", "ours", "ours_plain_crops", "plain", "reference", "amp")
CHOSEN = "shipped,tuned,ceiling,ours"
WARMUP, STEPS = {"cpu": 4, "cuda": 50}, {"cpu": 12, "cuda": 1000}
LIMITS = {
    "cpu": {"vs_shipped": 4.0, "vs_tuned": 1.1, "vs_ceiling": 0.95},
    "cuda": {"vs_shipped": 4.0, "vs_tuned": 1.1, "vs_ceiling": 0.90},
}


def main() -> None:
    """Run all in turn and print the ratios."""
    arguments = read_arguments()
    kind = "cuda" if arguments.device != "cpu" and find_gpu() else "cpu"
    steps, warmup = arguments.steps or STEPS[kind], arguments.warmup or WARMUP[kind]
    settings = read_settings(arguments.settings)
    with open_camvid(arguments.archive) as (folder, results):
        # The validation that ends a training is no part of this.
        dataset = shorten_list(folder, folder.with_name("short"), "val", 2)
        shape = {"batch": arguments.batch, "crop": arguments.crop}
        task = Task(dataset, warmup + steps, warmup, device=arguments.device, **shape)
        chosen = make_contestants(arguments.contestants.split(","), task, settings, kind)
        measured = compete(chosen, arguments.rounds, results)
    settled = {**shape, "steps": steps, "settings": settings}
    report(compare(measured), LIMITS[kind], measured, **settled)


def read_arguments() -> argparse.Namespace:
    """What the user types."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, help="measured ones")
    parser.add_argument("--warmup", type=int, help="steps before these")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--crop", type=int, default=320)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--contestants", default=CHOSEN, help=f"of {', '.join(KNOWN)}")
    parser.add_argument("--archive", type=Path, default=ARCHIVE)
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE")
    return parser.parse_args()


def make_contestants(
    names: Sequence[str], task: Task, settings: Mapping[str, Any], kind: str
) -> dict[str, Contestant]:
    """The contestants of these names, in this order."""
    images = len(load_dataset(task.dataset).lists["train"])
    longer, settings = lengthen(task, images, settings, kind)
    made: dict[str, Contestant] = {}
    for name in names:
        if name == "ours":
            made[name] = make_trainer(longer, {**VARIED, **settings}, images)
        elif name == "ours_plain_crops":
            made[name] = make_trainer(longer, settings, images)
        elif name == "ceiling":
            made[name] = make_contestant(name, replace(task, variant=json.dumps(settings)))
        elif name == "amp":
            made[name] = make_contestant("reference", replace(task, variant=name))
        elif name in KNOWN:
            made[name] = make_contestant(name, task)
        else:
            raise SystemExit(f"There is no contestant {name!r}; there are {', '.join(KNOWN)}.")
    return made


def lengthen(
    task: Task, images: int, settings: Mapping[str, Any], kind: str
) -> tuple[Task, Mapping[str, Any]]:
    """The task of ours, of which the same number of steps at the end is measured, and its settings.

    Before these lie the pass in which it decodes the images, and on a GPU what only a training does
    that is longer than this one: it compiles, and from its first validation on it holds the set in
    the GPU's memory.
    """
    ahead = max(task.warmup, -(-images // task.batch))
    if kind == "cuda":
        ahead += task.steps
        settings = {"compile": "on", "validate_steps": ahead, **settings}
        ahead += task.warmup
    measured = task.steps - task.warmup
    return replace(task, steps=ahead + measured, warmup=ahead), settings


def compare(measured: Mapping[str, Sequence[Measurement]]) -> dict[str, float]:
    """What our rate is to each other one's."""
    rates = {name: take_median(rows, "images_per_s") for name, rows in measured.items()}
    ours = rates.pop("ours")
    return {"images_per_s": ours, **{f"vs_{name}": ours / rate for name, rate in rates.items()}}


if __name__ == "__main__":
    main()

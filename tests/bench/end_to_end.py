"""Wall seconds of a whole process: start, a few steps, one validation; and the memory it takes.

    python -m tests.bench.end_to_end [--steps N] [--rounds N] [--contestants A,B] [-- KEY=VALUE ...]

unet/resnet34, batch 8, crop 320, CamVid; 16 steps and the 101 images of val at their full size;
each contestant in a process of its own, A B A B, medians. Ours is `python -m train CONFIG.json`.
`vs_shipped` and `vs_tuned` are how many times faster it is than smp with Lightning; `first_step_s`
is from its start to its first step. Peaks of memory are those of the process and its children: PSS,
and what the GPU has. KEY=VALUE are settings of the trainer.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from tests.bench.peers.camvid import ARCHIVE, open_camvid
from tests.bench.peers.contest import Contestant, compete, report, take_median
from tests.bench.peers.ours import VARIED, make_trainer, read_settings
from tests.bench.peers.task import Task, make_contestant

PEERS = ("shipped", "tuned", "plain", "reference", "amp")
CHOSEN = "shipped,tuned,ours"
LIMITS = {"vs_shipped": 3.5, "vs_tuned": 1.25, "first_step_s": 10.0}
# Lightning would not validate if it were stopped within its second pass.
MOST_STEPS = 45


def main() -> None:
    """Run all in turn and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=16, help=f"at most {MOST_STEPS}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--crop", type=int, default=320)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--contestants", default=CHOSEN, help=f"of ours, {', '.join(PEERS)}")
    parser.add_argument("--archive", type=Path, default=ARCHIVE)
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE")
    arguments = parser.parse_args()
    if arguments.steps > MOST_STEPS:
        parser.error(f"--steps is at most {MOST_STEPS}: one pass over the train list")
    settings = read_settings(arguments.settings)
    with open_camvid(arguments.archive) as (folder, results):
        shape = {"batch": arguments.batch, "crop": arguments.crop}
        task = Task(folder, arguments.steps, 0, validate=True, device=arguments.device, **shape)
        chosen: dict[str, Contestant] = {}
        for name in arguments.contestants.split(","):
            if name == "ours":
                chosen[name] = make_trainer(task, {**VARIED, **settings})
            else:
                module = "reference" if name == "amp" else name
                chosen[name] = make_contestant(module, replace(task, variant=name))
        measured = compete(chosen, arguments.rounds, results)
    seconds = {name: take_median(rows, "seconds") for name, rows in measured.items()}
    ours = seconds.pop("ours")
    answer = {
        "seconds": ours,
        "first_step_s": take_median(measured["ours"], "first_step_s"),
        **{f"vs_{name}": other / ours for name, other in seconds.items()},
    }
    settled = {**shape, "steps": task.steps, "settings": settings}
    report(answer, LIMITS, measured, **settled)


if __name__ == "__main__":
    main()

"""`python -m train CONFIG.json`: one training, from a config to its results.

Exit code 0: done; 1: failed, as the last event says; 143: stopped by SIGTERM, go on by repeating.
"""

import sys
import traceback
from pathlib import Path

from train.config import TrainConfig, read_config
from train.errors import TrainError
from train.events import EventLog, Failed, Warned

STOPPED = 143


def main(argv: list[str]) -> int:
    """Run the training that the one argument describes."""
    if len(argv) != 1 or argv[0].startswith("-"):
        print("Usage: python -m train CONFIG.json", file=sys.stderr)
        return 2
    try:
        config = read_config(Path(argv[0]))
        config.output.mkdir(parents=True, exist_ok=True)
        log = EventLog(config.output / "events.jsonl")
    except (TrainError, OSError) as error:
        print(f"Error: {error} {getattr(error, 'fix', '')}".strip(), file=sys.stderr)
        return 1
    return run(config, log)


def run(config: TrainConfig, log: EventLog) -> int:
    """Train; every way out is an event, too."""
    try:
        # Here, not above: a bad config is told at once, and without torch.
        from train.loop import Stopped, train
    except ImportError as error:
        return _fail(
            log,
            f"The trainer cannot start: {error}.",
            "Install what it needs on the node: pip install 'segaway[train]'",
        )
    try:
        train(config, log)
    except Stopped:
        log.emit(Warned(message="Stopped by SIGTERM; the last step is in checkpoints/last.pt."))
        return STOPPED
    except TrainError as error:
        return _fail(log, str(error), error.fix)
    except OSError as error:
        message = f"{error.filename or config.output}: {error.strerror or error}."
        return _fail(log, message, "Free space on the volume; the last checkpoint is kept.")
    except Exception as error:  # the log must say why, whatever it was
        traceback.print_exc()
        return _fail(log, f"{type(error).__name__}: {error}", "See log.txt; please report this.")
    return 0


def _fail(log: EventLog, message: str, fix: str) -> int:
    print(f"Error: {message}\nFix: {fix}", file=sys.stderr, flush=True)
    log.emit(Failed(message=message, fix=fix))
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

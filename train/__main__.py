"""`python -m train CONFIG.json [--log FILE]`: one training, from a config to its results.

With `--log`, everything that it prints is added to FILE, too early for anything to be missed.
Exit code 0: done; 1: failed, as the last event says; 143: stopped by SIGTERM, go on by repeating.
"""

import contextlib
import errno
import os
import sys
import traceback
from pathlib import Path

from train.config import TrainConfig, read_config
from train.errors import Cause, TrainError
from train.events import EVENTS, EventLog, Failed, SilentLog, Warned
from train.launch import launch_ranks, note_failure
from train.stop import Stopped

STOPPED = 143
USAGE = "Usage: python -m train CONFIG.json [--log FILE]"
LESS_MEMORY = "Start a run with a smaller --batch or --crop, or on a plan with more memory."


def main(argv: list[str]) -> int:
    """Run the training that the arguments describe."""
    if len(argv) not in (1, 3) or argv[0].startswith("-") or argv[1:2] not in ([], ["--log"]):
        print(USAGE, file=sys.stderr)
        return 2
    try:
        if argv[1:]:
            redirect_output(Path(argv[2]))
        config = read_config(Path(argv[0]))
        config.output.mkdir(parents=True, exist_ok=True)
        path = config.output / EVENTS
        if (count := count_ranks(config)) > 1:
            return launch(argv[:1], count, path)
        log = EventLog(path) if os.environ.get("RANK", "0") == "0" else SilentLog()
    except (TrainError, OSError) as error:
        print(f"Error: {error} {getattr(error, 'fix', '')}".strip(), file=sys.stderr)
        return 1
    try:
        return run(config, log)
    finally:
        log.close()


def count_ranks(config: TrainConfig) -> int:
    """How many processes are to be started; 1 where this is one of them."""
    if "WORLD_SIZE" in os.environ:
        return 1
    if config.ranks or config.device == "cpu" or not list(Path("/dev").glob("nvidia[0-9]*")):
        return config.ranks or 1
    # Only where there is a GPU: torch takes seconds to be imported, once more.
    import torch

    return max(1, torch.cuda.device_count())


def launch(argv: list[str], count: int, path: Path) -> int:
    """Train in so many processes; say in the log what went wrong in one that has none."""
    code, note = launch_ranks(argv, count)
    if code not in (0, STOPPED) and note:
        return _fail(EventLog(path), **note)
    return code


def redirect_output(path: Path) -> None:
    """Add what this process prints to a file; no engine's log stands between the two."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    os.dup2(fd, 1)
    os.dup2(fd, 2)


def run(config: TrainConfig, log: EventLog | SilentLog) -> int:
    """Train; every way out is an event, too."""
    try:
        # Here, not above: a bad config is told at once, and without torch.
        from train.loop import train
        from train.ranks import join_ranks
    except ImportError as error:
        return _fail(
            log,
            f"The trainer cannot start: {error}.",
            "Install what it needs on the node: pip install 'segaway[train]'",
            "settings",
        )
    try:
        train(config, log, join_ranks(config))
    except Stopped:
        log.emit(Warned(message="Stopped by SIGTERM; the last step is in checkpoints/last.pt."))
        return STOPPED
    except TrainError as error:
        return _fail(log, str(error), error.fix, error.cause)
    except OSError as error:
        message = f"{error.filename or config.output}: {error.strerror or error}."
        fix = "Free space on the volume; the last checkpoint is kept."
        return _fail(log, message, fix, "disk_full" if error.errno == errno.ENOSPC else "data")
    except Exception as error:  # the log must say why, whatever it was
        traceback.print_exc()
        return _fail(log, *_explain(error))
    return 0


def _explain(error: Exception) -> tuple[str, str, Cause]:
    """Message, fix and cause of what nobody expected; torch has no names for most of it."""
    import torch

    message = f"{type(error).__name__}: {error}"
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return f"There was not enough memory. {message}", LESS_MEMORY, "memory"
    if isinstance(error, torch.AcceleratorError) or "CUDA" in message or "cuDNN" in message:
        fix = "Go on with segaway run --resume RUN; if it comes again, take another node."
        return f"The GPU failed. {message}", fix, "gpu"
    return message, "See log.txt; please report this.", "internal"


def _fail(log: EventLog | SilentLog, message: str, fix: str, cause: Cause) -> int:
    # On a full disk neither may succeed; the exit code does.
    with contextlib.suppress(OSError):
        print(f"Error: {message}\nFix: {fix}", file=sys.stderr, flush=True)
    with contextlib.suppress(OSError):
        log.emit(Failed(message=message, fix=fix, cause=cause))
    with contextlib.suppress(OSError):
        note_failure(message=message, fix=fix, cause=cause)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

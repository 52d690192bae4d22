"""`python -m train.board FOLDER [--port N]`: TensorBoard on a run's events, growing ones too.

It listens on 127.0.0.1, and ends when its input does: what started it by a pipe or a connection
takes it along. Its first line of output is one JSON object: {"port": N}, or {"error": text,
"install": the packages that mend it, where some are missing}.
"""

import argparse
import json
import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

HOST = "127.0.0.1"
PACKAGES = ["tensorboard", "pydantic"]
RELOAD_S = 2
TOO_LATE_S = 10.0
SIGNALS = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)


def main(argv: list[str]) -> int:
    """Serve until the input ends or a signal comes; 1 where it cannot be begun."""
    parser = argparse.ArgumentParser(prog="python -m train.board")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int, default=0)
    given = parser.parse_args(argv)
    try:
        # Here, not above: the missing ones are to be told in the answer.
        from train.scalars import follow_scalars
    except ImportError as error:
        return _answer(1, error=f"TensorBoard cannot start: {error}.", install=PACKAGES)
    return serve(given.folder, given.port, follow_scalars)


def serve(folder: Path, port: int, follow: Callable[[Path, Path, threading.Event], None]) -> int:
    """TensorBoard on the scalars that `follow` writes, in a private folder that goes with it."""
    for number in SIGNALS:
        signal.signal(number, _leave)
    ended = threading.Event()
    with tempfile.TemporaryDirectory(
        prefix="segaway-board-", ignore_cleanup_errors=True
    ) as scratch:
        target = Path(scratch) / folder.resolve().name
        target.mkdir()
        following = threading.Thread(
            target=follow, args=(folder / "events.jsonl", target, ended), daemon=True
        )
        following.start()
        try:
            return _show(Path(scratch), port)
        finally:
            # The folder goes now: no signal may come between.
            for number in SIGNALS:
                signal.signal(number, signal.SIG_IGN)
            ended.set()
            following.join(TOO_LATE_S)


def _show(folder: Path, port: int) -> int:
    from tensorboard import program

    board = program.TensorBoard()
    board.configure(
        logdir=str(folder),
        host=HOST,
        port=port,
        reload_interval=RELOAD_S,
        load_fast="false",  # the fast loader would be a process of its own
    )
    try:
        found = urlsplit(board.launch()).port
    except program.TensorBoardServerException as error:
        return _answer(1, error=f"TensorBoard cannot have port {port} on {HOST}: {error.msg}")
    _answer(0, port=found)
    sys.stdin.buffer.read()
    return 0


def _answer(code: int, **answer: Any) -> int:
    print(json.dumps(answer), flush=True)
    return code


def _leave(number: int, _frame: object) -> None:
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

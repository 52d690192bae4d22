"""Results home while training goes on: only what changed, and only a share of the link."""

import contextlib
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

from remote.agent.files import BadTransfer, find_lacking
from remote.calls import call_agent
from remote.errors import RemoteError
from remote.fetch import receive_files
from remote.follow import FILES
from remote.host import Host

LAST, BEST = "checkpoints/last.pt", "checkpoints/best.pt"
STAGE = ".incoming-live"
LEAVE_POLL_S = 0.1


def bring_results(host: Host, root: str, source: str, target: Path, share: float) -> int:
    """Bring home what of the run's folder changed; how many files. Waits; safe to repeat.

    Every file is replaced as a whole; one that changes on the node meanwhile is left for the next
    time. The last checkpoint is read before the best and put in its place after it: whatever
    interrupts this, the best that is here is never older than what the last one says of it. The
    files that are followed are left to their follower.

    Raises:
        RemoteError: the link broke; the next time brings the rest.
        OSError: it cannot be written here.
    """
    manifest = call_agent(host, root, "manifest", source)
    wanted = {path: info for path, info in manifest.items() if path not in FILES}
    lacking = find_lacking(target, wanted)
    stage, changed = target / STAGE, set[str]()
    shutil.rmtree(stage, ignore_errors=True)
    try:
        for paths in ([LAST], [path for path in lacking if path != LAST]):
            if part := {path: wanted[path] for path in paths if path in lacking}:
                receive_files(host, root, source, stage, part, share=share, changed=changed)
        if BEST in changed:
            changed.add(LAST)
        arrived = set(lacking) - changed
        for path in sorted(arrived, key=lambda path: (path == LAST, path)):
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            os.replace(stage / path, target / path)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    return len(arrived)


class LiveResults:
    """A thread that brings results home whenever it is told that there are new ones.

    It has a connection of its own: bulk data and the log do not wait for each other. What fails is
    tried again the next time; the follower is who tells of the link.
    """

    def __init__(
        self, host: Host, root: str, source: str, target: Path, share: float, pause_s: float = 1.0
    ) -> None:
        self.host = host
        self._bring: Callable[[], int] = lambda: bring_results(host, root, source, target, share)
        self._pause_s = pause_s
        self._news = threading.Event()
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def tell(self) -> None:
        """There is something new on the node. Returns at once."""
        self._news.set()

    def leave(self) -> None:
        """End it; a transfer in flight is cut. Waits."""
        self._leaving.set()
        self._news.set()
        while self._thread.is_alive():
            self.host.close()  # again: it may just have connected anew
            self._thread.join(LEAVE_POLL_S)

    def _work(self) -> None:
        while True:
            self._news.wait()
            if self._leaving.is_set():
                return
            self._news.clear()
            # A full disk here is said by the fetch at the end, which needs the room, too.
            with contextlib.suppress(RemoteError, BadTransfer, OSError):
                self._bring()
            self._leaving.wait(self._pause_s)

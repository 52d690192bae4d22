"""SIGTERM, as a question: the training stops when everything it has done is on disk."""

import signal


class Stopped(Exception):
    """SIGTERM came; the checkpoint is on disk."""


class StopFlag:
    """Whether SIGTERM has come. The first one asks; a second one kills."""

    def __init__(self) -> None:
        self.asked = False
        signal.signal(signal.SIGTERM, self._ask)

    def _ask(self, _number: int, _frame: object) -> None:
        self.asked = True
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

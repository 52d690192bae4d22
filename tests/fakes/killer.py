"""segaway, killed right after the N-th line of the run's history is on disk.

python -m tests.fakes.killer N ARGUMENTS...
"""

import os
import signal
import sys
from typing import Any

from cli.main import main
from provision.ledger import Ledger


def arm(number: int) -> None:
    """SIGKILL this process behind its `number`-th event."""
    record, left = Ledger.record_event, [number]

    def record_and_die(self: Ledger, *arguments: Any, **detail: Any) -> None:
        record(self, *arguments, **detail)
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)

    Ledger.record_event = record_and_die  # type: ignore[method-assign]  # that is the point


if __name__ == "__main__":
    arm(int(sys.argv.pop(1)))
    main()

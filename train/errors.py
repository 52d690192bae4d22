"""What the trainer and its data rooms raise.

TrainError      training cannot go on
└── DataError   a dataset, an archive or one of its files is not what it must be
"""

from typing import Literal

Cause = Literal["settings", "data", "memory", "gpu", "disk_full", "internal"]


class TrainError(Exception):
    """An expected failure: `str(error)` says what happened and where, `fix` says what mends it.

    `cause` goes into the trainer's last event: whoever runs the trainer decides by it whether to
    start it again.
    """

    cause: Cause = "settings"

    def __init__(self, message: str, fix: str = "") -> None:
        super().__init__(message)
        self.fix = fix


class DataError(TrainError):
    """A dataset, an archive or one of its files is not what it must be; the message names it."""

    cause = "data"

"""What goes wrong between the laptop and one machine.

RemoteError
├── Unreachable        no connection, or it broke; the machine may be fine
├── NotReady           the machine did not come so far in time
├── HostKeyRefused     the machine shows another host key than the run's record
├── CommandFailed      a command ended with a status other than 0
├── TransferError      files did not arrive as they were
├── VolumeError        the volume cannot be used as it is
└── JobError           the trainer cannot be started, or its supervisor is gone
"""


class RemoteError(Exception):
    """An expected failure: `str(error)` says what happened and where, `fix` says what mends it."""

    def __init__(self, message: str, fix: str = "") -> None:
        super().__init__(message)
        self.fix = fix


class Unreachable(RemoteError):
    """There is no connection, or it broke. Nothing is known of the machine itself."""


class NotReady(RemoteError):
    """The machine does not answer yet, or lacks what is still being installed."""


class HostKeyRefused(RemoteError):
    """The machine at the address is not the one that the run made."""


class CommandFailed(RemoteError):
    """A command ended with another status than 0."""


class TransferError(RemoteError):
    """Files could not be moved, or did not arrive as they were."""


class VolumeError(RemoteError):
    """The volume does not come, holds what is not ours, or cannot be mounted or unmounted."""


class JobError(RemoteError):
    """The trainer cannot be started, or nobody knows how it ended."""

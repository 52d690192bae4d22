"""What the commands raise of their own.

CliError         `fix` says what mends it; exit code 1
├── ConfigError  a flag, an environment variable or segaway.toml is wrong; exit code 2
└── RunError     a run failed; exit code 3 while something of it is still billing
    ├── Busy         another process is working on the run
    └── Interrupted  Ctrl-C or SIGTERM came; exit code 130
"""

from collections.abc import Sequence

FAILED = 1
USAGE = 2
STILL_BILLING = 3
INTERRUPTED = 130


class CliError(Exception):
    """An expected failure: `str(error)` says what happened and where, `fix` says what mends it."""

    exit_code = FAILED

    def __init__(self, message: str, fix: str = "") -> None:
        super().__init__(message)
        self.fix = fix


class ConfigError(CliError):
    """A flag, an environment variable or segaway.toml is wrong."""

    exit_code = USAGE


class RunError(CliError):
    """A run failed. `still_billing` lists what of it exists, one sentence each."""

    def __init__(
        self, message: str, fix: str = "", run: str = "", still_billing: Sequence[str] = ()
    ) -> None:
        super().__init__(message, fix)
        self.run = run
        self.still_billing = list(still_billing)
        self.exit_code = STILL_BILLING if still_billing else FAILED


class Busy(RunError):
    """Another process is working on the run."""


class Interrupted(RunError):
    """Ctrl-C or SIGTERM came; the message says what goes on."""

    def __init__(self, message: str, fix: str, run: str, still_billing: Sequence[str]) -> None:
        super().__init__(message, fix, run, still_billing)
        self.exit_code = INTERRUPTED

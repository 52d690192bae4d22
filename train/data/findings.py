"""What is wrong, or worth knowing, of a dataset, before anything is paid for."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from train.errors import DataError

Severity = Literal["error", "warning", "note"]
SHOWN = 3
TURN = "Turn the pixels themselves, as by: mogrify -auto-orient, or exiftran -ai."
"""What mends images that are stored turned, where what is drawn is of what was seen."""


@dataclass(frozen=True)
class Finding:
    """One fact about a dataset. An error has to be mended before the dataset can be used."""

    kind: str
    severity: Severity
    message: str
    fix: str = ""
    files: tuple[str, ...] = ()


def refuse_errors(findings: Iterable[Finding]) -> None:
    """Raise the first error among `findings`.

    Raises:
        DataError: there is one; says how many others there are.
    """
    errors = [finding for finding in findings if finding.severity == "error"]
    if errors:
        more = f" There are {len(errors) - 1} more: segaway inspect." if errors[1:] else ""
        raise DataError(errors[0].message + more, fix=errors[0].fix)


def name_some(names: Iterable[str]) -> str:
    """The first few of `names`, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
    return ", ".join(listed[:SHOWN]) + more

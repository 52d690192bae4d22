"""What goes wrong, and when: a JSON list, in a file that is read anew at each request, or injected.

Which requests a fault hits:
    "call": N             the N-th since the start, from 0
    "method", "path"      those with that method and a path that the regular expression is found in
    "nth": N              of those the N-th, from 0
    "times": N            and those after it, N in all (1; with "rate" all)
    "rate", "seed"        each of those with that probability
What happens then, "kind":
    lost-reply            it is done, and the connection closed without an answer
    cut                   the connection is closed, and it is not done
    408 429 500 502-html  the answer, and it is not done ("retry_after" for 429)
    slow                  it is done "seconds" later
    no-capacity limit duplicate-label   the refusal of a create, and it is not done; "reason" is
                          another text for the first two
    price-0               all prices in the answer are 0
    shifting-pages        the first of the list is gone before this page is made
    event-lag             from here on events are listed "seconds" late
    never-boots           the instance that is made stays at booting
    other-host-key        it boots with another host key than its user data says
    kill                  nothing more than this: "when" is before, sent or replied, and the client
                          whose id is in the header X-Segaway-Pid is killed before the request is
                          done, before it is answered, or right after the answer.
"when" can be given with any other kind too.
"""

import json
import random
import re
import threading
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.fakes.linode import rules

Fault = Mapping[str, Any]
KINDS = (
    *("lost-reply", "cut", "408", "429", "500", "502-html", "slow", "no-capacity", "limit"),
    *("duplicate-label", "price-0", "shifting-pages", "event-lag", "never-boots"),
    *("other-host-key", "kill"),
)
WHENS = ("before", "sent", "replied")
KEYS = {
    *("call", "method", "path", "nth", "times", "rate", "seed", "kind", "seconds", "retry_after"),
    *("when", "pid_header", "reason"),
}
HTML = b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"


class FaultPlan:
    """The faults to come, and how often each has been met."""

    def __init__(self, path: Path | None = None, seed: int = 0) -> None:
        self._path, self._seed = path, seed
        self._injected: list[Fault] = []
        self._met: dict[str, int] = defaultdict(int)
        self._dice: dict[str, random.Random] = {}
        self._lock = threading.Lock()

    def inject(self, fault: Fault) -> None:
        """One more, which counts from here. Raises ValueError where it makes no sense."""
        check_fault(fault)
        with self._lock:
            self._injected.append(dict(fault))

    def clear(self) -> None:
        """None that was injected is left."""
        with self._lock:
            self._injected.clear()

    def find(self, call: int, method: str, path: str) -> list[Fault]:
        """Those that hit this request, which counts as one."""
        with self._lock:
            places = [*enumerate(self._injected), *enumerate(self._read(), start=10**6)]
            return [
                fault
                for place, fault in places
                if self._hits(
                    f"{place} {json.dumps(fault, sort_keys=True)}", fault, call, method, path
                )
            ]

    def _read(self) -> list[Fault]:
        if self._path is None or not self._path.exists():
            return []
        text = self._path.read_text()
        faults: list[Fault] = json.loads(text) if text.strip() else []
        for fault in faults:
            check_fault(fault)
        return faults

    def _hits(self, name: str, fault: Fault, call: int, method: str, path: str) -> bool:
        times = fault.get("times", 10**9 if "rate" in fault else 1)
        if "method" in fault and fault["method"] != method:
            return False
        if "path" in fault and not re.search(fault["path"], path):
            return False
        if "call" in fault:
            met, first = call, fault["call"]
        else:
            met, first = self._met[name], fault.get("nth", 0)
            self._met[name] += 1
        if not first <= met < first + times:
            return False
        dice = self._dice.setdefault(name, random.Random(fault.get("seed", self._seed)))
        return bool(dice.random() < fault.get("rate", 1.0))


def check_fault(fault: Fault) -> None:
    """Raises ValueError for one that would never do what was meant."""
    if unknown := set(fault) - KEYS:
        raise ValueError(f"a fault has no {', '.join(sorted(unknown))}")
    if fault.get("kind") not in KINDS:
        raise ValueError(f"there is no fault {fault.get('kind')}: {', '.join(KINDS)}")
    if fault.get("when", "sent") not in WHENS or (fault["kind"] == "kill" and "when" not in fault):
        raise ValueError(f"when is one of {', '.join(WHENS)}")


def find_refusal(fault: Fault) -> rules.ApiError | None:
    """The answer that stands for doing the request; None where the fault is none of those."""
    kind, reason = fault["kind"], fault.get("reason")
    if kind == "429":
        headers = {"Retry-After": str(fault.get("retry_after", 1))}
        return rules.ApiError(429, "Too many requests", headers=headers)
    return {
        "408": rules.ApiError(408, "Please try again"),
        "500": rules.ApiError(500, "Internal Server Error"),
        "no-capacity": rules.ApiError(403, reason or rules.NO_CAPACITY),
        "limit": rules.ApiError(400, reason or rules.LIMITS[0]),
        "duplicate-label": rules.refuse("label", "Label must be unique among your linodes"),
    }.get(kind)


def make_free(value: Any) -> Any:
    """The same, with all prices 0."""
    if isinstance(value, list):
        return [make_free(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {
        key: 0.0 if key in ("hourly", "monthly") else make_free(one) for key, one in value.items()
    }

"""Progress, POSTed to a URL by a thread of its own: training neither waits for it nor fails by it.

What is sent is the latest status as a JSON object. One that was not sent before a newer one came
is never sent: nothing piles up while a server is away.
"""

import base64
import json
import math
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from train.errors import TrainError
from train.events import Step

POST_TIMEOUT_S = 4.0
RETRY_S = 0.25
LONGEST_PAUSE_S = 60.0
CLOSE_S = 10.0

Status = dict[str, Any]
Wait = Callable[[threading.Event, float], bool]


class StatusReporter:
    """Sends the latest status every `interval_s`, the first one at once, and the last one too.

    A report that fails is sent again after a pause that doubles, up to a minute. `problem` says
    what is wrong at the moment; it is None while reports arrive. Neither the user's part nor the
    path nor the query of the URL is in it: they may be secrets.
    """

    def __init__(
        self,
        url: str,
        interval_s: float = 5.0,
        *,
        clock: Callable[[], float] = time.monotonic,
        wait: Wait = threading.Event.wait,
    ) -> None:
        self.problem: str | None = None
        self._url, self._headers, self._server = split_url(url)
        self._interval_s = interval_s
        self._clock, self._wait = clock, wait
        self._latest: Status | None = None
        self._deadline_s = math.inf
        self._closing, self._given_up = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    def update(
        self, step: Step, epochs: int | None, steps: int | None, steps_per_epoch: int
    ) -> None:
        """Take over where the training stands. Returns at once, whatever the server does.

        Totals that nobody knows yet, as those of a training by minutes, are None.
        """
        self._latest = {
            "progress": step.progress,
            "epoch_current": step.epoch,
            "epoch_total": epochs,
            "step_current": step.step,
            "step_total": steps,
            "classification_loss": step.loss,
            "steps_per_epoch": steps_per_epoch,
        }
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="status", daemon=True)
            self._thread.start()

    def close(self, timeout_s: float = CLOSE_S) -> str | None:
        """Send the last status, for `timeout_s` at most; what went wrong, if it did not arrive."""
        if self._thread is None:
            return None
        self._deadline_s = self._clock() + timeout_s
        self._closing.set()
        self._thread.join(timeout_s)
        self._given_up.set()
        if self._thread.is_alive() and not self.problem:
            self._note("no answer in time")
        return self.problem

    def _run(self) -> None:
        delivered: Status | None = None
        failures = 0
        while not self._given_up.is_set():
            closing, latest = self._closing.is_set(), self._latest
            if latest is not delivered and latest is not None:
                if self._post(latest):
                    delivered, failures = latest, 0
                else:
                    failures += 1
            if closing and (delivered is self._latest or not self._pause_briefly(failures)):
                return
            if not closing:
                pause_s = self._interval_s * 2 ** min(failures, 10)
                self._wait(self._closing, min(pause_s, max(LONGEST_PAUSE_S, self._interval_s)))

    def _pause_briefly(self, failures: int) -> bool:
        """Whether there is time left for another try, after the pause before it."""
        left_s = self._deadline_s - self._clock()
        pause_s = RETRY_S * 2 ** min(failures, 10)
        return pause_s < left_s and not self._wait(self._given_up, pause_s)

    def _post(self, status: Status) -> bool:
        timeout_s = max(0.1, min(POST_TIMEOUT_S, self._deadline_s - self._clock()))
        try:
            request = urllib.request.Request(
                self._url, encode_status(status), self._headers, method="POST"
            )
            with _OPENER.open(request, timeout=timeout_s):
                self.problem = None
                return True
        except Exception as error:  # a thread that ends by one would end all reports
            self._note(describe(error))
            return False

    def _note(self, reason: str) -> None:
        self.problem = f"The status reports do not reach {self._server}: {reason}."


class _Unredirected(urllib.request.HTTPRedirectHandler):
    """What follows a redirect is no POST any more, and may go to another host."""

    def redirect_request(self, *_: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_Unredirected)


def encode_status(status: Status) -> bytes:
    """The status as JSON, which has no NaN: a loss that is none is null."""
    finite = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in status.items()
    }
    return json.dumps(finite).encode()


def split_url(url: str) -> tuple[str, dict[str, str], str]:
    """The URL without its user, the headers of a POST to it, and the server's name for messages.

    Raises:
        TrainError: it is no URL.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise TrainError(
            "status_url is no URL.", fix="Give it as https://HOST/PATH, without spaces."
        ) from error
    user, _, place = parts.netloc.rpartition("@")
    headers = {"Content-Type": "application/json", "User-Agent": "segaway"}
    if user:
        token = base64.b64encode(unquote(user).encode()).decode()
        headers["Authorization"] = f"Basic {token}"
    bare = urlunsplit((parts.scheme, place, parts.path, parts.query, ""))
    return bare, headers, f"{parts.scheme}://{place}"


def describe(error: Exception) -> str:
    """What went wrong, in words that cannot hold a part of the URL."""
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        if 300 <= error.code < 400:
            return f"HTTP {error.code}, a redirect; give the URL that it leads to"
        return f"HTTP {error.code}"
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, Exception):
        error = error.reason
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__

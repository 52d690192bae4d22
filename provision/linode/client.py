"""Calls of the Linode API: timeouts on each, waits where it asks for them, errors of our own.

What a GET, PUT or DELETE does can be done twice: these are repeated until they are answered. A POST
is sent once, for it may have been done although nothing came back; whoever sends it looks first.
"""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal, NoReturn

import linode_api4
import requests
from linode_api4.errors import ApiError, UnexpectedResponseError
from requests.adapters import HTTPAdapter

from provision.base import CloudError, CloudSilent, LabelTaken, NoCapacity, Refused
from provision.linode.credentials import Credentials

CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 10.0, 60.0
PATIENCE_S = 300.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
PAGE_SIZE = 500
BUSY = "Linode busy."
AGAIN = (408, 429, 500, 502, 503, 504)
# Reason texts: linode_api4-python PR 396, terraform-provider-linode, linode/manager.
NO_CAPACITY = ("not currently available in the selected region", "no availability for the selected")
LIMITS = ("limit on your account", "account limit reached", "limit for the number of")

Method = Literal["get", "post", "put", "delete"]


class _Adapter(HTTPAdapter):
    """requests waits for ever unless it is told not to, and linode_api4 does not tell it."""

    def send(self, request: Any, **kwargs: Any) -> Any:  # type: ignore[override]  # as it comes
        kwargs["timeout"] = (CONNECT_TIMEOUT_S, READ_TIMEOUT_S)
        return super().send(request, **kwargs)


class Client:
    """One account. May be used by several threads: each has a connection of its own."""

    def __init__(
        self,
        credentials: Credentials,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.credentials = credentials
        self._clock, self._sleep = clock, sleep
        self._local = threading.local()
        self._scopes: frozenset[str] | None = None

    @property
    def scopes(self) -> frozenset[str]:
        """What the token may, by the last answer; `*` is everything."""
        if self._scopes is None:
            self.get("/profile")
        return self._scopes or frozenset()

    def may(self, scope: str) -> bool:
        """Whether the token has the scope, such as `volumes:read_write`."""
        area, _, level = scope.partition(":")
        enough = {f"{area}:{level}", f"{area}:read_write", f"{area}:*", "*"}
        return bool(self.scopes & enough)

    def get(self, path: str) -> dict[str, Any] | None:
        """What is there; None where nothing is."""
        return self._repeat("get", path)

    def put(self, path: str, body: Mapping[str, Any]) -> dict[str, Any] | None:
        """Change what is there; None where nothing is."""
        return self._repeat("put", path, body)

    def delete(self, path: str) -> None:
        """Nothing is there, or soon will be. Already gone is success."""
        self._repeat("delete", path)

    def list(self, path: str, filters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Everything of a collection, all its pages, each thing once."""
        while True:
            found: dict[Any, dict[str, Any]] = {}
            page = pages = total = 1
            moved = False
            while page <= pages:
                answer = self._repeat(
                    "get", f"{path}?page={page}&page_size={PAGE_SIZE}", filters=filters
                )
                if answer is None:
                    # Nothing is known of what is in it: it is not to count as empty.
                    raise CloudError(
                        f"{self.credentials.url} knows no {path}.",
                        fix="LINODE_URL is to be the base of Linode's API, or not set.",
                    )
                moved |= page > 1 and answer["results"] != total
                pages, total = answer["pages"], answer["results"]
                for number, item in enumerate(answer["data"]):
                    found[item.get("id", (page, number))] = item
                page += 1
            # A list that changed between its pages may have shown one thing on none of them.
            if not moved and len(found) == total:
                return list(found.values())

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Send it once, or again where it surely was not done; the answer.

        Raises:
            CloudSilent: it may have been done.
            LabelTaken, NoCapacity, Refused, CloudError: it was not done.
        """
        limit, pause_s = self._clock() + PATIENCE_S, FIRST_PAUSE_S
        while True:
            try:
                answer = self._send("post", path, body)
                assert answer is not None  # a POST to what does not exist raises
                return answer
            except ApiError as error:
                if error.status != 429 and BUSY not in str(error):
                    if error.status in AGAIN:
                        raise _silent("post", path, _describe(error)) from error
                    self._refuse("post", path, error)
                wait_s = _pause(error, pause_s)
                if self._clock() + wait_s > limit:
                    self._refuse("post", path, error)
                self._sleep(wait_s)
            except (requests.RequestException, UnexpectedResponseError, OSError) as error:
                raise _silent("post", path, _describe(error)) from error
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _repeat(
        self,
        method: Method,
        path: str,
        body: Mapping[str, Any] | None = None,
        filters: Mapping[str, Any] | None = None,
    ) -> dict[str, Any] | None:
        limit, pause_s = self._clock() + PATIENCE_S, FIRST_PAUSE_S
        while True:
            try:
                return self._send(method, path, body, filters)
            except ApiError as error:
                if error.status == 404:
                    return None
                if error.status not in AGAIN and BUSY not in str(error):
                    self._refuse(method, path, error)
                last: Exception = error
                wait_s = _pause(error, pause_s)
            except (requests.RequestException, UnexpectedResponseError, OSError) as error:
                last, wait_s = error, pause_s
            if self._clock() + wait_s > limit:
                raise _silent(method, path, _describe(last)) from last
            self._sleep(wait_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _send(
        self,
        method: Method,
        path: str,
        body: Mapping[str, Any] | None = None,
        filters: Mapping[str, Any] | None = None,
    ) -> dict[str, Any] | None:
        call = getattr(self._open(), method)
        more = {} if method in ("get", "delete") else {"data": body}
        answer: dict[str, Any] | None = call(path, filters=filters, **more)
        return answer

    def _open(self) -> Any:
        if not hasattr(self._local, "client"):
            client = linode_api4.LinodeClient(
                self.credentials.token,
                base_url=self.credentials.url,
                user_agent="segaway",
                # It would send a POST whose answer was lost six times.
                retry=False,
            )
            for scheme in ("http://", "https://"):
                client.session.mount(scheme, _Adapter())
            client.session.hooks["response"].append(self._note_scopes)
            self._local.client = client
        return self._local.client

    def _refuse(self, method: str, path: str, error: ApiError) -> NoReturn:
        _refuse(method, path, error, self.credentials.source)

    def _note_scopes(self, response: requests.Response, **_: Any) -> None:
        text = response.headers.get("X-OAuth-Scopes")
        if text is not None:
            self._scopes = frozenset(text.replace(",", " ").split())


def _pause(error: ApiError, pause_s: float) -> float:
    """What the API asks for: Retry-After in seconds, or the time at which its limit is over."""
    headers = error.response.headers if error.response is not None else {}
    for value in (headers.get("Retry-After"), _until(headers.get("X-RateLimit-Reset"))):
        if error.status in (429, 503) and value and str(value).isdigit():
            return min(max(float(value), 0.1), PATIENCE_S)
    return pause_s


def _until(epoch_s: str | None) -> str | None:
    if not epoch_s or not epoch_s.isdigit():
        return None
    return str(max(0, int(epoch_s) - int(time.time())))


def _refuse(method: str, path: str, error: ApiError, source: str) -> NoReturn:
    """Raise what the API's refusal means: it has no codes, only texts."""
    text = "; ".join(error.errors) or str(error)
    lower, where = text.lower(), f"Linode refused {method.upper()} {path}"
    if error.status == 401:
        raise Refused(
            f"{where}: {text}",
            fix=f"The token of {source} is wrong, expired, or lacks a scope: make one at "
            "cloud.linode.com/profile/tokens.",
        ) from error
    if any(words in lower for words in NO_CAPACITY):
        raise NoCapacity(text, fix="segaway offers shows what there is.") from error
    if any(words in lower for words in LIMITS):
        raise Refused(
            f"{where}: {text} Trying again will not help.",
            fix="Ask Linode's support for access to that plan: cloud.linode.com/support/tickets.",
        ) from error
    if "must be unique" in lower:
        raise LabelTaken(f"{where}: {text}", fix="segaway runs --all shows whose it is.") from error
    if error.status == 403:
        raise Refused(
            f"{where}: {text}", fix="Let the account's owner grant it to your user."
        ) from error
    raise CloudError(f"{where}: {text}", fix="segaway doctor checks the account.") from error


def _silent(method: str, path: str, why: str) -> CloudSilent:
    return CloudSilent(
        f"Linode did not answer {method.upper()} {path}: {why}",
        fix="Check the network (status.linode.com), then repeat the command: what was asked for is "
        "looked up before it is asked for again.",
    )


def _describe(error: Exception) -> str:
    """What went wrong, in a line: the errors of requests carry each other."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]

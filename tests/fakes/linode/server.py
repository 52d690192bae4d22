"""The HTTP side: one request in, one answer out, or whatever the faults make of it."""

import contextlib
import http.server
import json
import os
import re
import signal
import socket
import time
import traceback
import urllib.parse
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.fakes.linode import filters
from tests.fakes.linode.faults import HTML, Fault, find_refusal, make_free
from tests.fakes.linode.gate import find_caller
from tests.fakes.linode.routes import Call, Route, find_route
from tests.fakes.linode.rules import ApiError

if TYPE_CHECKING:
    from tests.fakes.linode.emulator import Emulator

VERSIONS = re.compile(r"/v4(?:beta)?(/.*)")
PID_HEADER = "X-Segaway-Pid"


@dataclass
class Request:
    """One request as it arrived; `status` is 0 until, or unless, it is answered."""

    call: int
    method: str
    path: str
    query: dict[str, str]
    filter: dict[str, Any] | None
    body: Any
    token: str
    status: int = 0


@dataclass
class Answer:
    """What is sent."""

    status: int
    content: bytes
    headers: dict[str, str] = field(default_factory=dict)
    kind: str = "application/json"


class Handler(http.server.BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    # Headers and body go out in one piece: no waiting for the other side's acknowledgement.
    wbufsize = -1
    disable_nagle_algorithm = True
    emulator: "Emulator"

    def log_message(self, *_: Any) -> None:
        """Nothing: who wants to know records the requests."""

    def handle_request(self) -> None:
        """Read, do, answer; or not."""
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request, faults = self.emulator.note_request(self._read_request(content))
        self._kill_client(faults, "before")
        if any(fault["kind"] == "cut" or fault.get("when") == "before" for fault in faults):
            self._hang_up()
            return
        for fault in faults:
            if fault["kind"] == "slow":
                time.sleep(fault.get("seconds", 1.0))
        answer = self._find_answer(request, content, faults)
        request.status = answer.status
        self._kill_client(faults, "sent")
        if any(fault["kind"] == "lost-reply" or fault.get("when") == "sent" for fault in faults):
            self._hang_up()
            return
        self._send(answer)
        self._kill_client(faults, "replied")

    do_GET = do_POST = do_PUT = do_DELETE = handle_request

    def _read_request(self, content: bytes) -> Request:
        parts = urllib.parse.urlsplit(self.path)
        body = found = None
        with contextlib.suppress(ValueError):
            body = json.loads(content) if content else None
        with contextlib.suppress(ValueError):
            found = json.loads(self.headers.get("X-Filter") or "null")
        return Request(
            0,
            self.command,
            urllib.parse.unquote(parts.path),
            dict(urllib.parse.parse_qsl(parts.query)),
            found,
            body,
            (self.headers.get("Authorization") or "").removeprefix("Bearer "),
        )

    def _find_answer(self, request: Request, content: bytes, faults: list[Fault]) -> Answer:
        for fault in faults:
            if fault["kind"] == "502-html":
                return Answer(502, HTML, kind="text/html")
            if refusal := find_refusal(fault):
                return _refuse(refusal, {})
        return self._do(request, content, faults)

    def _do(self, request: Request, content: bytes, faults: list[Fault]) -> Answer:
        state, headers = self.emulator.state, {}
        with state.lock:
            state.advance()
            try:
                version = VERSIONS.fullmatch(request.path)
                if not version:
                    raise ApiError(404, "Not found")
                route, args = find_route(request.method, version[1])
                headers = self._check(route)
                call = Call(state, self._token, _read_body(content), args)
                call.faults = {fault["kind"]: fault for fault in faults}
                if lag := call.faults.get("event-lag"):
                    state.options.event_lag_s = lag.get("seconds", 5.0)
                found = route.handler(call)
                if isinstance(found, filters.Collection):
                    found = self._paginate(found, request, call)
                found = make_free(found) if "price-0" in call.faults else found
                return Answer(204 if found is None else 200, _write_body(found), headers)
            except ApiError as error:
                return _refuse(error, headers)
            except Exception as error:
                state.complaints.append(f"the emulator failed: {error!r}")
                traceback.print_exc()
                return _refuse(ApiError(500, "The emulator failed"), headers)

    def _check(self, route: Route) -> dict[str, str]:
        limits, state = self.emulator.limits, self.emulator.state
        self._token = None
        self._token = find_caller(state, route, self.headers.get("Authorization"))
        caller = self._token.secret if self._token else self.client_address[0]
        headers, is_refused = limits.count(route, caller)
        headers["X-OAuth-Scopes"] = self._token.scopes if self._token else ""
        headers["X-Accepted-OAuth-Scopes"] = ",".join(route.scopes)
        if is_refused:
            raise ApiError(429, "Too many requests", headers=headers)
        return headers

    def _paginate(self, found: filters.Collection, request: Request, call: Call) -> Any:
        rows = filters.select(found, filters.read_filter(self.headers.get("X-Filter")))
        if "shifting-pages" in call.faults:
            rows = rows[1:]
        return filters.paginate(rows, request.query)

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(answer.content)
            self.wfile.flush()

    def _hang_up(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def _kill_client(self, faults: list[Fault], when: str) -> None:
        pid = self.headers.get(PID_HEADER)
        if pid and any(fault.get("when") == when for fault in faults):
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)


def _read_body(content: bytes) -> dict[str, Any]:
    try:
        body = json.loads(content) if content else {}
    except ValueError:
        raise ApiError(400, "Invalid JSON") from None
    if body is None:
        return {}
    if not isinstance(body, dict):
        raise ApiError(400, "Invalid JSON")
    return body


def _write_body(found: Any) -> bytes:
    return b"" if found is None else json.dumps(found).encode()


def _refuse(error: ApiError, headers: dict[str, str]) -> Answer:
    return Answer(error.status, _write_body(error.body), {**headers, **error.headers})

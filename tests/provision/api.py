"""As much of the cloud's API as the dead-man switch speaks to, with its moods."""

import json
import threading
import time
from collections.abc import Callable
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, dict[str, Any]]
BUSY: Answer = (400, {"errors": [{"reason": "Linode busy."}]})
DROP: Answer = (0, {})


class Api:
    """Serves until `close`. `moods` are what the next deletions are answered with."""

    def __init__(self, token: str = "right") -> None:
        self.token = token
        self.machines: list[dict[str, Any]] = []
        self.moods: list[Answer] = []
        self.deleted: list[int] = []
        self.asked: list[str] = []
        self.ahead_s = 0.0
        self.on_delete: Callable[[], object] = lambda: None
        self._server = ThreadingHTTPServer(("0.0.0.0", 0), self._make_handler())
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def url(self, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self._server.server_port}/v4"

    def add(self, number: int, label: str, *addresses: str) -> None:
        self.machines.append({"id": number, "label": label, "ipv4": list(addresses)})

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, method: str, path: str, headers: Any) -> Answer:
        self.asked.append(f"{method} {path}")
        if path.startswith("/v4/regions"):
            return 200, {"data": []}
        if headers["Authorization"] != f"Bearer {self.token}":
            return 401, {"errors": [{"reason": "Invalid Token"}]}
        if method == "GET":
            part = json.loads(headers["X-Filter"])["label"]["+contains"]
            return 200, {"data": [m for m in self.machines if part in m["label"]]}
        self.on_delete()
        if self.moods:
            return self.moods.pop(0)
        number = int(path.rpartition("/")[2])
        self.deleted.append(number)
        self.machines = [m for m in self.machines if m["id"] != number]
        return 200, {}

    def _make_handler(self) -> type[BaseHTTPRequestHandler]:
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, body = api.answer(self.command, self.path, self.headers)
                if (status, body) == DROP:
                    return
                content = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_DELETE = do_GET

            def date_time_string(self, timestamp: float | None = None) -> str:
                return formatdate(time.time() + api.ahead_s, usegmt=True)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Nothing: it would be said in the middle of the tests."""

        return Handler

"""Status reports: what arrives, what a server that is away costs, and what is said of it."""

import json
import math
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.conftest import wait_until
from train.errors import TrainError
from train.events import Step
from train.status import LONGEST_PAUSE_S, StatusReporter, describe, split_url

SOON_S = 10.0


class Inbox:
    """A server on the loopback: what it was sent, and the statuses that it answers with."""

    def __init__(self, port: int = 0, answers: tuple[int, ...] = (), location: str = "") -> None:
        self.got: list[tuple[str, dict[str, str], bytes]] = []
        self.arrived = threading.Semaphore(0)
        inbox, left = self, list(answers)

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                inbox.got.append((self.path, dict(self.headers), body))
                self.send_response(left.pop(0) if left else 200)
                if location:
                    self.send_header("Location", location)
                self.send_header("Content-Length", "0")
                self.end_headers()
                inbox.arrived.release()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def bodies(self) -> list[Any]:
        return [json.loads(body) for _, _, body in self.got]

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()


@pytest.fixture
def open_inbox() -> Iterator[Callable[..., Inbox]]:
    opened: list[Inbox] = []

    def open_inbox(*args: Any, **more: Any) -> Inbox:
        opened.append(Inbox(*args, **more))
        return opened[-1]

    yield open_inbox
    for inbox in opened:
        inbox.stop()


class Pauses:
    """The reporter's pauses, none of which takes time; each but the last waits to be let go."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self.begun = threading.Semaphore(0)
        self.over = threading.Semaphore(0)

    def __call__(self, event: threading.Event, seconds: float) -> bool:
        self.asked.append(seconds)
        self.begun.release()
        while not event.is_set() and not self.over.acquire(timeout=0.01):
            pass
        return event.is_set()

    def next(self) -> None:
        """Until the next pause has begun."""
        assert self.begun.acquire(timeout=SOON_S)


def tell(reporter: StatusReporter, step: int, loss: float = 0.5) -> None:
    said = Step(
        epoch=1, step=step, progress=min(1.0, step / 10), loss=loss, lr=0.1, images_per_s=1.0
    )
    reporter.update(said, epochs=2, steps=10, steps_per_epoch=5)


def hear_problem(reporter: StatusReporter) -> str:
    """What is said of the first report, which fails."""
    tell(reporter, 1)
    wait_until(lambda: reporter.problem, SOON_S)
    return str(reporter.close(0))


def find_free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def hang() -> Iterator[tuple[str, threading.Event]]:
    """A server that takes connections, and never says anything; set when it has one."""
    taken, kept = threading.Event(), []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def take() -> None:
            kept.append(server.accept())
            taken.set()

        thread = threading.Thread(target=take)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/", taken
        thread.join()
        for connection, _ in kept:
            connection.close()


def test_a_report_has_the_seven_keys_and_nothing_else(open_inbox: Callable[..., Inbox]) -> None:
    inbox = open_inbox()
    reporter = StatusReporter(f"{inbox.url}/jobs/7?token=abc")
    tell(reporter, 3)
    assert reporter.close() is None
    ((path, headers, body),) = inbox.got
    assert path == "/jobs/7?token=abc"
    assert headers["Content-Type"] == "application/json"
    assert json.loads(body) == {
        "progress": 0.3,
        "epoch_current": 1,
        "epoch_total": 2,
        "step_current": 3,
        "step_total": 10,
        "classification_loss": 0.5,
        "steps_per_epoch": 5,
    }


def test_a_loss_that_is_no_number_is_told_as_null(open_inbox: Callable[..., Inbox]) -> None:
    inbox = open_inbox()
    reporter = StatusReporter(inbox.url)
    tell(reporter, 1, math.nan)
    assert reporter.close() is None
    assert inbox.bodies[0]["classification_loss"] is None


def test_only_the_latest_status_is_sent_after_a_pause(open_inbox: Callable[..., Inbox]) -> None:
    inbox, pauses = open_inbox(), Pauses()
    reporter = StatusReporter(inbox.url, wait=pauses)
    tell(reporter, 1)
    pauses.next()
    for step in range(2, 9):
        tell(reporter, step)
    pauses.over.release()
    pauses.next()
    assert [body["step_current"] for body in inbox.bodies] == [1, 8]
    assert reporter.close() is None
    assert len(inbox.got) == 2
    assert pauses.asked == [5.0, 5.0]


def test_a_server_that_comes_later_gets_the_latest(open_inbox: Callable[..., Inbox]) -> None:
    port, pauses = find_free_port(), Pauses()
    reporter = StatusReporter(f"http://127.0.0.1:{port}", wait=pauses)
    tell(reporter, 1)
    pauses.next()
    assert reporter.problem == (
        f"The status reports do not reach http://127.0.0.1:{port}: Connection refused."
    )
    inbox = open_inbox(port)
    tell(reporter, 2)
    pauses.over.release()
    pauses.next()
    assert [body["step_current"] for body in inbox.bodies] == [2]
    assert reporter.close() is None


def test_pauses_double_while_a_server_fails_and_are_short_again_afterwards(
    open_inbox: Callable[..., Inbox],
) -> None:
    inbox, pauses = open_inbox(answers=(500,) * 6), Pauses()
    reporter = StatusReporter(inbox.url, wait=pauses)
    tell(reporter, 1)
    for _ in range(6):
        pauses.next()
        assert str(reporter.problem).endswith(": HTTP 500.")
        pauses.over.release()
    pauses.next()
    assert pauses.asked == [10.0, 20.0, 40.0, LONGEST_PAUSE_S, LONGEST_PAUSE_S, LONGEST_PAUSE_S, 5]
    assert reporter.close() is None


def test_the_last_status_is_tried_again_at_the_end(open_inbox: Callable[..., Inbox]) -> None:
    inbox, pauses = open_inbox(answers=(200, 503, 503)), Pauses()
    reporter = StatusReporter(inbox.url, wait=pauses)
    tell(reporter, 1)
    pauses.next()
    tell(reporter, 2)
    pauses.over.release(3)
    assert reporter.close() is None
    assert [body["step_current"] for body in inbox.bodies] == [1, 2, 2, 2]


def test_the_end_waits_no_longer_than_it_is_told(open_inbox: Callable[..., Inbox]) -> None:
    """Ten seconds, by a clock that only its pauses move."""
    inbox, pauses, now = open_inbox(answers=(500,) * 9), [], [0.0]

    def wait(event: threading.Event, seconds: float) -> bool:
        pauses.append(seconds)
        if len(pauses) == 1:  # that of the training
            return event.wait(SOON_S)
        now[0] += seconds
        return event.is_set()

    reporter = StatusReporter(inbox.url, clock=lambda: now[0], wait=wait)
    tell(reporter, 1)
    assert inbox.arrived.acquire(timeout=SOON_S)
    assert str(reporter.close(10.0)).endswith(": HTTP 500.")
    assert sum(pauses[1:]) <= 10
    assert pauses[2] == 2 * pauses[1]


def test_updates_return_while_a_server_hangs() -> None:
    with hang() as (url, taken):
        reporter = StatusReporter(url)
        tell(reporter, 0)
        assert taken.wait(SOON_S)
        for step in range(10_000):
            tell(reporter, step)
        # The one report is still on its way: no update waited for it, and none was queued.
        assert reporter.problem is None
        began = time.monotonic()
        assert str(reporter.close(0.1)).endswith(": no answer in time.")
        assert time.monotonic() - began < 3


def test_a_training_that_never_began_reports_nothing(open_inbox: Callable[..., Inbox]) -> None:
    inbox = open_inbox()
    assert StatusReporter(inbox.url).close() is None
    assert inbox.got == []


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_is_said_and_not_followed(open_inbox: Callable[..., Inbox], code: int) -> None:
    other = open_inbox()
    inbox = open_inbox(answers=(code,) * 9, location=other.url)
    assert f"HTTP {code}, a redirect" in hear_problem(StatusReporter(inbox.url))
    assert other.got == []


def test_the_users_part_of_a_url_is_sent_as_a_header(open_inbox: Callable[..., Inbox]) -> None:
    inbox = open_inbox()
    reporter = StatusReporter(inbox.url.replace("//", "//me:s%40cret@"))
    tell(reporter, 1)
    assert reporter.close() is None
    assert inbox.got[0][1]["Authorization"] == "Basic bWU6c0BjcmV0"


@pytest.mark.parametrize("answers", [(500,) * 9, (401,) * 9, (302,) * 9])
def test_no_secret_of_a_url_is_said(
    open_inbox: Callable[..., Inbox], answers: tuple[int, ...]
) -> None:
    inbox = open_inbox(answers=answers)
    url = inbox.url.replace("//", "//hidden:hidden@") + "/hidden?token=hidden#hidden"
    problem = hear_problem(StatusReporter(url))
    assert problem.startswith(f"The status reports do not reach {inbox.url}: HTTP {answers[0]}")
    assert "hidden" not in problem


def test_a_url_that_cannot_be_asked_is_said_without_it() -> None:
    problem = hear_problem(StatusReporter("http://127.0.0.1:1/hidden ?hidden"))
    assert problem == "The status reports do not reach http://127.0.0.1:1: InvalidURL."


def test_a_url_that_is_none_is_refused_at_once() -> None:
    with pytest.raises(TrainError, match="status_url is no URL") as refused:
        split_url("https://[hidden")
    assert "hidden" not in refused.value.fix


def test_a_certificate_that_nobody_signed_is_refused(tmp_path: Path) -> None:
    inbox = Inbox()
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(write_certificate(tmp_path))
        inbox.server.socket = context.wrap_socket(inbox.server.socket, server_side=True)
        inbox.server.handle_error = lambda *_: None  # type: ignore[method-assign]  # it is refused
        problem = hear_problem(StatusReporter(inbox.url.replace("http", "https")))
    finally:
        inbox.stop()
    assert "CERTIFICATE_VERIFY_FAILED" in problem
    assert inbox.got == []


def write_certificate(folder: Path) -> Path:
    """A key, and a certificate of it that it signed itself, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    path = folder / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


def test_what_nobody_foresaw_is_told_by_its_name() -> None:
    assert describe(ValueError("https://hidden")) == "ValueError"

"""A training that is watched: shown, its log and events kept, its results brought home."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from cli.budget import Warner
from cli.contact import follow_run
from cli.errors import RunError
from cli.live import View
from cli.session import Session
from remote.follow import FILES, Chunk
from remote.job import JobStatus
from remote.live import LiveResults

EVENTS, TELEMETRY = "events.jsonl", "telemetry.csv"
NEWS = (b'"kind":"checkpoint"', b'"kind":"epoch"')


def watch_training(session: Session) -> JobStatus:
    """Show the training until it ends; what comes of it grows in the results' folder.

    Raises:
        NodeLost, Unreachable: as `follow_run`.
    """
    session.results.mkdir(parents=True, exist_ok=True)
    with (
        _saver(session) as saves,
        session.host() as host,
        _live(session, saves) as live,
        View(session.console, session.usd) as view,
    ):
        sizes = {name: _size(session.results / name) for name in FILES}
        view.recall(*(_read(session.results / name) for name in (EVENTS, TELEMETRY)))
        others = [live.host] if live else []
        warner = Warner(session, session.console)
        for item in follow_run(session, host, sizes, view.reconnecting, *others):
            if isinstance(item, JobStatus):
                return item
            warner.look()
            if saves:
                _append(session.results / item.file, item)
            _show(view, item)
            if live and any(word in item.content for word in NEWS):
                live.tell()
    raise AssertionError  # a follower ends with the job's status, or raises


def _show(view: View, chunk: Chunk) -> None:
    if chunk.file == EVENTS:
        view.feed(chunk.content)
    elif chunk.file == TELEMETRY:
        view.feed_telemetry(chunk.content)


@contextlib.contextmanager
def _saver(session: Session) -> Iterator[bool]:
    """Whether this process keeps the local copies: of several on one machine, the first does."""
    lock = FileLock(session.folder / "follow.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


@contextlib.contextmanager
def _live(session: Session, saves: bool) -> Iterator[LiveResults | None]:
    """What brings results home meanwhile, where this process keeps the copies."""
    share = session.settings.live_share
    if not saves or not share:
        yield None
        return
    live = LiveResults(session.host(), session.root, session.run_path, session.results, share)
    live.tell()  # of what came while nobody watched
    try:
        yield live
    finally:
        live.leave()


def _append(path: Path, chunk: Chunk) -> None:
    with path.open("ab") as writer:
        if writer.tell() != chunk.offset:
            raise RunError(
                f"{path} was changed while the run was followed.",
                fix="segaway fetch RUN renews it.",
            )
        writer.write(chunk.content)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _read(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""

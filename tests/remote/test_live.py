"""Results that come home while training goes on: in order, whole, and with a share of the link."""

import io
import os
import threading
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remote.agent.files import BadTransfer, PacedWriter, pack, read_manifest, unpack
from remote.fetch import PacedReader, receive_files
from remote.host import Host, Stream
from remote.live import BEST, LAST, LiveResults, bring_results
from tests.conftest import wait_until


class Clock:
    """Time that passes when somebody sleeps or reads."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Source:
    """A stream that takes a second a read."""

    def __init__(self, content: bytes, clock: Clock) -> None:
        self._content, self._clock = io.BytesIO(content), clock
        self.asked = 0

    def read(self, size: int) -> bytes:
        self._clock.now += 1
        return self._content.read(size)

    def write(self, content: bytes) -> int:
        self.asked += len(content)
        return len(content)


@given(st.sampled_from([0.1, 0.25, 0.5, 0.9]), st.integers(1, 40))
def test_reading_takes_no_more_than_its_share_of_the_time(share: float, blocks: int) -> None:
    clock = Clock()
    source = Source(bytes(100 * blocks), clock)
    reader = PacedReader(cast(Stream, source), 100, share, clock, clock.sleep)
    while reader.read(1000):
        pass
    busy = blocks + 1
    assert source.asked == blocks + 1
    # The rest after the last block falls away.
    assert busy / share - 1 / share <= clock.now <= busy / share + 1e-6


@given(st.lists(st.binary(max_size=5000), max_size=5), st.integers(1, 3000))
def test_what_is_paced_arrives_as_it_was(contents: list[bytes], credit_bytes: int) -> None:
    asking, ask = os.pipe()
    given, give = os.pipe()

    def write() -> None:
        with os.fdopen(asking, "rb", buffering=0) as reader, os.fdopen(give, "wb") as writer:
            paced = PacedWriter(writer, reader, credit_bytes)
            for content in contents:
                assert paced.write(content) == len(content)

    thread = threading.Thread(target=write)
    thread.start()

    class Pipes:
        def read(self, size: int) -> bytes:
            return os.read(given, size)

        def write(self, content: bytes) -> int:
            try:
                return os.write(ask, content)
            except BrokenPipeError:
                return 0

    paced = PacedReader(cast(Stream, Pipes()), credit_bytes, 0.999, sleep=lambda _: None)
    arrived = b"".join(iter(paced.read, b""))
    thread.join()
    os.close(ask)
    os.close(given)
    assert arrived == b"".join(contents)


def test_a_writer_whose_reader_left_ends() -> None:
    paced = PacedWriter(io.BytesIO(), io.BytesIO(b"."), 10)
    with pytest.raises(BadTransfer, match="the reader left"):
        paced.write(bytes(11))


def test_a_file_that_changed_on_the_way_is_left_for_the_next_time(tmp_path: Path) -> None:
    source, target, stream = tmp_path / "src", tmp_path / "dst", io.BytesIO()
    source.mkdir()
    for name in ("a", "b", "c"):
        (source / name).write_bytes(name.encode() * 1000)
    manifest = read_manifest(source)
    (source / "b").write_bytes(b"x" * 1000)
    pack(source, manifest, stream)
    stream.seek(0)
    changed: set[str] = set()
    unpack(target, stream, changed=changed)
    assert changed == {"b"}
    assert sorted(path.name for path in target.iterdir()) == ["a", "c"]


def fill(folder: str, names: tuple[str, ...]) -> None:
    for name in names:
        path = Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(200_000))


def test_only_what_changed_comes_home(host: Host, root: str, tmp_path: Path) -> None:
    source = f"{root}/runs/live"
    fill(source, (LAST, BEST, "metrics.csv", "events.jsonl"))
    assert bring_results(host, root, source, tmp_path, 0.9) == 3
    assert not (tmp_path / "events.jsonl").exists()  # its follower has it
    assert bring_results(host, root, source, tmp_path, 0.9) == 0
    fill(source, (LAST,))
    assert bring_results(host, root, source, tmp_path, 0.9) == 1
    assert (tmp_path / LAST).read_bytes() == Path(source, LAST).read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoints", "metrics.csv"]


def test_the_last_checkpoint_never_comes_home_before_its_best(
    host: Host, root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = f"{root}/runs/order"
    fill(source, (LAST, BEST))

    def receive(*arguments: object, changed: set[str], **more: object) -> None:
        receive_files(*arguments, changed=changed, **more)  # type: ignore[arg-type, misc]  # as they came
        if BEST in cast("dict[str, object]", arguments[4]):
            changed.add(BEST)

    monkeypatch.setattr("remote.live.receive_files", receive)
    assert bring_results(host, root, source, tmp_path, 0.9) == 0
    assert not list(tmp_path.rglob("*.pt"))


def test_results_come_when_there_is_news_and_never_after_leaving(
    host: Host, root: str, tmp_path: Path
) -> None:
    source = f"{root}/runs/news"
    fill(source, (LAST,))
    live = LiveResults(Host(host.address), root, source, tmp_path, 0.9, pause_s=0)
    live.tell()
    wait_until((tmp_path / LAST).exists)
    live.leave()
    fill(source, (BEST,))
    live.tell()
    assert not (tmp_path / BEST).exists()

"""An archive or folder as it was published -> files on disk, safely.

Files go to `TARGET.partial`, which becomes TARGET when the last one is there: a target that exists
is whole, and a second call continues where the first was stopped.
"""

import errno
import json
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from train.data.archives import DOWNLOAD_AGAIN, Archive, Member, open_archive
from train.errors import DataError

MARK = ".segaway-extracted.json"
MARGIN_BYTES = 64 * 2**20
# More than this many times its own size, beyond a first GiB, is a bomb and no dataset.
LARGEST_RATIO, FREE_BYTES = 250, 2**30
MOST_FILES = 20_000_000
THREADS = os.cpu_count() or 1
LARGE_BYTES, MOST_PENDING = 2**16, 16
TOLD_FILES = 50
OPEN_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC

Progress = Callable[[int, int], None]
"""Called with files and bytes done so far."""


@dataclass(frozen=True)
class Extraction:
    """What an extraction left, or would leave: `done_before` says that nothing was to do."""

    target: Path
    files: int
    size_bytes: int
    done_before: bool


class Refused(DataError):
    """What an archive holds is not to be trusted."""


def survey_archive(source: Path) -> tuple[int, int]:
    """Files in `source` and their bytes in all. Reads, checks every name, and writes nothing."""
    with open_archive(source) as archive:
        sizes = [m.size for m in _check_all(source, archive.members) if m.kind == "file"]
    return len(sizes), sum(sizes)


def is_extracted(source: Path, target: Path) -> bool:
    """Whether `target` is the whole of `source`."""
    try:
        return bool(json.loads((target / MARK).read_text())["source"] == _identity(source))
    except (OSError, ValueError, KeyError):
        return False


def extract_archive(
    source: Path, target: Path, progress: Progress = lambda _files, _bytes: None
) -> Extraction:
    """Put the files of `source` (tar, tar.gz, tar.xz, tar.bz2, zip or a folder) into `target`.

    Safe to repeat: what an interrupted call wrote is kept, what is done is found done.

    Raises:
        DataError: the archive is corrupt or of no known kind; a member would leave the target,
            or is a device; it would take far more room than a dataset does, or than there is; the
            target holds something else.
    """
    if is_extracted(source, target):
        mark = json.loads((target / MARK).read_text())
        return Extraction(target, mark["files"], mark["bytes"], done_before=True)
    if target.exists() and any(target.iterdir()):
        raise DataError(
            f"{target} exists and does not come from {source.name}.",
            fix="Give another --to, or remove that folder.",
        )
    partial = target.with_name(target.name + ".partial")
    with _wrap_os_errors(source, partial), open_archive(source) as archive:
        began_before = partial.exists()
        partial.mkdir(parents=True, exist_ok=True)
        members = _list_checked(source, archive, partial)
        try:
            writer = _Writer(partial, began_before, progress)
            writer.write_all(members, archive.in_order)
        except Refused:
            shutil.rmtree(partial)
            raise
        if not writer.files:
            raise DataError(f"{source} holds no file.", fix="Check that the download is whole.")
        mark = {"source": _identity(source), "files": writer.files, "bytes": writer.bytes}
        (partial / MARK).write_text(json.dumps(mark))
        partial.rename(target)
    return Extraction(target, writer.files, writer.bytes, done_before=False)


def _list_checked(source: Path, archive: Archive, partial: Path) -> Iterable[Member]:
    """The members, all checked before the first is written where that takes no second reading."""
    if archive.in_order:
        return _check_all(source, archive.members, partial)
    members = list(_check_all(source, archive.members))
    # What an earlier call already wrote counts as room.
    there = sum(p.stat().st_size for p in partial.rglob("*") if p.is_file() and not p.is_symlink())
    _check_room(source, partial, sum(member.size for member in members) - there)
    return members


def _check_all(
    source: Path, members: Iterable[Member], partial: Path | None = None
) -> Iterator[Member]:
    """The members as they are allowed; with `partial`, as long as there is room."""
    packed = source.stat().st_size if source.is_file() else 0
    free = shutil.disk_usage(partial).free if partial else 0
    files = size = 0
    for member in members:
        checked = _check(source, member)
        if member.kind == "file":
            files, size = files + 1, size + member.size
        bomb = packed and size > FREE_BYTES + LARGEST_RATIO * packed
        if bomb or files > MOST_FILES:
            raise Refused(
                f"{source.name} has {packed} bytes and would unpack to more than {size}, in "
                f"{files} files; nothing of it is left.",
                fix="Do not trust this archive. Unpack it yourself if you know better.",
            )
        if partial and size + MARGIN_BYTES > free:
            _check_room(source, partial, size)
        yield checked


class _Writer:
    """Writes members below a folder; counts what is there."""

    def __init__(self, root: Path, began_before: bool, progress: Progress) -> None:
        self.files = self.bytes = 0
        self._root, self._began_before, self._progress = root, began_before, progress
        self._real_root = root.resolve()
        self._parents: set[str] = set()
        self._pending: deque[Future[None]] = deque()

    def write_all(self, members: Iterable[Member], in_order: bool) -> None:
        """All of them. Large files are written by threads, small ones here: what they take is the
        file system's time, and threads only stand in each other's way there.
        """
        with ThreadPoolExecutor(THREADS) as pool:
            try:
                for member in members:
                    self._make_parent(member)
                    if member.kind != "file":
                        self._wait(0)
                        self._make(member)
                    elif in_order or member.size < LARGE_BYTES:
                        self._write(member)
                    else:
                        self._pending.append(pool.submit(self._write, member))
                        self._wait(MOST_PENDING)
                    self._count(member)
                self._wait(0)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        self._progress(self.files, self.bytes)

    def _write(self, member: Member) -> None:
        _write_file(member, f"{self._root}/{member.name}", self._began_before)

    def _count(self, member: Member) -> None:
        if member.kind == "file":
            self.files, self.bytes = self.files + 1, self.bytes + member.size
            if self.files % TOLD_FILES == 0:
                self._progress(self.files, self.bytes)

    def _wait(self, most: int) -> None:
        """Until no more than so many files are being written: a link may be to one of them."""
        while len(self._pending) > most:
            self._pending.popleft().result()

    def _make_parent(self, member: Member) -> None:
        parent = member.name.rpartition("/")[0]
        if parent in self._parents:
            return
        path = self._root / parent
        if not path.resolve().is_relative_to(self._real_root):
            raise _refusal(member, "is written through a link that leaves the target")
        path.mkdir(parents=True, exist_ok=True)
        self._parents.add(parent)

    def _make(self, member: Member) -> None:
        """What is no file."""
        path = self._root / member.name
        if member.kind == "folder":
            self._make_parent(replace(member, name=f"{member.name}/"))
            return
        path.unlink(missing_ok=True)
        if member.kind == "symlink":
            path.symlink_to(member.link)
        else:
            path.hardlink_to(self._root / member.link)


def _write_file(member: Member, path: str, began_before: bool) -> None:
    """Write a file, last its time: size and time say that it is done."""
    if began_before and _is_done(member, path):
        return
    assert member.read is not None
    try:
        file = os.open(path, OPEN_FLAGS, 0o644)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.EMLINK):
            raise
        os.unlink(path)
        file = os.open(path, OPEN_FLAGS, 0o644)
    try:
        size = 0
        for piece in member.read():
            done = 0
            while done < len(piece):
                done += os.write(file, piece[done:])
            size += done
        if size != member.size:
            raise DataError(f"{member.name} is shorter than the archive says.", fix=DOWNLOAD_AGAIN)
        os.utime(file, (member.mtime, member.mtime))
    finally:
        os.close(file)


def _is_done(member: Member, path: str) -> bool:
    try:
        known = os.lstat(path)
    except OSError:
        return False
    return known.st_size == member.size and int(known.st_mtime) == member.mtime


def _check(source: Path, member: Member) -> Member:
    """`member`, when nothing about it can reach outside the target."""
    plain = member.name
    if member.kind == "file" and plain and plain[0] != "/" and not _is_odd(plain):
        return member
    name = PurePosixPath(plain.replace("\\", "/"))
    if name.is_absolute() or ".." in name.parts or (name.parts and ":" in name.parts[0]):
        raise _refusal(member, f"of {source.name} points outside the target")
    if member.kind == "device":
        raise _refusal(member, f"of {source.name} is a device or a pipe")
    if member.kind in ("symlink", "hardlink"):
        base = name.parent if member.kind == "symlink" else PurePosixPath()
        if PurePosixPath(member.link).is_absolute() or _leaves(base / member.link):
            raise _refusal(member, f"of {source.name} is a link that leaves the target")
    return replace(member, name=name.as_posix())


def _is_odd(name: str) -> bool:
    return ".." in name or "\\" in name or ":" in name or "//" in name or "./" in name


def _leaves(path: PurePosixPath) -> bool:
    depth = 0
    for part in path.parts:
        depth += -1 if part == ".." else 1
        if depth < 0:
            return True
    return False


def _refusal(member: Member, why: str) -> Refused:
    return Refused(
        f"{member.name!r} {why}; nothing of it was written.",
        fix="Do not trust this archive. Repack it without that entry if you know better.",
    )


def _identity(source: Path) -> list[object]:
    """What tells this source from a later one of the same name, without reading all of it."""
    info = source.stat()
    return [source.name, info.st_size if source.is_file() else 0, info.st_mtime_ns]


def _check_room(source: Path, target: Path, size: int) -> None:
    """Refuse what cannot fit."""
    free = shutil.disk_usage(target).free
    if size + MARGIN_BYTES > free:
        raise DataError(
            f"{source.name} needs {size / 2**30:.2f} GiB and {target.parent} has "
            f"{free / 2**30:.2f} GiB free; nothing was extracted.",
            fix="Free some space, or give a --to on another disk.",
        )


@contextmanager
def _wrap_os_errors(source: Path, partial: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{error.filename or partial}: {error.strerror}, while extracting {source.name}.",
            fix="Mend that and repeat the command: it goes on where it stopped.",
        ) from error

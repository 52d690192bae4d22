"""The files of an archive, put below a folder: several at once, and none beside it.

Links are made last, when all files are there: nothing is ever written through one, and where each
of them leads is looked at when nothing can change it any more.
"""

import os
import pickle
import selectors
import signal
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import NoReturn

from train.data.archives import DOWNLOAD_AGAIN
from train.data.members import Member
from train.errors import DataError

PROCESSES = min(4, os.cpu_count() or 1)
# This many small files take some 0.1 s: for fewer it is not worth starting processes.
FEWEST_TO_SHARE = 4000
LARGE_BYTES = 2**16
# What a small file takes of the file system's time, in bytes that could be written meanwhile.
FILE_COST_BYTES = 2**15
TOLD_FILES = 50
OPEN_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

Progress = Callable[[int, int], None]
"""Called with files and bytes done so far."""


class Refused(DataError):
    """What an archive holds is not to be trusted."""


def refuse(member: Member, why: str) -> Refused:
    """That `member` could reach outside of the target."""
    return Refused(
        f"{member.name!r} {why}; nothing of it was written.",
        fix="Do not trust this archive. Repack it without that entry if you know better.",
    )


@dataclass
class Writer:
    """Writes members below `root`; counts files and bytes.

    With `began_before`, a file that is there with its size and time is done.
    """

    root: Path
    began_before: bool
    progress: Progress
    files: int = 0
    bytes: int = 0
    _parents: set[str] = field(default_factory=set)
    _links: dict[str, Member] = field(default_factory=dict)

    def write_all(self, members: Iterable[Member], in_order: bool) -> None:
        """All of them; of several with one name the last, as `tar` and `unzip` do.

        Raises:
            Refused: a link leads out of the root.
            DataError: a file is shorter than the archive says.
        """
        found: dict[str, Member] = {}
        for member in members:
            if member.kind == "folder":
                self._make_folder(member.name)
            elif member.kind == "file":
                self._links.pop(member.name, None)
                self._make_folder(member.name.rpartition("/")[0])
                if in_order:
                    self._write([member])
                else:
                    found[member.name] = member
            elif member.link != member.name:
                found.pop(member.name, None)
                self._links[member.name] = member
        self._write_many(list(found.values()))
        self._make_links()
        self.progress(self.files, self.bytes)

    def _write_many(self, members: Sequence[Member]) -> None:
        mapped = [member for member in members if member.is_mapped]
        self._write([member for member in members if not member.is_mapped])
        if PROCESSES > 1 and len(mapped) >= FEWEST_TO_SHARE and hasattr(os, "fork"):
            self._share(mapped)
            return
        # Threads for large files alone: what small ones take is the file system's time, and threads
        # stand in each other's way there.
        large = [member for member in mapped if member.size >= LARGE_BYTES]
        with ThreadPoolExecutor(PROCESSES) as pool:
            try:
                writing = [pool.submit(self._write_one, member) for member in large]
                self._write([member for member in mapped if member.size < LARGE_BYTES])
                for member, future in zip(large, writing, strict=True):
                    future.result()
                    self._count(member)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def _write_one(self, member: Member) -> None:
        _write_file(self, member)

    def _write(self, members: Sequence[Member]) -> None:
        for member in members:
            _write_file(self, member)
            self._count(member)

    def _share(self, members: Sequence[Member]) -> None:
        """Processes, each with a part of the members: threads would wait for one interpreter.

        A process does nothing but write files; what it inherits it leaves alone.
        """
        children: list[_Child] = []
        try:
            for part in _cut_evenly(members, PROCESSES):
                children.append(_Child(self, part))
            _listen(children, self._count)
        finally:
            for child in children:
                child.end()

    def _count(self, member: Member) -> None:
        self.files, self.bytes = self.files + 1, self.bytes + member.size
        if self.files % TOLD_FILES == 0:
            self.progress(self.files, self.bytes)

    def _make_folder(self, name: str) -> None:
        if name not in self._parents:
            (self.root / name).mkdir(parents=True, exist_ok=True)
            self._parents.add(name)

    def _make_links(self) -> None:
        """Hard links first: as long as there is no other, none can lead them astray."""
        for member in sorted(self._links.values(), key=lambda each: each.kind != "hardlink"):
            path = self.root / member.name
            parents = (parent.as_posix() for parent in PurePosixPath(member.name).parents)
            if any(parent in self._links for parent in parents):
                raise refuse(member, "is written through a link")
            if path.is_dir() and not path.is_symlink():
                raise refuse(member, "is a link and a folder at once")
            self._make_folder(member.name.rpartition("/")[0])
            path.unlink(missing_ok=True)
            if member.kind == "symlink":
                path.symlink_to(member.link)
            else:
                self._make_second_name(member, path)
            if not self._holds(path):
                raise refuse(member, "is a link that leaves the target")
        # What was made since may have turned one that was made before.
        for member in self._links.values():
            if not self._holds(self.root / member.name):
                raise refuse(member, "is a link that leaves the target")

    def _make_second_name(self, member: Member, path: Path) -> None:
        source = self.root / member.link
        if not self._holds(source):
            raise refuse(member, "is a link that leaves the target")
        if not source.is_file():
            raise refuse(member, f"is a hard link to {member.link!r}, which is no file of it")
        path.hardlink_to(source)

    def _holds(self, path: Path) -> bool:
        return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(self.root))


class _Child:
    """A process that writes some members, and says through a pipe how far it is."""

    def __init__(self, writer: Writer, members: Sequence[Member]) -> None:
        self.members = members
        self.done = 0
        self.failure = b""
        parent = os.getpid()
        self.pipe, end = os.pipe()
        # An interrupt is the parent's to answer; between fork and that it would reach both.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            self._pid = os.fork()
            if not self._pid:
                _write_and_leave(writer, members, end, parent)
        except OSError:
            os.close(self.pipe)
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            os.close(end)

    def hear(self, count: Callable[[Member], None]) -> bool:
        """What it says now; False when it has said all.

        Raises:
            Exception: what went wrong in it.
        """
        said = os.read(self.pipe, 2**16)
        dots, mark, rest = (b"", b"", said) if self.failure else said.partition(b"!")
        for member in self.members[self.done : self.done + len(dots)]:
            count(member)
        self.done += len(dots)
        self.failure += mark + rest
        if said:
            return True
        if self.failure:
            raise pickle.loads(self.failure[1:])
        if self.done < len(self.members):
            raise DataError(
                f"A process that wrote {self.members[self.done].name} was killed.",
                fix="Repeat the command: it goes on where it stopped.",
            )
        return False

    def end(self) -> None:
        """Stop it, where it is not done."""
        os.close(self.pipe)
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)


def _listen(children: Sequence[_Child], count: Callable[[Member], None]) -> None:
    """Until all are done; raises what went wrong in the first that says so."""
    with selectors.DefaultSelector() as selector:
        for child in children:
            selector.register(child.pipe, selectors.EVENT_READ, child)
        while selector.get_map():
            for key, _ in selector.select():
                if not key.data.hear(count):
                    selector.unregister(key.fd)


def _write_and_leave(writer: Writer, members: Sequence[Member], end: int, parent: int) -> NoReturn:
    """What a process does: a dot for each file, or `!` and what went wrong."""
    try:
        dots = 0
        for member in members:
            _write_file(writer, member)
            dots += 1
            if dots == TOLD_FILES:
                os.write(end, b"." * dots)
                dots = 0
                if os.getppid() != parent:
                    break
        os.write(end, b"." * dots)
    except BaseException as error:
        os.write(end, b"!" + pickle.dumps(error))
    finally:
        os._exit(0)


def _cut_evenly(members: Sequence[Member], parts: int) -> list[Sequence[Member]]:
    """Parts that take about the same time, in order."""
    total = sum(member.size + FILE_COST_BYTES for member in members)
    ends, done = [0], 0
    for number, member in enumerate(members, start=1):
        done += member.size + FILE_COST_BYTES
        if done * parts >= total * len(ends):
            ends.append(number)
    return [members[a:b] for a, b in pairwise(ends)]


def _write_file(writer: Writer, member: Member) -> None:
    """Write a file, last its time: size and time say that it is done."""
    path = f"{writer.root}/{member.name}"
    if writer.began_before and _is_done(member, path):
        return
    assert member.read is not None
    try:
        file = os.open(path, OPEN_FLAGS, 0o644)
    except FileExistsError:
        # A second name of the same content may be there: only this one is to change.
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

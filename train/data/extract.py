"""An archive or folder as it was published -> files on disk, safely.

Files go to `TARGET.partial`, which becomes TARGET when the last one is there: a target that exists
is whole, and a second call continues where the first was stopped.
"""

import json
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from train.data.archives import Archive, open_archive
from train.data.members import Member
from train.data.writer import Progress, Refused, Writer, refuse
from train.errors import DataError

MARK = ".segaway-extracted.json"
MARGIN_BYTES = 64 * 2**20
# More than this many times its own size, beyond a first GiB, is a bomb and no dataset.
LARGEST_RATIO, FREE_BYTES = 250, 2**30
MOST_FILES = 20_000_000
DRIVE = re.compile(r"[A-Za-z]:[\\/]")


@dataclass(frozen=True)
class Extraction:
    """What an extraction left, or would leave: `done_before` says that nothing was to do."""

    target: Path
    files: int
    size_bytes: int
    done_before: bool


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
    target = target.absolute()
    partial = target.with_name(target.name + ".partial")
    with _wrap_os_errors(source, partial), open_archive(source) as archive:
        _check_target(source, target)
        began_before = _begin(source, partial)
        members = _list_checked(source, archive, partial)
        writer = Writer(partial, began_before, progress)
        try:
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


def _check_target(source: Path, target: Path) -> None:
    if target.exists() and not target.is_dir():
        raise DataError(f"{target} is a file.", fix="Give a folder with --to.")
    if target.exists() and any(target.iterdir()):
        raise DataError(
            f"{target} exists and does not come from {source.name}.",
            fix="Give another --to, or remove that folder.",
        )


def _begin(source: Path, partial: Path) -> bool:
    """Make the folder that files go to; whether an earlier call began with this very source.

    What it began with another source is of no use any more.
    """
    if partial.exists() and not (partial / MARK).exists() and any(partial.iterdir()):
        raise DataError(
            f"{partial} is there, and no extraction has left it.",
            fix="Move it away, or give another --to.",
        )
    if is_extracted(source, partial):
        return True
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    (partial / MARK).write_text(json.dumps({"source": _identity(source)}))
    return False


def _list_checked(source: Path, archive: Archive, partial: Path) -> Iterable[Member]:
    """The members, all checked before the first is written where that takes no second reading."""
    if archive.in_order:
        return _check_all(source, archive.members, partial)
    members = list(_check_all(source, archive.members))
    _check_room(source, partial, sum(m.size for m in members), _find_room(partial))
    return members


def _find_room(partial: Path) -> int:
    """Bytes that are free, and those that an earlier call already wrote."""
    there = sum(path.lstat().st_size for path in partial.rglob("*") if not path.is_dir())
    return int(shutil.disk_usage(partial).free) + there


def _check_all(
    source: Path, members: Iterable[Member], partial: Path | None = None
) -> Iterator[Member]:
    """The members as they are allowed; with `partial`, as long as there is room."""
    packed = source.stat().st_size if source.is_file() else 0
    room = _find_room(partial) if partial else 0
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
        if partial:
            _check_room(source, partial, size, room)
        yield checked


def _check(source: Path, member: Member) -> Member:
    """`member`, when nothing about it can reach outside the target."""
    plain, link = _read_name(member.name), _read_name(member.link)
    if (plain, link) != (member.name, member.link):
        member = member._replace(name=plain, link=link)
    if member.kind == "file" and plain and plain[0] != "/" and not _is_odd(plain):
        return member
    name = PurePosixPath(plain.replace("\\", "/"))
    if name.is_absolute() or ".." in name.parts or DRIVE.match(plain):
        raise refuse(member, f"of {source.name} points outside the target")
    if member.kind == "device":
        raise refuse(member, f"of {source.name} is a device or a pipe")
    if member.kind in ("symlink", "hardlink"):
        base = name.parent if member.kind == "symlink" else PurePosixPath()
        if PurePosixPath(member.link).is_absolute() or _leaves(base / member.link):
            raise refuse(member, f"of {source.name} is a link that leaves the target")
    return member._replace(name=name.as_posix())


def _read_name(name: str) -> str:
    """A name that is no UTF-8 as what older systems of the West wrote."""
    if name.isprintable():
        return name
    raw = name.encode("utf-8", "surrogateescape")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _is_odd(name: str) -> bool:
    return ".." in name or "\\" in name or ":" in name or "//" in name or "./" in name


def _leaves(path: PurePosixPath) -> bool:
    depth = 0
    for part in path.parts:
        depth += -1 if part == ".." else 1
        if depth < 0:
            return True
    return False


def _identity(source: Path) -> list[object]:
    """What tells this source from a later one of the same name, without reading all of it."""
    info = source.stat()
    return [source.name, info.st_size if source.is_file() else 0, info.st_mtime_ns]


def _check_room(source: Path, target: Path, size: int, room: int) -> None:
    """Refuse what cannot fit."""
    if size + MARGIN_BYTES > room:
        raise DataError(
            f"{source.name} needs {size / 2**30:.2f} GiB or more, and {target.parent} has room for "
            f"{room / 2**30:.2f} GiB; {target.name} is not whole.",
            fix="Free some space, or give a --to on another disk, and repeat the command.",
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

"""An archive or folder as it was published -> files on disk, safely.

Files go to `TARGET.partial`, which becomes TARGET when the last one is there: a target that exists
is whole, and a second call continues where the first was stopped.
"""

import calendar
import functools
import json
import lzma
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from train.errors import DataError

MARK = ".segaway-extracted.json"
MARGIN_BYTES = 64 * 2**20
CHUNK_BYTES = 2**20

Progress = Callable[[int, int], None]
"""Called with files and bytes done so far."""


@dataclass(frozen=True)
class Member:
    """One entry of an archive. `link` is set for links; a hard link's is relative to the root."""

    name: str
    size: int
    mtime: int
    kind: str
    link: str = ""
    open: Callable[[], IO[bytes]] | None = None


@dataclass(frozen=True)
class Extraction:
    """What an extraction left, or would leave: `done_before` says that nothing was to do."""

    target: Path
    files: int
    size_bytes: int
    done_before: bool


def survey_archive(source: Path) -> tuple[int, int]:
    """Files in `source` and their bytes in all. Reads, checks every name, and writes nothing."""
    with _members(source) as members:
        checked = [_checked(source, member) for member in members]
    sizes = [member.size for member in checked if member.kind == "file"]
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
            or is a device; the disk has no room; the target holds something else.
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
    with _wrap_os_errors(source, partial):
        partial.mkdir(parents=True, exist_ok=True)
        _check_room(source, partial)
        files, size = _write_members(source, partial, progress)
        mark = {"source": _identity(source), "files": files, "bytes": size}
        (partial / MARK).write_text(json.dumps(mark))
        partial.rename(target)
    return Extraction(target, files, size, done_before=False)


def _write_members(source: Path, root: Path, progress: Progress) -> tuple[int, int]:
    files = size = 0
    with _members(source) as members:
        for member in members:
            _write_member(_checked(source, member), root)
            if member.kind == "file":
                files, size = files + 1, size + member.size
                progress(files, size)
    if not files:
        raise DataError(f"{source} holds no file.", fix="Check that the download is whole.")
    return files, size


def _write_member(member: Member, root: Path) -> None:
    path = root / member.name
    if not path.parent.resolve().is_relative_to(root.resolve()):
        raise _refusal(member, "is written through a link that leaves the target")
    if member.kind == "folder":
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if member.kind == "symlink":
        path.unlink(missing_ok=True)
        path.symlink_to(member.link)
    elif member.kind == "hardlink":
        path.unlink(missing_ok=True)
        path.hardlink_to(root / member.link)
    else:
        _write_file(member, path)


def _write_file(member: Member, path: Path) -> None:
    # A whole file carries its member's time, which is set last: size and time say that it is done.
    if path.is_file() and not path.is_symlink():
        known = path.stat()
        if known.st_size == member.size and int(known.st_mtime) == member.mtime:
            return
    assert member.open is not None
    partial = path.with_name(path.name + ".part")
    with member.open() as reader, partial.open("wb") as writer:
        shutil.copyfileobj(reader, writer, CHUNK_BYTES)
    if partial.stat().st_size != member.size:
        raise DataError(f"{member.name} is shorter than the archive says.", fix=_DOWNLOAD_AGAIN)
    os.utime(partial, (member.mtime, member.mtime))
    partial.replace(path)


def _checked(source: Path, member: Member) -> Member:
    """`member`, when nothing about it can reach outside the target."""
    name = PurePosixPath(member.name.replace("\\", "/"))
    if name.is_absolute() or ".." in name.parts or (name.parts and ":" in name.parts[0]):
        raise _refusal(member, f"of {source.name} points outside the target")
    if member.kind == "device":
        raise _refusal(member, f"of {source.name} is a device or a pipe")
    if member.kind in ("symlink", "hardlink"):
        base = name.parent if member.kind == "symlink" else PurePosixPath()
        if PurePosixPath(member.link).is_absolute() or _leaves(base / member.link):
            raise _refusal(member, f"of {source.name} is a link that leaves the target")
    return member


def _leaves(path: PurePosixPath) -> bool:
    depth = 0
    for part in path.parts:
        depth += -1 if part == ".." else 1
        if depth < 0:
            return True
    return False


def _refusal(member: Member, why: str) -> DataError:
    return DataError(
        f"{member.name!r} {why}; nothing of it was written.",
        fix="Do not trust this archive. Repack it without that entry if you know better.",
    )


_DOWNLOAD_AGAIN = "Download the archive again and compare its checksum with the publisher's."


@contextmanager
def _members(source: Path) -> Iterator[Iterator[Member]]:
    """The members of `source`, in order; errors of the archive's reader become DataError."""
    if source.is_dir():
        yield _folder_members(source)
        return
    try:
        if zipfile.is_zipfile(source):
            with zipfile.ZipFile(source) as archive:
                yield _zip_members(archive)
        else:
            with tarfile.open(source, "r:*") as tar:
                yield _tar_members(tar)
    except FileNotFoundError as error:
        if error.filename == str(source):
            raise DataError(
                f"{source} does not exist.", fix="Check the path of the archive."
            ) from error
        raise
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError) as error:
        raise DataError(
            f"{source} is corrupt or no tar or zip archive ({error}).", fix=_DOWNLOAD_AGAIN
        ) from error
    except (RuntimeError, NotImplementedError) as error:
        raise DataError(
            f"{source} cannot be unpacked: {error}.", fix="Unpack it yourself and give the folder."
        ) from error


def _tar_members(tar: tarfile.TarFile) -> Iterator[Member]:
    for info in tar:
        if info.isreg():
            opener = functools.partial(_open_tar_member, tar, info)
            yield Member(info.name, info.size, int(info.mtime), "file", open=opener)
        elif info.isdir():
            yield Member(info.name, 0, int(info.mtime), "folder")
        elif info.issym() or info.islnk():
            kind = "symlink" if info.issym() else "hardlink"
            yield Member(info.name, 0, int(info.mtime), kind, link=info.linkname)
        else:
            yield Member(info.name, 0, int(info.mtime), "device")
    _check_tar_end(tar)


def _check_tar_end(tar: tarfile.TarFile) -> None:
    """Zeros end a whole archive; tarfile itself misses a cut between two members."""
    assert tar.fileobj is not None
    tar.fileobj.seek(tar.offset)
    if tar.fileobj.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
        raise tarfile.ReadError("it ends in the middle")


def _open_tar_member(tar: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    reader = tar.extractfile(info)
    assert reader is not None  # it is None for folders and devices alone
    return reader


def _zip_members(archive: zipfile.ZipFile) -> Iterator[Member]:
    for info in archive.infolist():
        mode = info.external_attr >> 16
        mtime = calendar.timegm((*info.date_time, 0, 0, 0))
        if info.is_dir():
            yield Member(info.filename, 0, mtime, "folder")
        elif stat.S_ISLNK(mode):
            link = archive.read(info).decode()
            yield Member(info.filename, 0, mtime, "symlink", link=link)
        elif mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG):
            yield Member(info.filename, 0, mtime, "device")
        else:
            opener = functools.partial(archive.open, info)
            yield Member(info.filename, info.file_size, mtime, "file", open=opener)


def _folder_members(source: Path) -> Iterator[Member]:
    for folder, folders, names in os.walk(source):
        folders.sort()
        for name in sorted(names) + [f for f in folders if (Path(folder) / f).is_symlink()]:
            path = Path(folder) / name
            relative = path.relative_to(source).as_posix()
            info = path.lstat()
            if stat.S_ISLNK(info.st_mode):
                yield Member(relative, 0, 0, "symlink", link=os.readlink(path))
            elif stat.S_ISREG(info.st_mode):
                opener = functools.partial(_open_file, path)
                yield Member(relative, info.st_size, int(info.st_mtime), "file", open=opener)
            else:
                yield Member(relative, 0, 0, "device")


def _open_file(path: Path) -> IO[bytes]:
    return path.open("rb")


def _identity(source: Path) -> list[object]:
    """What tells this source from a later one of the same name, without reading all of it."""
    info = source.stat()
    return [source.name, info.st_size if source.is_file() else 0, info.st_mtime_ns]


def _check_room(source: Path, target: Path) -> None:
    """Refuse what cannot fit. What an earlier call already wrote counts as room."""
    _, size = survey_archive(source)
    there = sum(p.stat().st_size for p in target.rglob("*") if p.is_file() and not p.is_symlink())
    free = shutil.disk_usage(target).free
    if size - there + MARGIN_BYTES > free:
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

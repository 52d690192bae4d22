"""What an archive or a folder holds, member by member.

Tar and zip are parsed by the standard library, but for what nearly all members of nearly all
archives are, where the library takes most of the time: plain headers of tar (POSIX.1-1988 and
GNU's), and stored or deflated entries of zip. Of these the content is a piece of the file itself,
mapped into memory: threads may read several at once.
"""

import calendar
import lzma
import mmap
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Literal

from train.errors import DataError

CHUNK_BYTES = 2**16
BLOCK = tarfile.BLOCKSIZE
ZEROS = bytes(BLOCK)
FOLDER_OF_DOS, ENCRYPTED = 0x10, 1
NO_TEXT = 0x80
"""A number field that begins with a byte like this is no octal text."""
LOCAL_HEADER = struct.Struct("<4s22xHH")
DOWNLOAD_AGAIN = "Download the archive again and compare its checksum with the publisher's."

TAR_MAGIC = slice(257, 262)
UNPACK = "Unpack it yourself and give the folder."
NOT_FETCHED = "Download the archive itself; its page, or a reference to it, was saved instead."
OTHERS = (
    (b"rar!", "a RAR archive", UNPACK),
    (b"7z\xbc\xaf", "a 7-Zip archive", UNPACK),
    (b"(\xb5/\xfd", "compressed with Zstandard", UNPACK),
    (b'\x04"m\x18', "compressed with LZ4", UNPACK),
    (b"<!doctype", "a web page", NOT_FETCHED),
    (b"<html", "a web page", NOT_FETCHED),
    (b"version https://git-lfs", "a Git LFS pointer", "Fetch the archive itself: git lfs pull."),
    (b"\x89png", "a picture", "Give the folder or the archive that holds the dataset."),
    (b"\xff\xd8\xff", "a picture", "Give the folder or the archive that holds the dataset."),
)

Pieces = Iterable[bytes | memoryview]
Kind = Literal["file", "folder", "symlink", "hardlink", "device"]


@dataclass(frozen=True, slots=True)
class Member:
    """One entry. `link` is set for links; a hard link's is relative to the root.

    `read` gives the content of a file, in pieces; with `is_mapped` to any process that was forked
    off this one, too.
    """

    name: str
    size: int
    mtime: int
    kind: Kind
    link: str = ""
    read: Callable[[], Pieces] | None = None
    is_mapped: bool = False


@dataclass(frozen=True)
class Archive:
    """`members` in order. With `in_order`, a file has to be read before the next member is asked
    for; else whenever, by any thread, while the archive is open.
    """

    members: Iterator[Member]
    in_order: bool


@contextmanager
def open_archive(source: Path) -> Iterator[Archive]:
    """The archive (tar, plain or compressed, or zip) or folder at `source`.

    Raises:
        DataError: it is not there, corrupt, or of no known kind; also while it is read.
    """
    if source.is_dir():
        yield Archive(_list_folder(source), in_order=False)
        return
    try:
        with source.open("rb") as file:
            head = file.read(BLOCK)
            _refuse_others(source, head)
            # A tar that ends with a zip, as one of documents may, would pass for a zip.
            if head[TAR_MAGIC] != b"ustar" and zipfile.is_zipfile(file):
                with zipfile.ZipFile(file) as zipped, _map(file) as content:
                    yield Archive(_list_zip(zipped, content), in_order=False)
                return
            file.seek(0)
            with tarfile.open(fileobj=file, mode="r:*") as tar:
                if tar.fileobj is not file:
                    yield Archive(_list_stream(tar), in_order=True)
                    return
                with _map(file) as content:
                    yield Archive(_list_tar(tar, content), in_order=False)
    except FileNotFoundError as error:
        if str(error.filename) == str(source):
            raise DataError(
                f"{source} does not exist.", fix="Check the path of the archive."
            ) from error
        raise
    except OSError as error:
        # The system's have a number; those of gzip and bz2 have none.
        if error.errno is not None:
            raise
        raise _corrupt(source, error) from error
    except (
        *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, ValueError),
        struct.error,
    ) as error:
        raise _corrupt(source, error) from error
    except (RuntimeError, NotImplementedError) as error:
        raise DataError(f"{source} cannot be unpacked: {error}.", fix=UNPACK) from error


def _refuse_others(source: Path, head: bytes) -> None:
    """Say what a file is that is no archive of a kind that is read here."""
    for beginning, what, fix in OTHERS:
        if head.lstrip().lower().startswith(beginning):
            raise DataError(f"{source} is {what}, no tar or zip archive.", fix=fix)


def _corrupt(source: Path, error: Exception) -> DataError:
    return DataError(f"{source} is corrupt or no tar or zip archive ({error}).", fix=DOWNLOAD_AGAIN)


@contextmanager
def _map(file: IO[bytes]) -> Iterator[memoryview]:
    content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    view = memoryview(content)
    try:
        yield view
    finally:
        # An error may still hold pieces of it: then it goes when the error does.
        with suppress(BufferError):
            view.release()
            content.close()


def _list_tar(tar: tarfile.TarFile, content: memoryview) -> Iterator[Member]:
    """The members of a tar that is not compressed."""
    tar.firstmember = None  # type: ignore[attr-defined]  # else `next` gives it, wherever it is
    offset = 0
    while (header := bytes(content[offset : offset + BLOCK])) != ZEROS:
        if len(header) < BLOCK:
            raise tarfile.ReadError("it ends in the middle")
        member = None if tar.pax_headers else _parse_plain(header, content, offset + BLOCK)
        if member:
            offset += BLOCK + -(-member.size // BLOCK) * BLOCK
        else:
            assert tar.fileobj is not None
            tar.offset = offset
            tar.fileobj.seek(offset)
            info = tar.next()
            if info is None:
                raise tarfile.ReadError("it ends in the middle")
            member, offset = _describe(tar, info, content), tar.offset
        yield member


def _parse_plain(header: bytes, content: memoryview, start: int) -> Member | None:
    """The file or folder that a header without extensions describes; None for any other."""
    kind, magic = header[156:157], header[257:265]
    is_posix = magic == b"ustar\x0000"
    if (
        kind not in b"0\x005"
        or (header[124] | header[136]) & NO_TEXT
        or not (is_posix or magic == b"ustar  \0")
    ):
        return None
    if sum(header) - sum(header[148:156]) + 8 * 32 != _parse_octal(header[148:156]):
        return None
    name, prefix = header[:100], header[345:500] if is_posix else b""
    path = name.partition(b"\0")[0].decode("utf-8", "surrogateescape")
    if front := prefix.partition(b"\0")[0]:
        path = f"{front.decode('utf-8', 'surrogateescape')}/{path}"
    if kind == b"5":
        return Member(path.rstrip("/"), 0, 0, "folder")
    if path.endswith("/"):
        return None
    size, mtime = _parse_octal(header[124:136]), _parse_octal(header[136:148])
    return Member(path, size, mtime, "file", read=_cut(content, start, size), is_mapped=True)


def _parse_octal(field: bytes) -> int:
    return int(field.partition(b"\0")[0].strip() or b"0", 8)


def _cut(content: memoryview, start: int, size: int) -> Callable[[], Pieces]:
    if start + size > len(content):
        raise tarfile.ReadError("it ends in the middle")
    return partial(_take, content, start, size)


def _take(content: memoryview, start: int, size: int) -> Pieces:
    return (content[start : start + size],)


def _describe(tar: tarfile.TarFile, info: tarfile.TarInfo, content: memoryview) -> Member:
    if info.isreg() and not info.issparse():
        read = _cut(content, info.offset_data, info.size)
        return Member(info.name, info.size, int(info.mtime), "file", read=read, is_mapped=True)
    return _describe_any(tar, info)


def _list_stream(tar: tarfile.TarFile) -> Iterator[Member]:
    """The members of a compressed tar."""
    for info in tar:
        yield _describe_any(tar, info)
    # Zeros end a whole archive; tarfile itself misses a cut between two members.
    assert tar.fileobj is not None
    tar.fileobj.seek(tar.offset)
    if tar.fileobj.read(BLOCK) != ZEROS:
        raise tarfile.ReadError("it ends in the middle")


def _describe_any(tar: tarfile.TarFile, info: tarfile.TarInfo) -> Member:
    mtime = int(info.mtime)
    if info.isreg():
        return Member(info.name, info.size, mtime, "file", read=partial(_read_tar, tar, info))
    if info.isdir():
        return Member(info.name, 0, mtime, "folder")
    if info.issym() or info.islnk():
        kind: Kind = "symlink" if info.issym() else "hardlink"
        return Member(info.name, 0, mtime, kind, link=info.linkname)
    return Member(info.name, 0, mtime, "device")


def _read_tar(tar: tarfile.TarFile, info: tarfile.TarInfo) -> Pieces:
    reader = tar.extractfile(info)
    assert reader is not None  # it is None for folders and devices alone
    with reader:
        while piece := reader.read(CHUNK_BYTES):
            yield piece


def _list_zip(archive: zipfile.ZipFile, content: memoryview) -> Iterator[Member]:
    for info in archive.infolist():
        mode = info.external_attr >> 16
        year, month, day, *time = info.date_time
        # Writers that know no time leave zeros.
        mtime = calendar.timegm((year, max(1, month), max(1, day), *time, 0, 0, 0))
        if info.filename.endswith(("/", "\\")) or info.external_attr & FOLDER_OF_DOS:
            yield Member(info.filename.rstrip("/\\"), 0, mtime, "folder")
        elif stat.S_ISLNK(mode):
            link = archive.read(info).decode()
            yield Member(info.filename, 0, mtime, "symlink", link=link)
        elif mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG):
            yield Member(info.filename, 0, mtime, "device")
        else:
            plain = info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
            is_mapped = plain and not info.flag_bits & ENCRYPTED
            read = (
                partial(_read_mapped, content, info)
                if is_mapped
                else partial(_read_zip, archive, info)
            )
            yield Member(
                info.filename, info.file_size, mtime, "file", read=read, is_mapped=is_mapped
            )


def _read_zip(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Pieces:
    with archive.open(info) as reader:
        while piece := reader.read(CHUNK_BYTES):
            yield piece


def _read_mapped(content: memoryview, info: zipfile.ZipInfo) -> Pieces:
    signature, name_size, extra_size = LOCAL_HEADER.unpack_from(content, info.header_offset)
    if signature != b"PK\3\4":
        raise zipfile.BadZipFile(f"{info.filename} is not where the directory says")
    start = info.header_offset + LOCAL_HEADER.size + name_size + extra_size
    packed = content[start : start + info.compress_size]
    size = checksum = 0
    is_stored = info.compress_type == zipfile.ZIP_STORED
    pieces: Pieces = (packed,) if is_stored else _inflate(packed)
    for data in pieces:
        size, checksum = size + len(data), zlib.crc32(data, checksum)
        if size > info.file_size:
            raise zipfile.BadZipFile(f"{info.filename} is larger than the directory says")
        yield data
    if size != info.file_size or checksum != info.CRC:
        raise zipfile.BadZipFile(f"{info.filename} is damaged")


def _inflate(packed: memoryview) -> Iterator[bytes]:
    """In pieces, of which each is a thousand times as long as what it comes from at most."""
    if len(packed) <= CHUNK_BYTES:
        yield zlib.decompress(packed, -zlib.MAX_WBITS)
        return
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    for start in range(0, len(packed), CHUNK_BYTES):
        yield inflater.decompress(packed[start : start + CHUNK_BYTES])
    yield inflater.flush()


def _list_folder(source: Path) -> Iterator[Member]:
    for folder, folders, names in os.walk(source):
        folders.sort()
        for name in sorted(names) + [f for f in folders if (Path(folder) / f).is_symlink()]:
            path = Path(folder) / name
            relative = path.relative_to(source).as_posix()
            info = path.lstat()
            if stat.S_ISLNK(info.st_mode):
                yield Member(relative, 0, 0, "symlink", link=os.readlink(path))
            elif stat.S_ISREG(info.st_mode):
                read = partial(_read_file, path)
                mtime = int(info.st_mtime)
                yield Member(relative, info.st_size, mtime, "file", read=read, is_mapped=True)
            else:
                yield Member(relative, 0, 0, "device")


def _read_file(path: Path) -> Pieces:
    with path.open("rb") as reader:
        while piece := reader.read(CHUNK_BYTES):
            yield piece

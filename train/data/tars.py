"""The members of a tar.

What nearly all members of nearly all archives begin with is parsed here, for it is there that the
standard library takes its time: plain headers of POSIX.1-1988 and GNU, and those of POSIX.1-2001
that give a name or times. The library reads all others.
"""

import tarfile
from collections.abc import Callable, Iterator
from functools import partial

from train.data.members import CHUNK_BYTES, Kind, Member, Pieces

BLOCK = tarfile.BLOCKSIZE
MAGIC, PLACE_OF_MAGIC = b"ustar", slice(257, 262)
ZEROS = bytes(BLOCK)
HARD_KEYS = (b"size", b"linkpath", b"hdrcharset")
NO_TEXT = 0x80
"""A number field that begins with a byte like this is no octal text."""


def list_tar(tar: tarfile.TarFile, content: memoryview) -> Iterator[Member]:
    """The members of a tar that is not compressed."""
    tar.firstmember = None  # type: ignore[attr-defined]  # else `next` gives it, wherever it is
    offset = 0
    while (header := bytes(content[offset : offset + BLOCK])) != ZEROS:
        if len(header) < BLOCK:
            raise tarfile.ReadError("it ends in the middle")
        found = None if tar.pax_headers else _parse(header, content, offset)
        if found:
            member, offset = found
        else:
            assert tar.fileobj is not None
            tar.offset = offset
            tar.fileobj.seek(offset)
            info = tar.next()
            if info is None:
                raise tarfile.ReadError("it ends in the middle")
            member, offset = _describe(tar, info, content), tar.offset
        yield member


def _parse(header: bytes, content: memoryview, offset: int) -> tuple[Member, int] | None:
    """The member whose first header is at `offset`, and where the next begins; None for others
    than files and folders with what nearly all programs write in front of them.
    """
    name = ""
    if header[156:157] == b"x":
        records = _read_records(header, content, offset + BLOCK)
        if records is None:
            return None
        name = records.get(b"path", b"").decode("utf-8", "surrogateescape")
        offset += BLOCK + _pad(_parse_octal(header[124:136]))
        header = bytes(content[offset : offset + BLOCK])
        if len(header) < BLOCK:
            return None
    member = _parse_plain(header, content, offset + BLOCK)
    if member is None:
        return None
    if name:
        member = member._replace(name=name.rstrip("/") if member.kind == "folder" else name)
    return member, offset + BLOCK + _pad(member.size)


def _pad(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _read_records(header: bytes, content: memoryview, start: int) -> dict[bytes, bytes] | None:
    """What a header of POSIX.1-2001 says of the next member: `LENGTH KEY=VALUE` a line.

    None where it changes more than the name and the times.
    """
    if not _is_whole(header):
        return None
    size = _parse_octal(header[124:136])
    text = bytes(content[start : start + size])
    records: dict[bytes, bytes] = {}
    while text:
        length = int(text.partition(b" ")[0] or b"0")
        key, equals, value = text[:length].partition(b" ")[2].partition(b"=")
        if length < 5 or not equals or key in HARD_KEYS or key.startswith(b"GNU.sparse"):
            return None
        records[key] = value.removesuffix(b"\n")
        text = text[length:]
    return records


def _parse_plain(header: bytes, content: memoryview, start: int) -> Member | None:
    """The file or folder that a header without extensions describes; None for any other."""
    kind, magic = header[156:157], header[257:265]
    is_posix = magic == b"ustar\x0000"
    if kind not in b"0\x005" or not (is_posix or magic == b"ustar  \0") or not _is_whole(header):
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


def _is_whole(header: bytes) -> bool:
    """Whether size and time are text, and the checksum is right."""
    if (header[124] | header[136]) & NO_TEXT:
        return False
    # Most bytes are zeros: without them the sum takes a third of the time.
    total = sum(header.translate(None, b"\0")) - sum(header[148:156]) + 8 * 32
    return total == _parse_octal(header[148:155])


def _parse_octal(field: bytes) -> int:
    try:
        return int(field[:-1], 8)  # as nearly all are written
    except ValueError:
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


def list_stream(tar: tarfile.TarFile) -> Iterator[Member]:
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

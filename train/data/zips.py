"""The members of a zip; several that are stored or deflated may be read at once."""

import calendar
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from functools import partial

from train.data.members import CHUNK_BYTES, Member, Pieces

FOLDER_OF_DOS, ENCRYPTED = 0x10, 1
LONGEST_LINK = 4096
LOCAL_HEADER = struct.Struct("<4s22xHH")


def list_zip(archive: zipfile.ZipFile, content: memoryview) -> Iterator[Member]:
    for info in archive.infolist():
        mode = info.external_attr >> 16
        year, month, day, *time = info.date_time
        # Writers that know no time leave zeros.
        mtime = calendar.timegm((year, max(1, month), max(1, day), *time, 0, 0, 0))
        of_dos = info.external_attr & FOLDER_OF_DOS and not mode and not info.file_size
        if info.filename.endswith(("/", "\\")) or of_dos:
            yield Member(info.filename.rstrip("/\\"), 0, mtime, "folder")
        elif stat.S_ISLNK(mode):
            if info.file_size > LONGEST_LINK:
                raise zipfile.BadZipFile(f"{info.filename} is a link of {info.file_size} bytes")
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

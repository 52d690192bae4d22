"""What an archive or a folder holds, member by member.

Of a tar that is not compressed, and of nearly all zips, the content of a member is a piece of the
file itself, mapped into memory: several may be read at once.
"""

import lzma
import mmap
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from train.data.members import CHUNK_BYTES, Member, Pieces
from train.data.tars import BLOCK, MAGIC, PLACE_OF_MAGIC, list_stream, list_tar
from train.data.zips import list_zip
from train.errors import DataError

DOWNLOAD_AGAIN = "Download the archive again and compare its checksum with the publisher's."
UNPACK = "Unpack it yourself and give the folder."
NOT_FETCHED = "Download the archive itself; its page, or a reference to it, was saved instead."
DOCUMENTS = (".csv", ".json", ".txt", ".xml", ".list", ".py")
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


@dataclass(frozen=True)
class Archive:
    """`members` in order. With `in_order`, a file has to be read before the next member is asked
    for; else whenever, while the archive is open: by any thread where it is mapped.
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
            if head[PLACE_OF_MAGIC] != MAGIC and zipfile.is_zipfile(file):
                with zipfile.ZipFile(file) as zipped, _map(file) as content:
                    yield Archive(list_zip(zipped, content), in_order=False)
                return
            file.seek(0)
            with tarfile.open(fileobj=file, mode="r:*") as tar:
                if tar.fileobj is not file:
                    yield Archive(list_stream(tar), in_order=True)
                    return
                with _map(file) as content:
                    yield Archive(list_tar(tar, content), in_order=False)
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
        *(struct.error, OverflowError),
    ) as error:
        raise _corrupt(source, error) from error
    except (RuntimeError, NotImplementedError) as error:
        raise DataError(f"{source} cannot be unpacked: {error}.", fix=UNPACK) from error


def _refuse_others(source: Path, head: bytes) -> None:
    """Say what a file is that is no archive of a kind that is read here."""
    if source.suffix.lower() in DOCUMENTS:
        raise DataError(
            f"{source} is a document, no tar or zip archive.",
            fix="Give the folder that holds it and its images.",
        )
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

"""Files: manifests, and folders as one verified tar stream. The same code on both ends."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Protocol

    class Reader(Protocol):
        """What a tar stream is read from."""

        def read(self, size: int = ..., /) -> bytes: ...

    class Writer(Protocol):
        """What a tar stream is written to."""

        def write(self, content: bytes, /) -> int: ...


Manifest = dict[str, dict[str, Any]]

INCOMING = ".incoming"
MANIFEST = ".manifest.json"
CHUNK_BYTES = 2**18


class BadTransfer(Exception):
    """What arrived is not what was announced."""


def describe_file(path: Path) -> dict[str, Any]:
    """Size and SHA-256 of a file's content, both of the same reading: the file may be growing."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as reader:
        for chunk in iter(lambda: reader.read(CHUNK_BYTES), b""):
            digest.update(chunk)
            size += len(chunk)
    return {"size": size, "sha256": digest.hexdigest()}


def read_manifest(root: Path, skip: Iterable[str] = (INCOMING,)) -> Manifest:
    """The files below `root`, but for those whose first folder or name is in `skip`."""
    paths = [
        path
        for path in sorted(root.rglob("*"))
        if path.is_file()
        and not path.is_symlink()
        and path.relative_to(root).parts[0] not in skip
        and not path.name.endswith(".partial")
        and "__pycache__" not in path.parts
    ]
    with ThreadPoolExecutor() as pool:
        known = list(pool.map(describe_file, paths))
    return {path.relative_to(root).as_posix(): info for path, info in zip(paths, known)}


def find_lacking(root: Path, manifest: Manifest) -> list[str]:
    """The paths of `manifest` that are not below `root` with the same content."""

    def lacks(item: Any) -> bool:
        path, known = root / safe_path(item[0]), item[1]
        right_size = path.is_file() and path.stat().st_size == known["size"]
        return not right_size or describe_file(path) != known

    with ThreadPoolExecutor() as pool:
        items = sorted(manifest.items())
        return [item[0] for item, lacking in zip(items, pool.map(lacks, items)) if lacking]


def safe_path(name: str) -> str:
    """`name`, when it stays below the folder that it is relative to."""
    parts = name.split("/")
    if not name or name.startswith("/") or "\\" in name or ".." in parts or "\0" in name:
        raise BadTransfer(f"the path {name!r} leaves its folder")
    return name


def pack(
    root: Path,
    manifest: Manifest,
    writer: Writer,
    progress: Callable[[int, int], None] = lambda _files, _bytes: None,
) -> None:
    """Write the files of `manifest` below `root` as one tar stream, the manifest first."""
    with tarfile.open(fileobj=writer, mode="w|", bufsize=CHUNK_BYTES) as tar:  # type: ignore[call-overload]  # it only writes
        head = json.dumps(manifest).encode()
        info = tarfile.TarInfo(MANIFEST)
        info.size = len(head)
        tar.addfile(info, io.BytesIO(head))
        sent = 0
        for done, (name, known) in enumerate(sorted(manifest.items()), start=1):
            info = tarfile.TarInfo(name)
            info.size = known["size"]
            with (root / name).open("rb") as reader:
                try:
                    tar.addfile(info, reader)
                except OSError as error:
                    if "unexpected end of data" in str(error):
                        raise BadTransfer(f"{name} became shorter while it was sent") from error
                    raise
            sent += known["size"]
            progress(done, sent)


def unpack(
    root: Path,
    reader: Reader,
    progress: Callable[[int, int], None] = lambda _files, _bytes: None,
    changed: set[str] | None = None,
) -> int:
    """Put the files of a tar stream below `root`; how many there were.

    Each file is written aside, compared with the manifest's hash and moved to its place: what is
    there is whole, and a stream that breaks costs one file. A file whose hash differs breaks it,
    too, unless a set `changed` is given, which then gets its name.
    """
    aside = root / INCOMING
    aside.mkdir(parents=True, exist_ok=True)
    part = aside / str(os.getpid())
    received = done = 0
    try:
        with tarfile.open(fileobj=reader, mode="r|", bufsize=CHUNK_BYTES) as tar:  # type: ignore[call-overload]  # it only reads
            manifest = _read_head(tar)
            for done, info in enumerate(iter(tar.next, None), start=1):
                name = safe_path(info.name)
                if _write_verified(tar.extractfile(info), part, manifest[name], name):
                    (root / name).parent.mkdir(parents=True, exist_ok=True)
                    os.replace(part, root / name)
                elif changed is None:
                    raise BadTransfer(f"{name} did not arrive as it was: its hash differs")
                else:
                    changed.add(name)
                received += info.size
                progress(done, received)
        if done != len(manifest):
            raise BadTransfer(f"{done} of {len(manifest)} files arrived")
    except (tarfile.TarError, KeyError, EOFError) as error:
        raise BadTransfer(f"the stream broke ({error})") from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            part.unlink()
        with contextlib.suppress(OSError):
            aside.rmdir()
    return done


def append_line(path: Path, line: str) -> None:
    """Add a line in one write, behind one that a killed writer may have left open.

    A link that the trainer may have put there is refused: root does not write through it.
    """
    fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    try:
        size = os.fstat(fd).st_size
        torn = size and os.pread(fd, 1, size - 1) != b"\n"
        os.write(fd, (b"\n" if torn else b"") + line.encode() + b"\n")
    finally:
        os.close(fd)


class PacedWriter:
    """Passes on `credit_bytes` for each byte read from `asking`; ends where that ends.

    The other end thus decides how much of the link a stream may take.
    """

    def __init__(self, writer: IO[bytes], asking: Reader, credit_bytes: int) -> None:
        self._writer, self._asking, self._credit_bytes = writer, asking, credit_bytes
        self._left = 0

    def write(self, content: bytes) -> int:
        """Write all of `content`, waiting for credit where it is used up."""
        done = 0
        while done < len(content):
            if not self._left:
                self._writer.flush()
                if not self._asking.read(1):
                    raise BadTransfer("the reader left")
                self._left = self._credit_bytes
            part = content[done : done + self._left]
            self._writer.write(part)
            self._left -= len(part)
            done += len(part)
        return done


def _read_head(tar: tarfile.TarFile) -> Manifest:
    first = tar.next()
    if first is None or first.name != MANIFEST:
        raise BadTransfer("the stream does not begin with its manifest")
    head = tar.extractfile(first)
    assert head is not None
    manifest: Manifest = json.loads(head.read())
    return manifest


def _write_verified(reader: IO[bytes] | None, part: Path, known: dict[str, Any], name: str) -> bool:
    if reader is None:
        raise BadTransfer(f"{name} is no file")
    digest = hashlib.sha256()
    with part.open("wb") as writer:
        for chunk in iter(lambda: reader.read(CHUNK_BYTES), b""):
            digest.update(chunk)
            writer.write(chunk)
    matches: bool = digest.hexdigest() == known["sha256"]
    return matches

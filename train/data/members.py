"""One entry of an archive or a folder, as all kinds of them give it."""

from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

CHUNK_BYTES = 2**16

Pieces = Iterable[bytes | memoryview]
Kind = Literal["file", "folder", "symlink", "hardlink", "device"]


class Member(NamedTuple):
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

"""Results down: only what is not here yet, verified by content hash."""

import json
from dataclasses import dataclass
from pathlib import Path

from remote import shell
from remote.agent.files import BadTransfer, Manifest, find_lacking, unpack
from remote.calls import call_agent, check_answer
from remote.errors import TransferError
from remote.host import Host, Result
from remote.sync import Progress


@dataclass(frozen=True)
class Fetched:
    """What a fetch moved; afterwards all `files_total` files are here and right."""

    files: int
    files_total: int
    size_bytes: int


def fetch_folder(host: Host, root: str, source: str, target: Path, progress: Progress) -> Fetched:
    """Make the local folder `target` hold the files of `source`. Waits; safe to repeat.

    Local files that the far side does not have are left alone.

    Raises:
        TransferError: a file did not arrive as it was, or cannot be written here.
    """
    manifest: Manifest = call_agent(host, root, "manifest", source)
    try:
        target.mkdir(parents=True, exist_ok=True)
        lacking = find_lacking(target, manifest)
        if lacking:
            _receive(host, root, source, target, {p: manifest[p] for p in lacking}, progress)
    except BadTransfer as error:
        raise TransferError(
            f"Results of {source}: {error}.", fix="Repeat segaway fetch: it continues."
        ) from error
    except OSError as error:
        raise TransferError(
            f"{error.filename or target}: {error.strerror or error}; the results are still on the "
            "node.",
            fix="Mend that and repeat segaway fetch.",
        ) from error
    size = sum(manifest[path]["size"] for path in lacking)
    return Fetched(len(lacking), len(manifest), size)


def _receive(
    host: Host, root: str, source: str, target: Path, lacking: Manifest, progress: Progress
) -> None:
    files, size = len(lacking), sum(info["size"] for info in lacking.values())

    def report(done: int, received: int) -> None:
        progress(done, files, received, size)

    with host.stream(shell.call_agent(root, "send", source)) as stream:
        asked = {"paths": sorted(lacking), "credit_bytes": None}
        stream.write(json.dumps(asked).encode() + b"\n")
        broken: BadTransfer | None = None
        try:
            unpack(target, stream, report)
        except BadTransfer as error:
            broken = error
        stream.read_all()
        code, errors = stream.wait()
        check_answer(host, "send", Result(code, b"", errors))
        if broken:
            raise broken

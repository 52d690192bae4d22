"""A folder up: only what the far side lacks, as one stream, verified there by content hash."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from remote import shell
from remote.agent.files import BadTransfer, Manifest, pack
from remote.calls import call_agent, check_answer
from remote.errors import TransferError
from remote.host import Host, Result

MARGIN_BYTES = 64 * 2**20

Progress = Callable[[int, int, int, int], None]
"""Called with files done, files in all, bytes done and bytes in all."""


@dataclass(frozen=True)
class Pushed:
    """What a push moved; `files` of `files_total` were lacking."""

    files: int
    files_total: int
    size_bytes: int


def push_folder(
    host: Host, root: str, source: Path, manifest: Manifest, target: str, progress: Progress
) -> Pushed:
    """Make `target` on the host hold the files of `manifest` as `source` has them. Waits.

    Safe to repeat: what is there with the right hash is not sent again, and a push that was cut
    costs one file.

    Raises:
        TransferError: no room there; a local file is not what the manifest says.
    """
    answer = call_agent(host, root, "lack", target, stdin=manifest)
    lacking: Manifest = {path: manifest[path] for path in answer["lacking"]}
    size = sum(info["size"] for info in lacking.values())
    if size + MARGIN_BYTES > answer["free_bytes"] and lacking:
        raise TransferError(
            f"The volume of {host.address} has {answer['free_bytes'] / 2**30:.2f} GiB free and "
            f"{size / 2**30:.2f} GiB are to go there. Nothing was sent.",
            fix="segaway down RUN --discard, then run again with a larger volume.",
        )
    if lacking:
        _send(host, root, source, lacking, target, progress)
    return Pushed(len(lacking), len(manifest), size)


def _send(
    host: Host, root: str, source: Path, lacking: Manifest, target: str, progress: Progress
) -> None:
    files, size = len(lacking), sum(info["size"] for info in lacking.values())

    def report(done: int, sent: int) -> None:
        progress(done, files, sent, size)

    with host.stream(shell.call_agent(root, "receive", target)) as stream:
        broken: Exception | None = None
        try:
            pack(source, lacking, stream, report)
            stream.close_input()
        except (BadTransfer, OSError) as error:
            raise TransferError(
                f"{getattr(error, 'filename', None) or source}: {error}",
                fix="Restore that file, or separate the dataset again, and repeat the command.",
            ) from error
        except Exception as error:  # the far side's own words, if there are any, say more
            broken = error
        output = stream.read_all() if not broken else b""
        code, errors = stream.wait()
        check_answer(host, "receive", Result(code, output, errors))
        if broken:
            raise broken

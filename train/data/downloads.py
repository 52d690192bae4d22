"""Images that a dataset names by URL, fetched for as long as they are looked at."""

import contextlib
import shutil
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from train.data.findings import Finding
from train.data.formats import Source, read_source

LARGEST_BYTES = 64 * 2**20
TIMEOUT_S = 20.0
THREADS = 8
TRIES = 3
CHUNK_BYTES = 2**16


@contextlib.contextmanager
def open_source(folder: Path, layout: str | None = None) -> Iterator[Source]:
    """The dataset in `folder`, as `read_source` finds it, with all images on this machine.

    What had to be fetched is gone afterwards. An image that cannot be had is a finding.

    Raises:
        DataError: as `read_source`.
    """
    source = read_source(folder, layout)
    if not source.urls:
        yield source
        return
    with tempfile.TemporaryDirectory(prefix="segaway-images-") as name:
        yield fetch_images(source, Path(name))


def fetch_images(source: Source, folder: Path) -> Source:
    """The source with the images behind its URLs, which are put into `folder`.

    Of each 64 MiB at most, waited for 20 s at most between two pieces, tried three times.
    """
    keys = sorted(source.urls)
    with ThreadPoolExecutor(THREADS) as pool:
        results = list(pool.map(lambda key: _try_fetch(key, source.urls[key], folder), keys))
    images, findings = dict(source.images), list(source.findings)
    for key, result in zip(keys, results, strict=True):
        if isinstance(result, Finding):
            findings.append(result)
        else:
            images[key] = result
    return replace(source, images=images, findings=findings)


def _try_fetch(key: str, url: str, folder: Path) -> Path | Finding:
    path = folder / f"{key}{Path(unquote(urlsplit(url).path)).suffix}"
    reason = ""
    for _ in range(TRIES):
        try:
            _fetch(url, path)
        except urllib.error.HTTPError as error:
            error.close()
            reason = f"HTTP {error.code}"
            if error.code < 500:
                break
        except (OSError, ValueError) as error:
            reason = str(getattr(error, "reason", None) or error)
        else:
            return path
    fix = "Mend its URL, or fetch it yourself and put it beside the table."
    message = f"{_shorten(url)} cannot be fetched: {reason}."
    return Finding("unfetched_image", "error", message, fix, (_shorten(url),))


def _fetch(url: str, path: Path) -> None:
    partial = path.with_name(path.name + ".part")
    request = urllib.request.Request(url, headers={"User-Agent": "segaway"})
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as reader, partial.open("wb") as writer:
        size = 0
        while piece := reader.read(CHUNK_BYTES):
            size += len(piece)
            if size > LARGEST_BYTES:
                raise ValueError(f"it is larger than {LARGEST_BYTES // 2**20} MiB")
            writer.write(piece)
    shutil.move(partial, path)


def _shorten(url: str) -> str:
    """A URL without its query, which may hold a key."""
    return url.partition("?")[0]

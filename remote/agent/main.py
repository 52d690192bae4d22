"""The agent's command line.

    lack ROOT            stdin: manifest; stdout: {"lacking": [...], "free_bytes": N}
    receive ROOT         stdin: tar stream whose first member is the manifest
    manifest ROOT        stdout: manifest of the files below ROOT
    send ROOT            stdin: a line {"paths": [...], "credit_bytes": N or null}, and with credits
                         a byte for each N bytes that may be sent; stdout: tar stream
    start RUN            stdin: the job's spec (see supervisor.py); returns at once
    status RUN           stdout: the job's state
    stop RUN GRACE_S     asks the trainer to stop, then kills it; waits
    follow RUN FILE:OFFSET...   stdout: frames, until the job is over and all is sent

A manifest is {path: {"size": N, "sha256": HEX}}. Errors are one JSON object on stderr, status 4.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from . import files, jobs, tail

FAILED = 4


def main(argv: list[str]) -> int:
    """Do what the first argument names."""
    # What the trainer's user has to read is readable; the folder above it all is closed to others.
    os.umask(0o022)
    verb, root, rest = argv[0], Path(argv[1]), argv[2:]
    try:
        VERBS[verb](root, rest)
    except BrokenPipeError:
        return FAILED  # nobody listens any more
    except (files.BadTransfer, OSError, ValueError, KeyError) as error:
        full = isinstance(error, OSError) and error.errno == errno.ENOSPC
        sys.stderr.write(json.dumps({"error": str(error), "disk_full": full}) + "\n")
        return FAILED
    return 0


def _lack(root: Path, _rest: list[str]) -> None:
    root.mkdir(parents=True, exist_ok=True)
    lacking = files.find_lacking(root, json.load(sys.stdin))
    _answer({"lacking": lacking, "free_bytes": shutil.disk_usage(root).free})


def _receive(root: Path, _rest: list[str]) -> None:
    _answer({"files": files.unpack(root, sys.stdin.buffer)})


def _manifest(root: Path, _rest: list[str]) -> None:
    _answer(files.read_manifest(root))


def _send(root: Path, _rest: list[str]) -> None:
    # Unbuffered: what follows the line are credits, each of which counts alone.
    asking = open(0, "rb", buffering=0, closefd=False)  # noqa: SIM115  # it is not ours to close
    asked = json.loads(asking.readline())
    manifest = {p: files.describe_file(root / files.safe_path(p)) for p in asked["paths"]}
    if asked["credit_bytes"]:
        paced = files.PacedWriter(sys.stdout.buffer, asking, asked["credit_bytes"])
        files.pack(root, manifest, paced)
    else:
        files.pack(root, manifest, sys.stdout.buffer)


def _start(run: Path, _rest: list[str]) -> None:
    _answer(jobs.start_job(run, json.load(sys.stdin)))


def _status(run: Path, _rest: list[str]) -> None:
    _answer(jobs.read_status(run))


def _stop(run: Path, rest: list[str]) -> None:
    _answer(jobs.stop_job(run, float(rest[0])))


def _follow(run: Path, rest: list[str]) -> None:
    offsets = {name: int(at) for name, at in (item.rsplit(":", 1) for item in rest)}
    for frame in tail.follow(run, offsets):
        sys.stdout.buffer.write(frame)
        sys.stdout.buffer.flush()


VERBS = {
    "lack": _lack,
    "receive": _receive,
    "manifest": _manifest,
    "send": _send,
    "start": _start,
    "status": _status,
    "stop": _stop,
    "follow": _follow,
}


def _answer(content: Any) -> None:
    sys.stdout.write(json.dumps(content) + "\n")

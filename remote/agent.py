"""The node's side of segaway: one file of plain Python, sent to the node and run there.

    agent.py lack ROOT            stdin: manifest; stdout: {"lacking": [...], "free_bytes": N}
    agent.py receive ROOT         stdin: tar stream whose first member is the manifest
    agent.py manifest ROOT        stdout: manifest of the files below ROOT
    agent.py send ROOT            stdin: {"paths": [...]}; stdout: tar stream
    agent.py start RUN            stdin: {"argv": [...], "cwd": ..., "env": {...}}; returns at once
    agent.py status RUN           stdout: the job's state
    agent.py stop RUN GRACE_S     asks the trainer to stop, then kills it; waits
    agent.py follow RUN FILE:OFFSET...   stdout: frames, until the job is over and all is sent

A manifest is {path: {"size": N, "sha256": HEX}}. Standard library alone, Python 3.9 and newer; the
laptop imports what moves files from here, so that both ends are the same code.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
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
JOB = "job.json"
LOCK = "job.lock"
HEARTBEAT = "heartbeat"
PRIVATE = (JOB, LOCK, HEARTBEAT, INCOMING)

CHUNK_BYTES = 2**18
POLL_S = 0.2
BEAT_S = 2.0
TERMINATED = 143


class BadTransfer(Exception):
    """What arrived is not what was announced."""


# Files: the same on both ends


def describe_file(path: Path) -> dict[str, Any]:
    """Size and SHA-256 of a file's content, both of the same reading: the file may be growing."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as reader:
        for chunk in iter(lambda: reader.read(CHUNK_BYTES), b""):
            digest.update(chunk)
            size += len(chunk)
    return {"size": size, "sha256": digest.hexdigest()}


def read_manifest(root: Path, skip: Iterable[str] = PRIVATE) -> Manifest:
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
) -> int:
    """Put the files of a tar stream below `root`; how many there were.

    Each file is written aside, compared with the manifest's hash and moved to its place: what is
    there is whole, and a stream that breaks costs one file.
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
                _write_verified(tar.extractfile(info), part, manifest[name], name)
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                os.replace(part, root / name)
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


def _read_head(tar: tarfile.TarFile) -> Manifest:
    first = tar.next()
    if first is None or first.name != MANIFEST:
        raise BadTransfer("the stream does not begin with its manifest")
    head = tar.extractfile(first)
    assert head is not None
    manifest: Manifest = json.loads(head.read())
    return manifest


def _write_verified(reader: IO[bytes] | None, part: Path, known: dict[str, Any], name: str) -> None:
    if reader is None:
        raise BadTransfer(f"{name} is no file")
    digest = hashlib.sha256()
    with part.open("wb") as writer:
        for chunk in iter(lambda: reader.read(CHUNK_BYTES), b""):
            digest.update(chunk)
            writer.write(chunk)
    if digest.hexdigest() != known["sha256"]:
        raise BadTransfer(f"{name} did not arrive as it was: its hash differs")


# The job


def start_job(run: Path, spec: dict[str, Any]) -> dict[str, Any]:
    """Start the trainer under a supervisor of its own; at once what `read_status` says.

    Safe to repeat: a job that runs goes on, one that finished stays finished; one that was stopped
    or failed is started again, and continues from its checkpoint.
    """
    run.mkdir(parents=True, exist_ok=True)
    state = read_status(run)
    if state["state"] in ("running", "finished"):
        return state
    if state["state"] == "lost":
        _kill_leftover(state)
    ready, told = os.pipe()
    if os.fork() == 0:
        os.setsid()
        os.close(ready)
        if os.fork() == 0:
            _supervise(run, spec, told)
        os._exit(0)
    os.close(told)
    os.wait()
    with os.fdopen(ready) as reader:
        answer = reader.read()
    if answer != "started":
        return {"state": "failed", "exit_code": None, "reason": answer or "the supervisor died"}
    return read_status(run)


def _kill_leftover(state: dict[str, Any]) -> None:
    """End a trainer that outlived its supervisor: two must not write to one folder.

    After a reboot its process id may be somebody else's: the command line must be the trainer's.
    """
    try:
        command = Path(f"/proc/{state['pid']}/cmdline").read_bytes().split(b"\0")[:-1]
    except OSError:
        return
    if command == [part.encode() for part in state["argv"]]:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(state["pid"], signal.SIGKILL)


def _supervise(run: Path, spec: dict[str, Any], told: int) -> None:
    """Hold the lock, run the trainer, write down how it ended. Never returns."""
    import fcntl

    try:
        lock = os.open(run / LOCK, os.O_RDWR | os.O_CREAT, 0o600)  # held until this process ends
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _detach(run)
        started = time.time()
        trainer = subprocess.Popen(
            spec["argv"],
            cwd=spec["cwd"],
            env={**os.environ, **spec["env"]},
            stdin=subprocess.DEVNULL,
            close_fds=True,
            start_new_session=True,
        )
        state = {"state": "running", "pid": trainer.pid, "argv": spec["argv"]}
        state |= {"started_s": started, "exit_code": None}
        _write_json(run / JOB, state)
        os.write(told, b"started")
        os.close(told)
        code = _wait_beating(trainer, run / HEARTBEAT)
        word = {0: "finished", TERMINATED: "stopped"}.get(code, "failed")
        _write_json(run / JOB, {**state, "state": word, "exit_code": code, "ended_s": time.time()})
    except BlockingIOError:
        os.write(told, b"started")
    except BaseException as error:
        os.write(told, str(error).encode())
    finally:
        os._exit(0)


def _detach(run: Path) -> None:
    """Give up everything that ties this process to the connection; output goes to log.txt."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    nothing = os.open(os.devnull, os.O_RDONLY)
    log = os.open(run / "log.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(nothing, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)


def _wait_beating(trainer: subprocess.Popen[bytes], heartbeat: Path) -> int:
    while True:
        with contextlib.suppress(OSError):
            heartbeat.write_text(str(time.time()))
        try:
            return trainer.wait(timeout=BEAT_S)
        except subprocess.TimeoutExpired:
            continue


def read_status(run: Path) -> dict[str, Any]:
    """The job's state: none, running, finished, stopped, failed or lost, with its exit code.

    The supervisor holds a lock as long as it lives: a job that says running and has no lock is
    lost, which is what a killed supervisor or a rebooted node leaves.
    """
    try:
        state: dict[str, Any] = json.loads((run / JOB).read_text())
    except FileNotFoundError:
        return {"state": "none", "exit_code": None}
    if state["state"] == "running" and not _is_locked(run / LOCK):
        state = json.loads((run / JOB).read_text())  # it may have ended between the two looks
        if state["state"] == "running":
            state["state"] = "lost"
    return state


def _is_locked(path: Path) -> bool:
    import fcntl  # here and above: a laptop need not have it

    try:
        with path.open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        pass
    return False


def stop_job(run: Path, grace_s: float) -> dict[str, Any]:
    """Ask the trainer to stop, kill it after `grace_s`; its state then. Safe to repeat."""
    state = read_status(run)
    if state["state"] not in ("running", "lost"):
        return state
    for number, patience_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 10.0)):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(state["pid"], number)
        limit = time.monotonic() + patience_s
        while time.monotonic() < limit and read_status(run)["state"] == "running":
            time.sleep(POLL_S / 4)
    return read_status(run)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    partial = path.with_name(path.name + ".partial")
    with partial.open("w") as writer:
        json.dump(content, writer)
        writer.flush()
        os.fsync(writer.fileno())
    os.replace(partial, path)


# Following


def follow(run: Path, offsets: dict[str, int]) -> Iterator[bytes]:
    """Frames: a JSON line, and the bytes that it announces.

    {"file": NAME, "offset": N, "size": N} and N bytes; {"beat": TIME} when nothing happens; at the
    end, when the job is over and everything is sent, {"job": STATE}.
    """
    beaten = 0.0
    while True:
        state = read_status(run)  # before the files: what it wrote before its end is seen then
        sent = False
        for name, offset in list(offsets.items()):
            for chunk in _read_from(run / name, offset):
                head = {"file": name, "offset": offsets[name], "size": len(chunk)}
                yield json.dumps(head).encode() + b"\n" + chunk
                offsets[name] += len(chunk)
                sent = True
        if state["state"] != "running" and not sent:
            yield json.dumps({"job": state}).encode() + b"\n"
            return
        if time.monotonic() - beaten > BEAT_S:
            beaten = time.monotonic()
            yield json.dumps({"beat": time.time()}).encode() + b"\n"
        if not sent:
            time.sleep(POLL_S)


def _read_from(path: Path, offset: int) -> Iterator[bytes]:
    try:
        with path.open("rb") as reader:
            reader.seek(offset)
            yield from iter(lambda: reader.read(CHUNK_BYTES), b"")
    except FileNotFoundError:
        return


# The command line


def _answer(content: Any) -> None:
    sys.stdout.write(json.dumps(content) + "\n")


def main(argv: list[str]) -> int:
    """Do what the first argument names. Errors are one JSON object on stderr, status 4."""
    verb, root, rest = argv[0], Path(argv[1]), argv[2:]
    try:
        if verb == "lack":
            root.mkdir(parents=True, exist_ok=True)
            lacking = find_lacking(root, json.load(sys.stdin))
            _answer({"lacking": lacking, "free_bytes": shutil.disk_usage(root).free})
        elif verb == "receive":
            _answer({"files": unpack(root, sys.stdin.buffer)})
        elif verb == "manifest":
            _answer(read_manifest(root))
        elif verb == "send":
            paths = json.load(sys.stdin)["paths"]
            pack(root, {p: describe_file(root / safe_path(p)) for p in paths}, sys.stdout.buffer)
        elif verb == "start":
            _answer(start_job(root, json.load(sys.stdin)))
        elif verb == "status":
            _answer(read_status(root))
        elif verb == "stop":
            _answer(stop_job(root, float(rest[0])))
        elif verb == "follow":
            offsets = {name: int(at) for name, at in (item.rsplit(":", 1) for item in rest)}
            for frame in follow(root, offsets):
                sys.stdout.buffer.write(frame)
                sys.stdout.buffer.flush()
        else:
            raise BadTransfer(f"no such verb: {verb}")
    except (BadTransfer, OSError, ValueError, KeyError) as error:
        full = isinstance(error, OSError) and error.errno == errno.ENOSPC
        sys.stderr.write(json.dumps({"error": str(error), "disk_full": full}) + "\n")
        return 4
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

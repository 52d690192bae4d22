"""`segaway tensorboard`: TensorBoard on a run's events, from its node or from what came home."""

import contextlib
import json
import shlex
import subprocess
import sys
import tempfile
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO

from cli.console import Console
from cli.contact import connect
from cli.errors import RunError
from cli.session import Session, open_session
from cli.training import push_trainer, trainer_manifest
from provision.base import NodeLost
from remote import shell
from remote.errors import Unreachable
from remote.forward import forward_port
from remote.host import Host, read_last_words

MODULE = "train.board"
EVENTS = "events.jsonl"
LOOPBACK = "127.0.0.1"
END_S = 10.0
# It says nothing for as long as it is looked at.
SILENCE_S = 365 * 24 * 3600.0

Board = tuple[int, Callable[[], str]]
"""The port here that leads to it, and what waits for its end and tells its last words."""


def show_board(
    run_id: str | None, port: int, opens_browser: bool, dry_run: bool, as_json: bool
) -> None:
    """Serve a run's curves until Ctrl-C; where they are is the answer.

    Raises:
        CliError: there is nothing to show, or TensorBoard cannot be started.
    """
    console = Console(as_json)
    with open_session(run_id, console) as session:
        if dry_run:
            return _preview(session, port, console)
        with _serve(session, port) as (found, wait):
            url = f"http://{LOOPBACK}:{found}/"
            # Ctrl-C is how this command is meant to end, and no failure.
            with contextlib.suppress(KeyboardInterrupt):
                console.answer({"run": session.run.id, "url": url})
                console.say(f"TensorBoard of {session.run.id}: {url} (Ctrl-C ends it)")
                if opens_browser:
                    webbrowser.open(url)
                raise RunError(
                    f"TensorBoard has ended: {wait()}", fix=f"segaway tensorboard {session.run.id}"
                )
    return None


@contextmanager
def _serve(session: Session, port: int) -> Iterator[Board]:
    host = _reach_node(session)
    if host is None:
        with _serve_here(session, port) as board:
            yield board
        return
    with host, _serve_there(session, host, port) as board:
        yield board


def _reach_node(session: Session) -> Host | None:
    """The run's node, connected; None where what is here has to do, and does.

    Raises:
        RunError: the run is down or has no node, and nothing came home.
        Unreachable, NodeLost: the node does not answer, and nothing came home.
    """
    is_home = (session.results / EVENTS).exists()
    if not session.run.is_open or not session.record.get("node"):
        if is_home:
            return None
        if session.run.is_open:
            return session.host()  # which says that there is none
        raise RunError(
            f"The run {session.run.id} is down, and {session.results} has no {EVENTS}.",
            fix="segaway run DATASET",
        )
    try:
        return connect(session)
    except (Unreachable, NodeLost) as error:
        if not is_home:
            raise
        session.console.say(f"{error} This is what came home: {session.results}.")
        return None


@contextmanager
def _serve_there(session: Session, host: Host, port: int) -> Iterator[Board]:
    code = _push_code(session, host)
    argv = shell.run_module(code, MODULE, session.run_path)
    with host.stream(argv, SILENCE_S) as stream:

        def wait() -> str:
            stream.read_all()
            return read_last_words(stream.wait()[1])

        install = f"segaway ssh {session.run.id} -- {shell.PYTHON} -m pip install"
        remote_port = _read_port(stream.read_line(), "the node", install, wait)
        with forward_port(host, remote_port, port) as found:
            yield found, wait


def _push_code(session: Session, host: Host) -> str:
    """Where on the node the trainer's code of this laptop lies: that of the run may be older."""
    push_trainer(host, session.root)
    return shell.trainer_path(session.root, trainer_manifest())


@contextmanager
def _serve_here(session: Session, port: int) -> Iterator[Board]:
    # -P: a folder called train where the user stands is not ours.
    argv = [sys.executable, "-P", "-m", MODULE, str(session.results), "--port", str(port)]
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,  # Ctrl-C is for us, who end it in order
        )
        assert process.stdin  # both are pipes
        assert process.stdout
        output = process.stdout

        def wait() -> str:
            output.read()
            process.wait()
            return read_last_words(_read_back(errors))

        try:
            install = f"{sys.executable} -m pip install"
            yield _read_port(output.readline(), "this machine", install, wait), wait
        finally:
            process.stdin.close()
            try:
                process.wait(END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            output.close()


def _read_back(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def _read_port(line: bytes, place: str, install: str, wait: Callable[[], str]) -> int:
    """The port in the board's first line; a refusal as an error with what mends it."""
    if not line:
        raise RunError(
            f"TensorBoard did not start on {place}: {wait()}",
            fix="Repeat the command with segaway --debug, and report this.",
        )
    answer = json.loads(line)
    if "port" in answer:
        return int(answer["port"])
    fix = "Take another --port, or 0 for any free one."
    if "install" in answer:
        fix = f"{install} {shlex.join(answer['install'])}"
    raise RunError(f"On {place}: {answer['error']}", fix=fix)


def _preview(session: Session, port: int, console: Console) -> None:
    if session.run.is_open and session.record.get("node"):
        code = shell.trainer_path(session.root, trainer_manifest())
        command = shlex.join(shell.run_module(code, MODULE, session.run_path))
        does = [f"$ {command}", f"lead port {port or '(any)'} on {LOOPBACK} to it"]
    else:
        does = [f"serve {session.results / EVENTS} on {LOOPBACK}, port {port or '(any)'}"]
    console.answer({"run": session.run.id, "steps": [{"step": "tensorboard", "does": does}]})
    for line in does:
        console.say(f"Dry run: {line}")

"""The agent, installed on a host and called from the laptop."""

import json
from typing import Any

from remote import shell
from remote.errors import CommandFailed, RemoteError, TransferError
from remote.host import Host, Result

NOT_FOUND = 127


def install_agent(host: Host, root: str) -> None:
    """Put the agent on the volume. Safe to repeat; waits."""
    path = shell.agent_path(root)
    host.check(shell.make_folder(path.rpartition("/")[0]))
    if host.run(["test", "-f", path]).code:
        host.put(path, shell.pack_agent())


def call_agent(
    host: Host, root: str, verb: str, *arguments: str, stdin: Any = None, timeout_s: float = 600.0
) -> Any:
    """What the agent answers to `verb`; `stdin` goes to it as JSON. Waits.

    Raises:
        RemoteError: the agent failed, or cannot run there.
    """
    content = json.dumps(stdin).encode() if stdin is not None else b""
    result = host.run(shell.call_agent(root, verb, *arguments), content, timeout_s)
    check_answer(host, verb, result)
    return json.loads(result.stdout)


def check_answer(host: Host, verb: str, result: Result) -> None:
    """Turn an agent's bad end into the error that says what mends it."""
    if result.code == 0:
        return
    if result.code == NOT_FOUND:
        raise RemoteError(
            f"{host.address} has no {shell.PYTHON}.",
            fix="Use an image that has Python 3.9 or newer.",
        )
    try:
        answer = json.loads(result.last_words)
    except ValueError:
        raise CommandFailed(
            f"The agent's {verb} on {host.address} ended with {result.code}: {result.last_words}",
            fix="segaway logs RUN shows the trainer's side; segaway down RUN ends the run.",
        ) from None
    if answer["disk_full"]:
        raise TransferError(
            f"The volume of {host.address} is full: {answer['error']}.",
            fix="segaway down RUN --discard, then run again with a larger volume.",
        )
    raise TransferError(
        f"{verb} on {host.address} failed: {answer['error']}.", fix="Repeat the command."
    )

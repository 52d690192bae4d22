"""Weights from the network: what keeps them from coming is an error that says what to do.

torch keeps what it downloads below TORCH_HOME or HOME/.cache, huggingface_hub below HF_HOME or
HOME/.cache; they write nothing else.
"""

import contextlib
import errno
import importlib
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

from train.errors import TrainError

# Packages whose errors mean that something was not fetched, or not whole.
FETCHERS = {"http", "httpcore", "httpcore2", "httpx", "httpx2", "huggingface_hub", "requests"}
FETCHERS |= {"safetensors_rust", "ssl", "urllib", "urllib3"}
TIMEOUT_S = 30.0
HUB_TIMEOUT_S = 10.0


@contextlib.contextmanager
def downloading(
    weights: str, model: str, url: str, obstacle: Exception | None = None
) -> Iterator[None]:
    """Inside, what keeps weights from being downloaded, from where `url` is, is a TrainError.

    It gives `obstacle` as the reason where one is known before.
    """
    before = socket.getdefaulttimeout()
    # torch.hub sets none: a network that swallows packets would hold it for minutes.
    socket.setdefaulttimeout(TIMEOUT_S)
    try:
        yield
    except Exception as error:
        if not _is_of_download(error):
            raise
        raise TrainError(
            f"The weights {weights} of {model} could not be downloaded to the node "
            f"({_find_reason(obstacle or error)}).",
            fix=f"Let the node reach {urlsplit(url).netloc}; or set pretrained to a file on the "
            "node, or leave it empty.",
        ) from error
    finally:
        socket.setdefaulttimeout(before)


@contextlib.contextmanager
def downloading_from_hub(weights: str, model: str) -> Iterator[None]:
    """The same for huggingface_hub, which goes by its cache alone where its host does not answer.

    It would try six times for each file: minutes, where packets are swallowed.
    """
    hub = importlib.import_module("huggingface_hub")
    constants = hub.constants
    before = constants.HF_HUB_OFFLINE
    obstacle: Exception | None = None
    try:
        hub.get_session().head(constants.ENDPOINT, timeout=HUB_TIMEOUT_S)
    # Its HTTP library has changed twice, and with it the names of the errors.
    except Exception as error:
        obstacle = error
    constants.HF_HUB_OFFLINE = before or obstacle is not None
    try:
        with downloading(weights, model, constants.ENDPOINT, obstacle):
            yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _is_of_download(error: Exception) -> bool:
    """Whether it comes from the network, or from a file that is not whole."""
    if isinstance(error, OSError):
        # A full disk is told as one by who runs the trainer.
        return error.errno != errno.ENOSPC
    if isinstance(error, EOFError) or "invalid hash value" in str(error):
        return True
    return type(error).__module__.partition(".")[0] in FETCHERS


def _find_reason(error: BaseException) -> str:
    """The first line of what was at the bottom of it."""
    while below := error.__cause__ or error.__context__:
        error = below
    return str(error).partition("\n")[0] or type(error).__name__

"""Weights from the network, against hosts on the loopback alone."""

import errno
import json
import os
import socket
import subprocess
import sys
import threading
import urllib.error
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from train.errors import TrainError
from train.models._downloads import downloading

CODE = """
import json, sys
from pathlib import Path
from train.config import TrainConfig
from train.errors import TrainError
from train.models import build_model
told = {}
for pair in sys.argv[1:]:
    model, weights = pair.split("=")
    config = TrainConfig(
        dataset=Path(), output=Path(), epochs=1, model=model, pretrained=weights
    )
    try:
        build = build_model(2, config)
        told[pair] = [float(build.encoder.conv1.weight.detach().mean()), "", ""]
    except TrainError as error:
        told[pair] = [str(error), error.fix, error.cause]
print(json.dumps(told))
"""


def build_apart(home: Path, pairs: list[str], **environment: str) -> dict[str, list[Any]]:
    """What building each MODEL=WEIGHTS said, in a process with a home of its own."""
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.upper().endswith("_PROXY") and not key.startswith(("HF_", "XDG_", "TORCH_"))
    }
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CODE, *pairs],
        env={**kept, "HOME": str(home), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, list[Any]] = json.loads(done.stdout.splitlines()[-1])
    return told


@pytest.fixture
def closed() -> Iterator[str]:
    """A port of the loopback at which nobody listens, and nobody will."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


def test_a_host_that_cannot_be_reached_is_told_once_and_at_once(
    tmp_path: Path, closed: str
) -> None:
    url = f"http://{closed}"
    hosts = {
        "fcn_resnet50=imagenet": "download.pytorch.org",
        "fcn_resnet50=coco": "download.pytorch.org",
        "unet/resnet18=imagenet": closed,
        "unet/tu-resnet18=imagenet": closed,
    }
    told = build_apart(tmp_path, list(hosts), https_proxy=url, HF_ENDPOINT=url)
    for pair, host in hosts.items():
        model, _, weights = pair.partition("=")
        message, fix, cause = told[pair]
        assert message.startswith(f"The weights {weights} of {model} could not be downloaded")
        assert "refused" in message
        assert f"Let the node reach {host};" in fix
        assert "a file on the node" in fix
        assert cause == "settings"


class Hub(BaseHTTPRequestHandler):
    """As much of huggingface.co as a download asks for."""

    files: ClassVar[dict[str, bytes]] = {}

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, with_body: bool) -> None:
        commit, _, name = self.path.removeprefix("/").rpartition("/resolve/")[2].partition("/")
        content = self.files.get(name)
        self.send_response(200 if content is not None or self.path == "/" else 404)
        self.send_header("ETag", f'"{name}"')
        self.send_header("X-Repo-Commit", commit)
        self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()
        if with_body:
            self.wfile.write(content or b"")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its name there
        """Tests say what they have to."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(Hub, "files", {})
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_weights_that_are_not_there_are_told(tmp_path: Path, hub: str) -> None:
    told = build_apart(tmp_path, ["unet/resnet18=imagenet"], HF_ENDPOINT=hub)
    message, fix, _ = told["unet/resnet18=imagenet"]
    assert "could not be downloaded to the node" in message
    assert "404" in message
    assert hub.removeprefix("http://") in fix


@pytest.mark.slow
def test_downloaded_weights_are_kept_at_home_and_do_without_the_host_later(
    tmp_path: Path, hub: str, closed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import segmentation_models_pytorch as smp  # type: ignore[import-untyped]  # it ships no types
    import torch
    from safetensors.torch import save as save_tensors

    encoder = smp.encoders.get_encoder("resnet18", weights=None)
    torch.nn.init.constant_(encoder.conv1.weight, 0.25)
    weights = save_tensors(encoder.state_dict())
    monkeypatch.setattr(Hub, "files", {"config.json": b"{}", "model.safetensors": weights})
    pair, home = "unet/resnet18=imagenet", tmp_path / "home"
    home.mkdir()
    assert build_apart(home, [pair], HF_ENDPOINT=hub)[pair][0] == 0.25
    assert [path.name for path in home.iterdir()] == [".cache"]
    assert build_apart(home, [pair], HF_ENDPOINT=f"http://{closed}")[pair][0] == 0.25


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (urllib.error.HTTPError("http://x", 404, "Not Found", None, None), "HTTP Error 404"),  # type: ignore[arg-type]  # nobody reads the headers
        (urllib.error.URLError(TimeoutError("timed out")), "timed out"),
        (RuntimeError('invalid hash value (expected "a", got "b")'), "invalid hash value"),
        (EOFError(), "EOFError"),
    ],
)
def test_every_way_to_fail_is_told(error: Exception, reason: str) -> None:
    with (
        pytest.raises(TrainError, match=reason) as caught,
        downloading("coco", "fcn_resnet50", "https://example.org/x.pth"),
    ):
        raise error
    assert "example.org" in caught.value.fix


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), ValueError("a bug")])
def test_a_full_disk_and_a_bug_are_no_failed_download(error: Exception) -> None:
    with pytest.raises(type(error)), downloading("coco", "fcn_resnet50", "https://example.org"):
        raise error


def test_the_timeout_is_that_of_the_download_alone() -> None:
    before = socket.getdefaulttimeout()
    with downloading("coco", "fcn_resnet50", "https://example.org"):
        inside = socket.getdefaulttimeout()
    assert (inside, socket.getdefaulttimeout()) == (30.0, before)

"""Images that a table names by URL."""

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from PIL import Image

from tests.train.layouts import make_scenes
from train.data import downloads
from train.data.formats import read_source
from train.data.separate import separate_dataset
from train.errors import DataError


class Pictures(BaseHTTPRequestHandler):
    """Serves what is in `content`; 500 for what fails for a while."""

    content: ClassVar[dict[str, bytes]] = {}
    failures: ClassVar[dict[str, int]] = {}

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if self.failures.get(path, 0) > 0:
            self.failures[path] -= 1
            self.send_error(503)
        elif path == "/away":
            self.send_response(302)
            self.send_header("Location", "file:///etc/passwd")
            self.end_headers()
        elif path in self.content:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.content[path])
        else:
            self.send_error(404)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def serve() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Pictures) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture
def server() -> Iterator[str]:
    Pictures.content, Pictures.failures = {}, {}
    for number, scene in enumerate(make_scenes(8)):
        content = io.BytesIO()
        Image.fromarray(scene.image).save(content, "PNG")
        Pictures.content[f"/{number}.png"] = content.getvalue()
    with serve() as url:
        yield url


def write_table(folder: Path, rows: list[str]) -> Path:
    folder.mkdir()
    (folder / "vott-export.csv").write_text("image,xmin,ymin,xmax,ymax,label\n" + "\n".join(rows))
    return folder


def test_images_come_from_their_urls(server: str, tmp_path: Path) -> None:
    Pictures.failures["/3.png"] = 2
    rows = [f"{server}/{n}.png?key=secret,1,2,11,12,cloud" for n in range(8)]
    made = separate_dataset(write_table(tmp_path / "set", rows), tmp_path / "out").dataset
    assert (made.counts["train"], made.counts["val"]) == (6, 2)
    assert made.pixels["cloud"] == 8 * 100
    sample = made.lists["train"][0]
    assert (tmp_path / "out" / sample.image).read_bytes() == Pictures.content[f"/{sample.id}.png"]


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/nothing.png", "HTTP 404"),
        ("/away", "HTTP 302"),
        ("/0.png", "larger"),
    ],
)
def test_an_image_that_cannot_be_had_is_named(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, reason: str
) -> None:
    monkeypatch.setattr(downloads, "LARGEST_BYTES", 10 if path == "/0.png" else 10**6)
    rows = [f"{server}{path}?key=secret,1,2,11,12,cloud"]
    with pytest.raises(DataError, match=f"{path} cannot be fetched: .*{reason}") as caught:
        separate_dataset(write_table(tmp_path / "set", rows), tmp_path / "out")
    assert "secret" not in str(caught.value)


def test_names_are_read_without_fetching(tmp_path: Path) -> None:
    folder = write_table(tmp_path / "set", ["http://127.0.0.1:9/a.png,1,2,3,4,cloud"])
    assert read_source(folder).urls == {"a": "http://127.0.0.1:9/a.png"}

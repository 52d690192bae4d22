"""Fixtures that several folders share."""

import contextlib
import fcntl
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from cli.skies import draw_archive
from provision.base import make_label
from provision.clouds.local import LocalCloud
from remote.host import Address, Host
from remote.keys import ensure_key
from tests.fakes import images, links
from tests.fakes.bed import Bed, find_missing, find_obstacle
from tests.fakes.clouds.netns import NetnsCloud
from tests.fakes.linode.emulator import Emulator, serve
from tests.fakes.linode.state import Options
from tests.fakes.nodes import PORT, BedNode
from train.data.extract import extract_archive
from train.data.separate import separate_dataset

Start = Callable[..., BedNode]
Connect = Callable[[BedNode], Host]
SHARED_DATA = Path(__file__).parent.parent.parent / "shared" / "data"
SEGAWAY = Path(sys.executable).parent / "segaway"
TINY = ("--epochs", "1", "--crop", "32", "--batch", "4")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that need the machine alone come first, while the other workers begin elsewhere."""
    items.sort(key=lambda item: item.get_closest_marker("alone") is None)


@dataclass(frozen=True)
class Answer:
    """How a command line ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Laptop:
    """A folder with a state of its own, in which commands are run as a person would."""

    def __init__(self, folder: Path, program: Path = SEGAWAY) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.program = program
        kept = {k: v for k, v in os.environ.items() if not k.startswith("SEGAWAY_")}
        self.environment = {**kept, "SEGAWAY_HOME": str(self.home), "COLUMNS": "200"}
        # Tests run side by side: threads that spin for each other's cores cost minutes.
        self.environment["OMP_NUM_THREADS"] = "1"

    @property
    def cloud(self) -> LocalCloud:
        return LocalCloud(self.home, 0)

    def start(self, *arguments: str | Path, module: str = "") -> "subprocess.Popen[str]":
        """A command that goes on beside the test."""
        head = [sys.executable, "-m", module] if module else [str(self.program)]
        return subprocess.Popen(
            [*head, *map(str, arguments)],
            cwd=self.folder,
            env={**self.environment, "PYTHONPATH": str(Path(__file__).parent.parent)}
            if module
            else self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str | Path, module: str = "") -> Answer:
        """A command, to its end."""
        process = self.start(*arguments, module=module)
        out, err = process.communicate(timeout=900)
        return Answer(process.returncode, out, err)

    def good(self, *arguments: str | Path) -> Any:
        """A command that has to succeed; its JSON value."""
        answer = self.run(*arguments, "--json")
        assert answer.code == 0, answer.err
        return answer.json


@pytest.fixture
def laptop(tmp_path: Path) -> Iterator[Laptop]:
    """A laptop; whatever its local cloud still holds goes at the end."""
    laptop = Laptop(tmp_path)
    yield laptop
    for item in laptop.cloud.find_all():
        laptop.cloud.destroy(item.kind, item.label)


class BedLaptop(Laptop):
    """A laptop whose cloud is a test bed of its own: `--on netns`, unless a test says otherwise."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.bed = NetnsCloud(self.home).bed
        self.environment["SEGAWAY_ON"] = "netns"
        self._started: list[subprocess.Popen[str]] = []

    def start(self, *arguments: str | Path, module: str = "") -> "subprocess.Popen[str]":
        process = super().start(*arguments, module=module or "tests.fakes.segaway")
        self._started.append(process)
        return process

    def node(self, run: str) -> BedNode:
        """The node of the run with that id, dead or alive."""
        return self.bed.open_node(make_label(run, "node"))

    def set_api(self, up: bool) -> None:
        """Take the cloud's API away, or give it back."""
        NetnsCloud(self.home).set_api(up)

    def end(self) -> None:
        """Nothing of it runs on, and nothing of its bed is left."""
        for process in self._started:
            if process.poll() is None:
                process.kill()
                process.communicate()
        self.bed.clear()


class LinodeLaptop(Laptop):
    """A laptop with the token of an account: `--on linode`, unless a test says otherwise."""

    def __init__(self, folder: Path, emulator: Emulator) -> None:
        super().__init__(folder)
        self.emulator = emulator
        self._started: list[subprocess.Popen[str]] = []
        self.environment |= {
            "LINODE_TOKEN": emulator.token,
            "LINODE_URL": emulator.url,
            "SEGAWAY_ON": "linode",
            "SEGAWAY_SSH_FROM": "10.213.0.1/32",
            "SEGAWAY_DEVICE": "cpu",
        }

    def start(self, *arguments: str | Path, module: str = "") -> "subprocess.Popen[str]":
        process = super().start(*arguments, module=module)
        self._started.append(process)
        return process

    def end(self) -> None:
        """Nothing of it runs on."""
        for process in self._started:
            if process.poll() is None:
                process.kill()
                process.communicate()

    def node(self, run: str) -> BedNode:
        """The machine of the run with that id."""
        return self.emulator.find_node(make_label(run, "node"))

    def bodies(self, path: str, method: str = "POST") -> list[Any]:
        """What was sent to that path."""
        return [request.body for request in self.emulator.find_requests(method, path)]

    def labels(self) -> set[str]:
        """Everything of ours that the account has."""
        state = self.emulator.state
        rows = [*state.volumes.values(), *state.firewalls.values()]
        named = {str(row["label"]) for row in rows}
        named |= {found.label for found in state.instances.values()}
        tokens = {token.label for token in state.tokens.values()}
        return named | {label for label in tokens if label.startswith("segaway-")}


OpenLinode = Callable[..., LinodeLaptop]


@pytest.fixture
def open_linode(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OpenLinode]:
    """A laptop and an account, as the options of the emulator say."""
    with contextlib.ExitStack() as stack:

        def open_linode(nodes: str = "none", scopes: str = "*", **options: Any) -> LinodeLaptop:
            made = Options(**{"delay_s": 0.05, "volume_mib": 512, **options})
            if nodes == "netns":
                request.getfixturevalue("bed_slot")
                stack.enter_context(links.hold_bridge(tmp_path))
            cloud = serve(tmp_path / "cloud", nodes=nodes, scopes=scopes, options=made)
            laptop = LinodeLaptop(tmp_path, stack.enter_context(cloud))
            if nodes == "netns":
                # The nodes' guards call it, too.
                laptop.environment["LINODE_URL"] = laptop.emulator.node_url
            else:
                laptop.environment["SEGAWAY_BOOT_MINUTES"] = "0.01"
            stack.callback(laptop.end)
            return laptop

        yield open_linode


def find_common(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that all workers of this session have in common."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if os.environ.get("PYTEST_XDIST_WORKER") else folder


@pytest.fixture
def machine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """A share of this machine; all of it for a test that is marked `alone`.

    The kernel counts its kills for want of memory for the whole machine: a test that provokes one
    would be seen by those beside it.
    """
    folder = find_common(tmp_path_factory)
    kind = fcntl.LOCK_EX if request.node.get_closest_marker("alone") else fcntl.LOCK_SH
    with (folder / "machine.lock").open("w") as lock, (folder / "turnstile.lock").open("w") as turn:
        # Whoever waits holds the turnstile: nobody can overtake it for ever.
        fcntl.flock(turn, fcntl.LOCK_EX)
        fcntl.flock(lock, kind)
        fcntl.flock(turn, fcntl.LOCK_UN)
        yield


@pytest.fixture
def bed_slot(machine: None) -> None:
    """The right to a test bed.

    Skips where there can be no bed. What CI could have installed is no excuse there.
    """
    if obstacle := find_obstacle():
        pytest.skip(obstacle)
    if missing := find_missing():
        reason = f"the test bed needs {', '.join(missing)}: sh tests/system.sh"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)


@pytest.fixture
def bed(bed_slot: None, tmp_path: Path) -> Iterator[Bed]:
    """A test bed with nothing on it; it is gone at the end, whatever happened."""
    bed = Bed(tmp_path / "bed")
    yield bed
    bed.clear()


@pytest.fixture
def bed_laptop(bed_slot: None, tmp_path: Path) -> Iterator[BedLaptop]:
    """A laptop with a test bed; both are gone at the end, whatever happened."""
    laptop = BedLaptop(tmp_path)
    yield laptop
    laptop.end()


@pytest.fixture
def start(bed: Bed, tmp_path: Path) -> Start:
    """Boot a node, with the volume or without, and wait until it is up."""
    host_key, client_key = ensure_key(tmp_path / "host_key"), ensure_key(tmp_path / "client_key")

    def start(label: str, volume: str | None = None, seconds: float = 600) -> BedNode:
        deadline_s = time.time() + seconds
        node = bed.start_node(label, host_key.path, client_key.public, volume, deadline_s)
        node.wait_up()
        return node

    return start


@pytest.fixture
def connect(tmp_path: Path) -> Connect:
    """The node as the product sees it."""
    host_key, client_key = ensure_key(tmp_path / "host_key"), ensure_key(tmp_path / "client_key")
    return lambda node: Host(Address(node.address, PORT, "root", host_key.public, client_key.path))


LONGER = ("--epochs", "40", "--crop", "32", "--batch", "4")
PODMAN = ("--engine", "podman", "--base-image", images.NAME)


@pytest.fixture(scope="session")
def undisturbed_weights(
    dataset: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[int], str]:
    """The weights after so many epochs, otherwise with the flags LONGER, if nothing disturbs it.

    Whichever worker needs them first trains them, for all.
    """

    @cache
    def train(epochs: int) -> str:
        folder = find_common(tmp_path_factory) / f"undisturbed-{epochs}"
        folder.mkdir(exist_ok=True)
        config = {"dataset": str(dataset), "output": str(folder), "epochs": epochs}
        with FileLock(folder / "lock"):
            if not (folder / "report.html").exists():
                (folder / "config.json").write_text(json.dumps({**config, "crop": 32, "batch": 4}))
                subprocess.run(
                    [sys.executable, "-m", "train", str(folder / "config.json")],
                    env={**os.environ, "OMP_NUM_THREADS": "1"},
                    stdout=subprocess.DEVNULL,
                    check=True,
                )
        return hash_weights(folder)

    return train


@pytest.fixture(scope="session")
def undisturbed(undisturbed_weights: Callable[[int], str]) -> str:
    """The weights that a training with the flags LONGER ends with, when nothing disturbs it."""
    return undisturbed_weights(40)


def hash_weights(results: Path) -> str:
    """A hash of the model in a run's last checkpoint."""
    import torch

    content = torch.load(results / "checkpoints" / "last.pt", weights_only=True)
    digest = hashlib.sha256()
    for name, tensor in content["model"].items():
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


def count_epochs(results: Path) -> int:
    """How many epochs a run's events tell of, so far."""
    path = results / "events.jsonl"
    return path.read_bytes().count(b'"kind":"epoch"') if path.exists() else 0


@pytest.fixture(scope="session")
def skies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny archive in VOC's layout: 8 train, 2 val and 2 unlabelled images of 48 x 36."""
    path = tmp_path_factory.mktemp("skies") / "skies.tar"
    draw_archive(path, counts={"train": 8, "val": 2, "unlabelled": 2}, size=(48, 36))
    return path


@pytest.fixture(scope="session")
def dataset(skies: Path) -> Path:
    """The same, separated."""
    raw, folder = skies.parent / "raw", skies.parent / "separated"
    extract_archive(skies, raw)
    separate_dataset(raw, folder, name="skies")
    return folder


def wait_until(is_so: Callable[[], object], timeout_s: float = 60.0) -> None:
    """Poll until it is so; fail when it never is."""
    limit = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < limit, "it never came to be"
        time.sleep(0.05)


def need_shared(name: str) -> Path:
    """A real image set, where it is at hand."""
    path = SHARED_DATA / name
    if not path.exists():
        pytest.skip(f"{name} is not at hand: it may not be part of the project")
    return path

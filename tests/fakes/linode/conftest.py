"""An emulated cloud, and a client of it that hides nothing."""

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from remote.host import Address, Host
from remote.keys import ensure_key
from tests.conftest import wait_until
from tests.fakes.linode import Emulator, Options, serve

PLAN, REGION, IMAGE = "g2-gpu-rtx4000a1-s", "us-ord", "linode/ubuntu24.04-nvidia"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f a@b"


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now_s = 1_790_000_000.0

    def __call__(self) -> float:
        return self.now_s


class Client:
    """Requests to the emulator, and the things that tests ask it for again and again."""

    def __init__(self, emulator: Emulator, folder: Path) -> None:
        self.emulator, self.folder = emulator, folder
        self.token = emulator.token
        self.session = requests.Session()
        self.session.trust_env = False

    def send(
        self, method: str, path: str, body: Any = None, found: Any = None, **headers: str
    ) -> requests.Response:
        """One request, whatever comes back."""
        sent = {"Authorization": f"Bearer {self.token}", **headers}
        if found is not None:
            sent["X-Filter"] = json.dumps(found)
        return self.session.request(
            method, self.emulator.url + path, json=body, headers=sent, timeout=30
        )

    def good(self, method: str, path: str, body: Any = None, found: Any = None) -> Any:
        """The body of an answer that has to be good."""
        answer = self.send(method, path, body, found)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def refused(self, method: str, path: str, body: Any = None, found: Any = None) -> Any:
        """Status, field and reason of an answer that has to be a refusal."""
        answer = self.send(method, path, body, found)
        error = answer.json()["errors"][0]
        return answer.status_code, error.get("field"), error["reason"]

    def list(self, path: str, found: Any = None) -> list[Any]:
        """The rows of the first page."""
        return list(self.good("GET", path, found=found)["data"])

    def make(self, label: str = "node-1", **changes: Any) -> Any:
        """An instance."""
        return self.good("POST", "/linode/instances", make_body(label, **changes))

    def rent(self, config: Any = None, label: str = "node-1", **changes: Any) -> Any:
        """An instance that our host key and our user key are given to; it runs."""
        host_key, user_key = ensure_key(self.folder / "host"), ensure_key(self.folder / "user")
        keys = {
            "ed25519_private": host_key.path.read_text(),
            "ed25519_public": host_key.public,
        }
        content = {"ssh_keys": keys, **(config or {})}
        instance = self.make(
            label,
            authorized_keys=[user_key.public],
            metadata={"user_data": encode(content)},
            **changes,
        )
        self.wait_status(instance["id"], "running")
        return instance

    def wait_status(self, number: int, status: str) -> None:
        """Until the instance has it."""
        path = f"/linode/instances/{number}"
        wait_until(lambda: self.good("GET", path)["status"] == status, 20)

    def settle(self, number: int) -> None:
        """Until no job of the instance runs."""
        state = self.emulator.state

        def is_settled() -> bool:
            with state.lock:
                return not state.instances[number].jobs

        wait_until(is_settled, 20)

    def connect(self, label: str = "node-1") -> Host:
        """The way into the instance's node, with the keys that `rent` gave it."""
        node = self.emulator.find_node(label)
        node.wait_up()
        host_key, user_key = ensure_key(self.folder / "host"), ensure_key(self.folder / "user")
        return Host(Address(node.address, 22, "root", host_key.public, user_key.path))


def make_body(label: str = "node-1", **changes: Any) -> dict[str, Any]:
    """What creates an instance."""
    body = {"type": PLAN, "region": REGION, "image": IMAGE, "authorized_keys": [KEY]}
    return {**body, "label": label, "interface_generation": "legacy_config", **changes}


def encode(config: Any) -> str:
    """User data, as it is sent."""
    return base64.b64encode(f"#cloud-config\n{yaml.safe_dump(config)}".encode()).decode()


@pytest.fixture
def clock() -> Clock:
    """What time it is in the cloud."""
    return Clock()


@pytest.fixture
def client(tmp_path: Path, clock: Clock) -> Iterator[Client]:
    """The client of a cloud of records, whose clock stands."""
    with serve(tmp_path / "cloud", clock=clock) as emulator:
        yield Client(emulator, tmp_path)


Serve = Callable[..., Client]


@pytest.fixture(params=["netns", "local"])
def nodes(request: pytest.FixtureRequest) -> str:
    """What instances are made of."""
    return str(request.param)


@pytest.fixture
def machines(bed_slot: None, tmp_path: Path) -> Iterator[Client]:
    """The client of a cloud whose instances are nodes of a test bed."""
    options = Options(delay_s=0.05, volume_mib=64)
    with serve(tmp_path / "cloud", nodes="netns", options=options) as emulator:
        yield Client(emulator, tmp_path)

"""What every cloud promises, for every file of `provision/clouds`."""

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import provision.clouds
from provision.base import (
    CloudError,
    LabelTaken,
    Node,
    NodeLost,
    NodeSpec,
    PlanError,
    Provider,
    VolumeSpec,
)
from provision.clouds import list_clouds, open_cloud
from provision.clouds.local import LocalCloud
from provision.sshnode import find_processes
from remote.keys import ensure_key
from tests.conftest import wait_until
from tests.fakes.bed import Bed
from tests.fakes.clouds import add_clouds, netns

# The local cloud's processes are found by their label, in all of this machine: tests beside this
# one need others.
NODE, VOLUME = f"segaway-test-{os.getpid()}-node", f"segaway-test-{os.getpid()}-vol"


BED = netns.NAME


@pytest.fixture(params=[*list_clouds(), BED])
def cloud(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Provider]:
    if request.param == netns.NAME:
        request.getfixturevalue("bed_slot")
        monkeypatch.setattr(provision.clouds, "__path__", [*provision.clouds.__path__])
        add_clouds()
    cloud = open_cloud(request.param, tmp_path, {})
    yield cloud
    for item in cloud.find_all():
        cloud.destroy("node" if isinstance(item, Node) else "volume", item.id)
    Bed(netns.find_folder(tmp_path)).clear()


def make_spec(cloud: Provider, folder: Path, seconds: float = 600) -> tuple[VolumeSpec, NodeSpec]:
    offer = cloud.offers()[0]
    host_key, client_key = ensure_key(folder / "host_key"), ensure_key(folder / "client_key")
    volume = VolumeSpec(VOLUME, offer.region, 10)
    node = NodeSpec(
        NODE,
        offer.region,
        offer.plan,
        VOLUME,
        host_key.path,
        client_key.public,
        time.time() + seconds,
    )
    return volume, node


def create(cloud: Provider, folder: Path, seconds: float = 600) -> Node:
    volume, node = make_spec(cloud, folder, seconds)
    if not cloud.find_volume(VOLUME):
        cloud.create_volume(cloud.volume_request(volume))
    return cloud.create_node(cloud.node_request(node))


def test_offers_have_a_price_or_say_that_it_is_unknown(cloud: Provider) -> None:
    for offer in cloud.offers():
        assert offer.cloud == cloud.name
        assert offer.usd_per_hour is None or offer.usd_per_hour >= 0


def test_requests_are_pure_and_hold_no_secret(cloud: Provider, tmp_path: Path) -> None:
    _, node = make_spec(cloud, tmp_path)
    assert cloud.node_request(node) == cloud.node_request(node)
    assert "PRIVATE KEY" not in str(cloud.node_request(node))
    assert not cloud.find_all()


def test_a_node_is_created_found_reached_and_destroyed(cloud: Provider, tmp_path: Path) -> None:
    assert cloud.find_node(NODE) is None
    assert create(cloud, tmp_path).state == "booting"
    node = cloud.wait_node(NODE, 30)
    assert node.state == "running"
    with socket.create_connection((node.host, node.port), timeout=5) as link:
        assert link.recv(4) == b"SSH-"
    assert {item.label for item in cloud.find_all()} == {NODE, VOLUME}
    for kind, label in (("node", NODE), ("volume", VOLUME)):
        cloud.destroy(kind, label)  # type: ignore[arg-type]  # the two of Kind
        cloud.destroy(kind, label)  # type: ignore[arg-type]  # already gone is success
    assert not cloud.find_all()


def test_a_label_can_be_had_once(cloud: Provider, tmp_path: Path) -> None:
    create(cloud, tmp_path)
    volume, _ = make_spec(cloud, tmp_path)
    with pytest.raises(LabelTaken, match=NODE):
        create(cloud, tmp_path)
    with pytest.raises(LabelTaken, match=VOLUME):
        cloud.create_volume(cloud.volume_request(volume))


def test_a_node_dies_at_its_deadline_and_its_volume_does_not(
    cloud: Provider, tmp_path: Path
) -> None:
    create(cloud, tmp_path, seconds=3)
    cloud.wait_node(NODE, 30)
    wait_until(lambda: cloud.find_node(NODE) is None, 30)
    assert cloud.find_volume(VOLUME)


def test_a_cloud_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="There is no cloud 'locale'") as caught:
        open_cloud("locale", tmp_path, {})
    assert caught.value.fix == "--on local"


def test_a_port_that_is_taken_is_said_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        cloud = LocalCloud(tmp_path, port)
        with pytest.raises(CloudError, match=f"Port {port} on 127.0.0.1 cannot be had") as caught:
            create(cloud, tmp_path)
    assert "local_port" in caught.value.fix
    assert cloud.find_node(NODE) is None
    assert not find_processes(NODE)


def test_after_a_reboot_the_local_node_is_gone_and_gives_way(tmp_path: Path) -> None:
    """A reboot kills the process; another may have its id."""
    cloud = LocalCloud(tmp_path, 0)
    create(cloud, tmp_path)
    cloud.wait_node(NODE, 30)
    for process in find_processes(NODE):
        process.kill()
        process.wait()
    pid_file = tmp_path / "clouds/local/nodes" / NODE / "pid.json"
    born = psutil.Process().create_time() + 1
    pid_file.write_text(f'{{"pid": {psutil.Process().pid}, "born": {born}}}')
    assert cloud.find_node(NODE) is None
    assert create(cloud, tmp_path)
    assert cloud.wait_node(NODE, 30).state == "running"
    cloud.destroy("node", NODE)
    cloud.destroy("volume", VOLUME)


def test_a_local_node_that_dies_while_booting_says_its_last_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("provision.clouds.local.BOOT_S", 2.0)
    cloud = LocalCloud(tmp_path, 0)
    volume, node = make_spec(cloud, tmp_path)
    node.host_key_path.write_text("no key")
    cloud.create_volume(cloud.volume_request(volume))
    with pytest.raises(NodeLost, match="ended before it was ready"):
        cloud.wait_node(cloud.create_node(cloud.node_request(node)).id, 30)
    cloud.destroy("node", NODE)
    assert not find_processes(NODE)

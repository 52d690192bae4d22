"""What every cloud promises, for every file of `provision/clouds`."""

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

import provision.clouds
from provision.base import (
    DESTROY_ORDER,
    CloudError,
    LabelTaken,
    Node,
    NodeLost,
    PlanError,
    Provider,
)
from provision.clouds import list_clouds, open_cloud
from provision.clouds.local import LocalCloud
from provision.sshnode import find_processes
from remote.keys import ensure_key
from tests.conftest import wait_until
from tests.fakes import links
from tests.fakes.bed import Bed
from tests.fakes.clouds import add_clouds, netns
from tests.fakes.linode import Options, serve
from tests.fakes.orders import create, make_order

# The local cloud's processes are found by their label, in all of this machine: tests beside this
# one need others.
RUN = f"test-{os.getpid()}"
NODE, VOLUME = f"segaway-{RUN}-node", f"segaway-{RUN}-vol"


BED = netns.NAME


@pytest.fixture(params=[*list_clouds(), BED])
def cloud(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Provider]:
    with contextlib.ExitStack() as stack:
        if request.param in (netns.NAME, "linode"):
            request.getfixturevalue("bed_slot")
        if request.param == netns.NAME:
            monkeypatch.setattr(provision.clouds, "__path__", [*provision.clouds.__path__])
            add_clouds()
            stack.callback(lambda: Bed(netns.find_folder(tmp_path)).clear())
        if request.param == "linode":
            stack.enter_context(links.hold_bridge(tmp_path))
            options = Options(delay_s=0.05, volume_mib=64)
            emulator = stack.enter_context(serve(tmp_path, nodes="netns", options=options))
            monkeypatch.setenv("LINODE_TOKEN", emulator.token)
            monkeypatch.setenv("LINODE_URL", emulator.node_url)
        cloud = open_cloud(request.param, tmp_path, {})
        yield cloud
        for kind in DESTROY_ORDER:
            for item in cloud.find_all():
                if item.kind == kind:
                    cloud.destroy(item.kind, item.label)


def test_offers_have_a_price_or_say_that_it_is_unknown(cloud: Provider) -> None:
    for offer in cloud.offers():
        assert offer.cloud == cloud.name
        assert offer.usd_per_hour is None or offer.usd_per_hour >= 0


def test_requests_make_nothing_and_hold_no_secret(cloud: Provider) -> None:
    order = make_order(cloud, RUN)
    assert cloud.requests(order) == cloud.requests(order)
    assert "PRIVATE KEY" not in str(cloud.requests(order))
    assert {request.label for request in cloud.requests(order)} >= {NODE, VOLUME}
    assert not cloud.find_all()


def test_a_node_is_created_found_reached_and_destroyed(cloud: Provider, tmp_path: Path) -> None:
    assert cloud.find_node(NODE) is None
    booting = create(cloud, make_order(cloud, RUN), tmp_path)
    assert booting
    assert booting.state == "booting"
    node = cloud.wait_node(NODE, 30)
    assert node.state == "running"
    wait_until(lambda: greets(node), 30)
    assert {item.label for item in cloud.find_all()} >= {NODE, VOLUME}
    assert {item.run for item in cloud.find_all()} == {RUN}
    for kind in DESTROY_ORDER:
        for item in cloud.find_all():
            if item.kind == kind:
                cloud.destroy(kind, item.label)
                cloud.destroy(kind, item.label)  # already gone is success
    assert not cloud.find_all()


def greets(node: Node) -> bool:
    """Whether a machine answers there as SSH does."""
    try:
        with socket.create_connection((node.host, node.port), timeout=5) as link:
            return link.recv(4) == b"SSH-"
    except OSError:
        return False


def test_a_label_can_be_had_once(cloud: Provider, tmp_path: Path) -> None:
    order = make_order(cloud, RUN)
    create(cloud, order, tmp_path)
    with pytest.raises(LabelTaken, match=NODE):
        create(cloud, order, tmp_path, "node")
    with pytest.raises(LabelTaken, match=VOLUME):
        create(cloud, order, tmp_path, "volume")


def test_a_node_dies_at_its_deadline_and_its_volume_does_not(
    cloud: Provider, tmp_path: Path
) -> None:
    create(cloud, make_order(cloud, RUN, seconds=3), tmp_path)
    cloud.wait_node(NODE, 30)
    wait_until(lambda: cloud.find_node(NODE) is None, 90)
    assert cloud.find("volume", VOLUME)


def test_a_deadline_that_moves_is_kept(cloud: Provider, tmp_path: Path) -> None:
    order = make_order(cloud, RUN, seconds=600)
    create(cloud, order, tmp_path)
    node = cloud.wait_node(NODE, 30)
    cloud.extend(replace(order, deadline_s=time.time() + 1))
    if node.guard:
        # The cloud only tells it to others; it is the node's guard that acts on its own.
        moved = cloud.find_node(NODE)
        assert moved
        assert moved.deadline_s == pytest.approx(time.time(), abs=60)
    else:
        wait_until(lambda: cloud.find_node(NODE) is None, 30)


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
            create(cloud, make_order(cloud, RUN), tmp_path)
    assert "local_port" in caught.value.fix
    assert cloud.find_node(NODE) is None
    assert not find_processes(NODE)


def test_after_a_reboot_the_local_node_is_gone_and_gives_way(tmp_path: Path) -> None:
    """A reboot kills the process; another may have its id."""
    cloud = LocalCloud(tmp_path, 0)
    order = make_order(cloud, RUN)
    create(cloud, order, tmp_path)
    cloud.wait_node(NODE, 30)
    for process in find_processes(NODE):
        process.kill()
        process.wait()
    pid_file = tmp_path / "clouds/local/nodes" / NODE / "pid.json"
    born = psutil.Process().create_time() + 1
    pid_file.write_text(f'{{"pid": {psutil.Process().pid}, "born": {born}}}')
    assert cloud.find_node(NODE) is None
    assert create(cloud, order, tmp_path, "node")
    assert cloud.wait_node(NODE, 30).state == "running"
    cloud.destroy("node", NODE)
    cloud.destroy("volume", VOLUME)


def test_a_local_node_that_dies_while_booting_says_its_last_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("provision.clouds.local.BOOT_S", 2.0)
    cloud = LocalCloud(tmp_path, 0)
    ensure_key(tmp_path / "host_key").path.write_text("no key")
    create(cloud, make_order(cloud, RUN), tmp_path)
    with pytest.raises(NodeLost, match="ended before it was ready"):
        cloud.wait_node(NODE, 30)
    cloud.destroy("node", NODE)
    assert not find_processes(NODE)

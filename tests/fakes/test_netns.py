"""The test bed as a cloud, and a laptop that rents from it."""

import json
import signal
from pathlib import Path

import pytest

from provision.base import CloudError
from tests.conftest import TINY, BedLaptop, wait_until
from tests.fakes.bed import Bed
from tests.fakes.clouds.netns import VOLUME_MIB, NetnsCloud
from tests.fakes.orders import create, make_order

NODE, VOLUME = "segaway-x-node", "segaway-x-vol"
LEAN = (*TINY, "--engine", "process")


@pytest.fixture
def cloud(bed: Bed, tmp_path: Path) -> NetnsCloud:
    """The cloud with a running node."""
    cloud = NetnsCloud(tmp_path)
    cloud.bed = bed
    create(cloud, make_order(cloud, "x"), tmp_path)
    cloud.wait_node(NODE, 30)
    return cloud


def test_a_cloud_that_is_down_answers_nothing(cloud: NetnsCloud) -> None:
    cloud.set_api(up=False)
    for call in (cloud.offers, cloud.find_all, lambda: cloud.find_node(NODE)):
        with pytest.raises(CloudError, match="The cloud does not answer"):
            call()
    with pytest.raises(CloudError, match="The cloud does not answer"):
        cloud.destroy("node", NODE)
    cloud.set_api(up=True)
    assert cloud.find_node(NODE)


def test_a_node_that_moved_is_found_where_it_is(cloud: NetnsCloud) -> None:
    before = cloud.find_node(NODE)
    cloud.bed.open_node(NODE).move()
    after = cloud.wait_node(NODE, 10)
    assert before
    assert after.host != before.host
    assert after == cloud.find_node(NODE)


def test_a_node_that_was_taken_away_is_gone_and_can_be_rented_again(
    cloud: NetnsCloud, tmp_path: Path
) -> None:
    cloud.bed.open_node(NODE).kill()
    assert cloud.find_node(NODE) is None
    assert [item.label for item in cloud.find_all()] == [VOLUME]
    create(cloud, make_order(cloud, "x"), tmp_path, "node")
    cloud.wait_node(NODE, 30)
    found = cloud.find_node(NODE)
    assert found
    assert found.device.endswith(VOLUME)


def test_a_volume_is_destroyed_after_its_node_and_not_before(cloud: NetnsCloud) -> None:
    with pytest.raises(CloudError, match=f"attached to {NODE}"):
        cloud.destroy("volume", VOLUME)
    cloud.destroy("node", NODE)
    cloud.destroy("volume", VOLUME)
    assert not cloud.find_all()


def test_a_volume_is_as_small_as_a_test_wants_it(
    cloud: NetnsCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = make_order(cloud, "small")
    assert cloud.requests(order)[0].body["size_mib"] == 10240
    monkeypatch.setenv(VOLUME_MIB, "64")
    assert cloud.requests(order)[0].body["size_mib"] == 64


def test_a_laptop_rents_a_node_finds_it_and_leaves_nothing(
    bed_laptop: BedLaptop, skies: Path
) -> None:
    run = bed_laptop.start("run", skies, *LEAN, "--results", "out", "--json")
    wait_until(bed_laptop.bed.nodes, 60)
    label = bed_laptop.bed.nodes()[0].label
    out, err = run.communicate(timeout=300)
    assert run.returncode == 0, err
    answer = json.loads(out)
    assert bed_laptop.node(answer["run"]).label == label
    assert answer["state"] == "done"
    assert answer["usd"] > 0
    assert not bed_laptop.bed.nodes()
    assert not bed_laptop.bed.volumes()


def test_a_laptop_that_dies_on_the_way_finds_its_node_again(
    bed_laptop: BedLaptop, skies: Path
) -> None:
    killed = bed_laptop.run("--kill-after", "3", "run", skies, *LEAN, "--results", "out")
    assert killed.code == -signal.SIGKILL
    assert bed_laptop.bed.nodes()
    assert bed_laptop.good("down", "--discard")["still_billing"] == []
    assert not bed_laptop.bed.nodes()

"""The commands that rent, list, extend, sweep: against an account whose nodes are records only."""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cli.broom import judge_all
from provision.base import Kind, Order
from provision.clouds.linode import LinodeCloud
from provision.ledger import Ledger
from provision.linode.client import Client
from provision.linode.credentials import Credentials
from tests.conftest import LinodeLaptop, OpenLinode
from tests.fakes.linode import Options, serve
from tests.fakes.orders import create, make_order

LEAN = "linodes:read_write volumes:read_write firewall:read_write"
HOUR_S = 3600.0


def open_cloud(laptop: LinodeLaptop) -> LinodeCloud:
    emulator = laptop.emulator
    return LinodeCloud(Client(Credentials(emulator.token, emulator.url, "a test")))


def make_run(laptop: LinodeLaptop, run: str, hours: float) -> tuple[LinodeCloud, Order]:
    """What another laptop's run has on the account; its deadline is in so many hours."""
    cloud = open_cloud(laptop)
    offer = next(offer for offer in cloud.offers() if offer.available)
    order = make_order(cloud, run, seconds=max(hours, 1) * HOUR_S, offer=offer)
    create(cloud, order, laptop.folder)
    if hours < 1:
        cloud.extend(replace(order, deadline_s=time.time() + hours * HOUR_S))
    return cloud, order


def test_offers_are_a_table_cheapest_first(open_linode: OpenLinode) -> None:
    laptop = open_linode()
    answer = laptop.run("offers")
    assert answer.code == 0, answer.err
    first, second = answer.out.splitlines()[:2]
    assert first.split()[:2] == ["plan", "GPU"]
    assert second.startswith("g2-gpu-rtx4000a1-s")
    assert "RTX 4000 Ada" in second
    assert "20 GiB" in second
    rows = laptop.good("offers", "--region", "id-cgk")
    assert {row["region"] for row in rows} == {"id-cgk"}


def test_a_dry_run_prints_every_request_and_sends_none(
    open_linode: OpenLinode, skies: Path
) -> None:
    laptop = open_linode()
    answer = laptop.run("run", skies, "--dry-run", "--max-cost", "3")
    assert answer.code == 0, answer.err
    for words in (
        "POST /networking/firewalls: {",
        "POST /profile/tokens: {",
        "POST /linode/instances: {",
        "POST /volumes: {",
        "POST /volumes/{volume}/attach: {",
        "DELETE /linode/instances/{node}",
        "where nothing is left: g2-gpu-rtx4000a1-s in",
        "'root_pass': '{root_pass}'",
    ):
        assert words in answer.out
    assert "PRIVATE KEY" not in answer.out
    assert {request.method for request in laptop.emulator.requests} == {"GET"}
    preview = laptop.good("run", skies, "--dry-run", "--max-cost", "3")
    assert 0 < preview["worst_case_usd"] <= 3


def test_what_was_planned_is_sent_and_nothing_else(open_linode: OpenLinode, skies: Path) -> None:
    laptop = open_linode()
    plan = laptop.good("plan", skies, "--max-hours", "3", "--name", "noon")
    path = laptop.folder / "plan.json"
    path.write_text(json.dumps(plan))
    assert laptop.run("apply", path).code == 1  # its node is a record, and does not answer
    posts = [r for r in laptop.emulator.requests if r.method == "POST"]
    planned = [request for request in plan["plan"]["requests"] if request["kind"]]
    assert [f"POST {r.path.removeprefix('/v4')}" for r in posts][:4] == [
        request["action"] for request in planned
    ]
    for sent, request in zip(posts, planned, strict=False):
        assert_same(sent.body, request["body"])
    again = laptop.run("apply", path)
    assert "was applied already" in again.err


def assert_same(sent: Any, planned: Any) -> None:
    """What has no hole is the same; what has one is filled."""
    assert set(sent) == set(planned)
    for key, value in planned.items():
        if "{" in json.dumps(value):
            assert "{" not in str(sent[key]) or key in ("metadata", "rules")
        else:
            assert sent[key] == value


def test_a_plan_whose_time_is_over_is_refused(open_linode: OpenLinode, skies: Path) -> None:
    laptop = open_linode()
    plan = laptop.good("plan", skies, "--max-hours", "3")
    path = laptop.folder / "plan.json"
    plan["plan"]["created_s"] -= 2.5 * HOUR_S
    path.write_text(json.dumps(plan))
    answer = laptop.run("apply", path)
    assert answer.code == 1
    assert "The plan's deadline is in 0.5 hours. Nothing was created." in answer.err
    plan["plan"]["created_s"] += 2.5 * HOUR_S
    plan["plan"]["choices"][0]["offer"]["usd_per_hour"] = 0.1
    path.write_text(json.dumps(plan))
    assert "0.52 USD per hour by now, not 0.1 USD per hour" in laptop.run("apply", path).err
    plan["plan"]["choices"][0]["offer"]["usd_per_hour"] = 0.52
    plan["plan"]["choices"][0]["offer"]["volume_usd_per_gib_hour"] = 1e-05
    path.write_text(json.dumps(plan))
    assert "a GiB of a volume in" in laptop.run("apply", path).err
    path.write_text("{}")
    answer = laptop.run("apply", path)
    assert answer.code == 2
    assert "is not a plan that this segaway wrote" in answer.err
    assert not laptop.labels()


def test_a_node_that_cannot_destroy_itself_is_not_rented_unasked(
    open_linode: OpenLinode, skies: Path
) -> None:
    laptop = open_linode(scopes=LEAN)
    answer = laptop.run("run", skies)
    assert answer.code == 1
    assert "Only this machine and segaway sweep guard it" in answer.err
    assert "--unguarded" in answer.err
    assert not laptop.labels()
    answer = laptop.run("run", skies, "--unguarded")
    assert laptop.bodies("/linode/instances")
    assert "does not answer SSH" in answer.err
    assert "--boot-minutes" in answer.err
    assert not laptop.labels()  # its node did not answer: all was given back


def test_rights_that_are_missing_are_said_before_anything_is_rented(
    open_linode: OpenLinode, skies: Path
) -> None:
    laptop = open_linode(scopes="linodes:read_write account:read_write")
    answer = laptop.run("run", skies)
    assert answer.code == 1
    assert "lacks volumes:read_write, firewall:read_write. Nothing was created." in answer.err
    assert {request.method for request in laptop.emulator.requests} == {"GET"}
    dry = laptop.run("run", skies, "--dry-run")
    assert "obstacle: the token of LINODE_TOKEN lacks volumes:read_write" in dry.out


def test_where_nothing_is_left_the_next_offer_is_taken(
    open_linode: OpenLinode, skies: Path
) -> None:
    laptop = open_linode()
    laptop.emulator.inject(
        {"method": "POST", "path": "/linode/instances$", "kind": "no-capacity", "times": 2}
    )
    answer = laptop.run("run", skies)
    regions = [body["region"] for body in laptop.bodies("/linode/instances")]
    assert len(set(regions)) == 3
    assert f"Trying g2-gpu-rtx4000a1-s in {regions[1]}" in answer.out
    assert laptop.bodies("/volumes")[0]["region"] == regions[2]
    assert not laptop.labels()


def test_a_refusal_for_good_is_not_tried_again(open_linode: OpenLinode, skies: Path) -> None:
    laptop = open_linode()
    laptop.emulator.inject({"method": "POST", "path": "/linode/instances$", "kind": "limit"})
    answer = laptop.run("run", skies)
    assert answer.code == 1
    assert "Trying again will not help" in answer.err
    assert len(laptop.bodies("/linode/instances")) == 1
    assert not laptop.labels()


def test_a_price_that_is_unknown_is_not_taken_unasked(open_linode: OpenLinode, skies: Path) -> None:
    laptop = open_linode()
    fault = {"method": "GET", "path": "/linode/types", "kind": "price-0", "times": 1000}
    laptop.emulator.inject(fault)
    answer = laptop.run("run", skies, "--plan", "g2-gpu-rtx4000a1-s")
    assert "The price of g2-gpu-rtx4000a1-s is unknown. Nothing was created." in answer.err
    accepted = ("run", skies, "--plan", "g2-gpu-rtx4000a1-s", "--accept-unknown-price")
    answer = laptop.run(*accepted, "--max-cost", "5")
    assert "--max-cost cannot be kept with a price that is unknown" in answer.err
    assert laptop.run(*accepted, "--dry-run").code == 0


def test_a_region_or_plan_that_there_is_not_is_said(open_linode: OpenLinode, skies: Path) -> None:
    laptop = open_linode()
    answer = laptop.run("run", skies, "--region", "mars-1")
    assert "The cloud offers no node in region mars-1. Nothing was created." in answer.err
    assert "segaway offers" in answer.err


def test_the_sweep_takes_what_is_past_its_deadline_and_nothing_else(
    open_linode: OpenLinode,
) -> None:
    laptop = open_linode()
    cloud, late = make_run(laptop, "late-ab123", hours=-1)
    make_run(laptop, "live-cd456", hours=5)
    _, data = make_run(laptop, "data-ef789", hours=-2)
    cloud.mark_volume(data.volume_label, "0123456789abcdef")
    answer = laptop.run("sweep", "--dry-run")
    assert "segaway-late-ab123-node" in answer.out
    assert "past its deadline, 1:" in answer.out
    assert len(laptop.labels()) == 12
    refused = laptop.run("sweep")
    assert refused.code == 1
    assert "Nothing was destroyed; they bill 1.04 USD per hour." in refused.err
    swept = laptop.good("sweep", "--yes")
    assert set(swept["destroyed"]) == {
        *(late.label(kind) for kind in ("node", "volume", "firewall", "token")),
        *(data.label(kind) for kind in ("node", "firewall", "token")),
    }
    runs = {label.split("-")[1] for label in laptop.labels()}
    assert runs == {"live", "data"}
    assert "segaway-data-ef789-vol" in laptop.labels()
    assert laptop.good("sweep", "--yes")["destroyed"] == []


@pytest.mark.parametrize(
    ("restricted", "kinds", "hours", "stay"),
    [
        (False, ("firewall",), 2, True),  # the token and the node are to come
        (False, ("firewall", "token"), 2, True),
        (False, ("firewall", "token", "node", "volume"), 2, True),
        (False, ("firewall",), 30, False),
        (False, ("firewall", "token"), 30, False),
        (False, ("firewall", "volume"), 30, False),
        # Without tags a firewall does not tell the deadline.
        (True, ("firewall",), 1, True),
        (True, ("firewall",), 2, False),
    ],
)
def test_the_sweep_leaves_what_another_laptop_is_making(
    open_linode: OpenLinode, restricted: bool, kinds: tuple[Kind, ...], hours: float, stay: bool
) -> None:
    laptop = open_linode(restricted=restricted)
    cloud = open_cloud(laptop)
    order = make_order(cloud, "sky-ab123", seconds=5 * HOUR_S, offer=cloud.offers()[0])
    create(cloud, order, laptop.folder, *kinds)
    with Ledger(laptop.folder / "other.sqlite") as ledger:
        now_s = time.time() + (hours - 1) * HOUR_S + 60
        found = judge_all(cloud.find_all(), ledger, now_s)
    assert len(found) == len(kinds)
    assert {finding.why == "" for finding in found} == {stay}


def test_the_sweep_leaves_a_volume_whose_data_nobody_could_write_on_it(
    open_linode: OpenLinode,
) -> None:
    laptop = open_linode(restricted=True)
    _, order = make_run(laptop, "late-ab123", hours=-1)
    swept = laptop.good("sweep", "--yes")["destroyed"]
    assert order.label("firewall") in swept
    assert laptop.labels() == {order.volume_label}


def test_what_cannot_be_swept_is_said_with_its_price(open_linode: OpenLinode) -> None:
    laptop = open_linode()
    make_run(laptop, "late-ab123", hours=-1)
    laptop.emulator.inject(
        {"method": "DELETE", "path": "/linode/instances", "kind": "limit", "times": 9}
    )
    answer = laptop.run("sweep", "--yes")
    assert answer.code == 1
    assert "Still there: segaway-late-ab123-node" in answer.err
    assert "0.52 USD per hour" in answer.err


def test_the_clouds_view_stands_beside_the_ledgers(open_linode: OpenLinode) -> None:
    laptop = open_linode()
    make_run(laptop, "late-ab123", hours=-1)
    answer = laptop.run("runs", "--all")
    assert "segaway-late-ab123-node" in answer.out
    found = laptop.good("runs", "--all")["found"]
    assert {item["run"] for item in found} == {"late-ab123"}


def test_kept_volumes_are_listed_with_their_price_and_can_go(open_linode: OpenLinode) -> None:
    laptop = open_linode()
    cloud = open_cloud(laptop)
    order = make_order(cloud, "old-ab123", offer=cloud.offers()[0])
    create(cloud, order, laptop.folder, "volume")
    cloud.mark_volume(order.volume_label, "0123456789abcdef")
    (row,) = laptop.good("volumes")
    assert (row["label"], row["dataset"]) == (order.volume_label, "0123456789abcdef")
    assert row["usd_per_month"] == pytest.approx(1.0)
    assert "1.00" in laptop.run("volumes").out
    refused = laptop.run("volumes", "rm", order.volume_label)
    assert refused.code == 1
    assert "Nothing was destroyed." in refused.err
    assert "There is no volume nosuch" in laptop.run("volumes", "rm", "nosuch").err
    laptop.good("volumes", "rm", order.volume_label, "--yes")
    assert not laptop.labels()


def test_a_volume_that_a_node_has_is_not_destroyed(open_linode: OpenLinode) -> None:
    laptop = open_linode()
    cloud, order = make_run(laptop, "live-ab123", hours=2)
    volume, node = cloud.find("volume", order.volume_label), cloud.find_node(order.label("node"))
    assert volume
    assert node
    values = {"volume": volume.id, "node": node.id}
    cloud.finish(cloud.requests(order)[-1], values, 10)
    answer = laptop.run("volumes", "rm", order.volume_label, "--yes")
    assert "A node has segaway-live-ab123-vol." in answer.err


def test_the_doctor_says_what_a_token_lacks(open_linode: OpenLinode) -> None:
    laptop = open_linode(scopes="linodes:read_write")
    answer = laptop.run("doctor")
    assert "the token of LINODE_TOKEN lacks volumes:read_write, firewall:read_write" in answer.out
    assert "cannot destroy itself at its deadline" in answer.out
    del laptop.environment["LINODE_TOKEN"]
    laptop.environment["HOME"] = str(laptop.folder)
    assert "no token; only --on linode needs it" in laptop.run("doctor").out


def test_a_cloud_without_a_token_is_said(open_linode: OpenLinode, skies: Path) -> None:
    laptop = open_linode()
    del laptop.environment["LINODE_TOKEN"]
    laptop.environment["HOME"] = str(laptop.folder)
    answer = laptop.run("run", skies)
    assert answer.code == 1
    assert "There is no token for Linode." in answer.err


def test_what_another_account_has_does_not_count_as_gone(
    open_linode: OpenLinode, skies: Path
) -> None:
    laptop = open_linode()
    laptop.good("extract", skies, "--to", "raw")
    laptop.good("separate", "raw", "--to", "data")
    failed = laptop.run("provision", "--dataset", "data", "--json")
    assert failed.code == 3  # the node of a record does not answer, and is there
    run = failed.json["run"]
    had = laptop.labels()
    options = Options(euuid="00000000-0000-0000-0000000000000000")
    with serve(laptop.folder / "other", options=options) as other:
        laptop.environment["LINODE_URL"] = other.url
        answer = laptop.run("down", run, "--discard")
    assert answer.code == 3
    assert "was rented with another account of linode" in answer.err
    assert "Still there: node" in answer.err
    laptop.environment["LINODE_URL"] = laptop.emulator.url
    assert laptop.labels() == had
    laptop.good("down", run, "--discard")
    assert not laptop.labels()

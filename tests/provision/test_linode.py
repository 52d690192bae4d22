"""Linode's provider against the emulator: what it asks for, what it makes of the answers."""

import contextlib
import http.server
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from provision.base import (
    DESTROY_ORDER,
    CloudError,
    CloudSilent,
    LabelTaken,
    NoCapacity,
    Node,
    NodeLost,
    Offer,
    Order,
    Refused,
    Token,
    Volume,
)
from provision.clouds import linode
from provision.clouds.linode import LinodeCloud
from provision.linode import client as api
from provision.linode.address import find_own_network
from provision.linode.client import Client
from provision.linode.credentials import Credentials, find_credentials
from provision.linode.gpus import find_gpu
from tests.conftest import wait_until
from tests.fakes.linode.emulator import Emulator, serve
from tests.fakes.linode.state import Options
from tests.fakes.orders import create, make_order, make_values

Open = Callable[..., tuple[LinodeCloud, Emulator]]


class Waits(list[float]):
    """A clock that is slept through at once, and how long the sleeps were."""

    def sleep(self, seconds: float) -> None:
        self.append(seconds)
        time.sleep(min(seconds, 0.01))


@pytest.fixture
def waits() -> Waits:
    return Waits()


@pytest.fixture
def open_account(tmp_path: Path, waits: Waits) -> Iterator[Open]:
    """An account as the options say, and the cloud that sees it."""
    with contextlib.ExitStack() as stack:

        def open_account(scopes: str = "*", **options: Any) -> tuple[LinodeCloud, Emulator]:
            made = Options(delay_s=0.01, **options)
            emulator = stack.enter_context(
                serve(tmp_path / "cloud", scopes=scopes, rate_limits=False, options=made)
            )
            client = Client(Credentials(emulator.token, emulator.url, "a test"), sleep=waits.sleep)
            return LinodeCloud(client, sleep=waits.sleep), emulator

        yield open_account


@pytest.fixture
def cloud(open_account: Open) -> LinodeCloud:
    return open_account()[0]


def find_offer(cloud: LinodeCloud, **wanted: Any) -> Offer:
    return next(
        offer
        for offer in cloud.offers()
        if all(getattr(offer, key) == value for key, value in wanted.items())
    )


def order_one(cloud: LinodeCloud, run: str = "sky-ab123") -> Order:
    return make_order(cloud, run, offer=find_offer(cloud, available=True))


def sent(emulator: Emulator, method: str, path: str) -> list[dict[str, Any]]:
    """The bodies of the requests with that method to that path."""
    return [request.body for request in emulator.find_requests(method, path)]


def test_offers_are_gpu_plans_where_a_run_can_live(cloud: LinodeCloud) -> None:
    offers = cloud.offers()
    assert {offer.gpus > 0 for offer in offers} == {True}
    assert {"id-cgk", "us-ord"} <= {offer.region for offer in offers}
    raw = cloud._client.list("/regions")
    without = {region["id"] for region in raw if "GPU Linodes" not in region["capabilities"]}
    distributed = {region["id"] for region in raw if region["site_type"] == "distributed"}
    assert without
    assert distributed
    assert not (without | distributed) & {offer.region for offer in offers}
    prices = [offer.usd_per_hour or 0 for offer in offers]
    assert prices == sorted(prices)


def test_a_region_may_have_a_price_of_its_own(cloud: LinodeCloud) -> None:
    (volume,) = cloud._client.list("/volumes/types")
    own = {row["id"]: row["hourly"] for row in volume["region_prices"]}
    assert own["id-cgk"] != volume["price"]["hourly"]
    assert find_offer(cloud, region="id-cgk").volume_usd_per_gib_hour == own["id-cgk"]
    assert find_offer(cloud, region="us-ord").volume_usd_per_gib_hour == volume["price"]["hourly"]


def test_what_is_not_listed_as_sold_out_can_be_had(cloud: LinodeCloud) -> None:
    rows = cloud._client.list("/regions/availability")
    sold_out = {(row["region"], row["plan"]) for row in rows if not row["available"]}
    for offer in cloud.offers():
        assert offer.available == ((offer.region, offer.plan) not in sold_out)
    assert {offer.available for offer in cloud.offers()} == {True, False}


def test_a_price_of_nothing_is_unknown(open_account: Open) -> None:
    cloud, emulator = open_account()
    emulator.inject({"method": "GET", "path": "types", "kind": "price-0", "times": 2})
    assert {offer.usd_per_hour for offer in cloud.offers()} == {None}


def test_a_plan_that_came_after_us_has_a_gpu_of_unknown_kind() -> None:
    assert find_gpu("g9-gpu-something-1") is None
    known = find_gpu("g2-gpu-rtx4000a1-s")
    assert known
    assert (known.name, known.vram_gib) == ("RTX 4000 Ada", 20)


def test_a_list_that_changes_between_its_pages_is_read_again(
    open_account: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "PAGE_SIZE", 25)
    cloud, emulator = open_account()
    whole = cloud._client.list("/regions/availability")
    assert len(whole) > 25
    before = len(emulator.requests)
    emulator.inject({"method": "GET", "path": "availability", "nth": 1, "kind": "shifting-pages"})
    assert cloud._client.list("/regions/availability") == whole
    pages = -(-len(whole) // 25)
    assert len(emulator.requests) - before > pages


def test_the_requests_are_what_is_sent(open_account: Open, tmp_path: Path) -> None:
    cloud, emulator = open_account()
    order = order_one(cloud)
    requests = cloud.requests(order)
    create(cloud, order, tmp_path)
    for request in requests:
        if request.kind is None:
            continue
        path = request.action.removeprefix("POST ")
        (body,) = [b for b in sent(emulator, "POST", path) if b["label"] == request.label]
        assert set(body) == set(request.body)
        for key, value in request.body.items():
            if "{" not in json.dumps(value) and key != "metadata":
                assert body[key] == value


def test_a_node_is_asked_for_with_all_that_it_needs(open_account: Open, tmp_path: Path) -> None:
    cloud, emulator = open_account()
    order = order_one(cloud)
    create(cloud, order, tmp_path)
    (body,) = sent(emulator, "POST", "/linode/instances")
    (firewall,) = emulator.state.firewalls
    assert body["interface_generation"] == "legacy_config"
    assert body["firewall_id"] == firewall
    assert body["disk_encryption"] == "enabled"
    assert body["image"] == "linode/ubuntu24.04-nvidia"
    assert body["label"] == "segaway-sky-ab123-node"
    assert len(body["metadata"]["user_data"]) < 65535
    assert any(tag.startswith("deadline:20") for tag in body["tags"])
    assert not emulator.state.complaints


def test_without_nvidias_image_the_driver_is_installed(open_account: Open) -> None:
    cloud, _ = open_account(hide_nvidia=True)
    node = next(r for r in cloud.requests(order_one(cloud)) if r.kind == "node")
    assert node.body["image"] == "linode/ubuntu24.04"
    assert "nvidia-utils" in node.body["metadata"]["user_data"]


def test_an_account_with_new_networking_alone_gets_a_firewall_all_the_same(
    open_account: Open, tmp_path: Path
) -> None:
    cloud, emulator = open_account(interfaces_for_new_linodes="linode_only")
    create(cloud, order_one(cloud), tmp_path)
    (body,) = sent(emulator, "POST", "/linode/instances")
    assert "firewall_id" not in body
    assert body["interfaces"][0]["firewall_id"] in emulator.state.firewalls


def test_only_the_caller_may_come_in_by_ssh(open_account: Open, tmp_path: Path) -> None:
    cloud, emulator = open_account()
    create(cloud, order_one(cloud), tmp_path)
    (rules,) = (body["rules"] for body in sent(emulator, "POST", "/networking/firewalls"))
    assert rules["inbound_policy"] == "DROP"
    (rule,) = rules["inbound"]
    assert (rule["ports"], rule["addresses"]) == ("22", {"ipv4": ["10.213.0.1/32"]})


def test_a_laptop_that_is_elsewhere_is_let_in_beside_the_first(
    open_account: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud, _ = open_account()
    order = order_one(cloud)
    create(cloud, order, tmp_path)
    monkeypatch.setattr(linode, "find_own_network", lambda: "192.0.2.9/32")
    assert not cloud.admit(order)  # these networks were named; nobody joins them
    order = replace(order, admit=())
    assert cloud.admit(order)
    assert not cloud.admit(order)
    raw = cloud._find_raw("firewall", order.label("firewall"))
    assert raw
    addresses = raw["rules"]["inbound"][0]["addresses"]["ipv4"]
    assert addresses == ["10.213.0.1/32", "192.0.2.9/32"]


def test_who_may_not_tag_has_the_deadline_in_the_label(open_account: Open, tmp_path: Path) -> None:
    cloud, emulator = open_account(restricted=True)
    order = order_one(cloud)
    create(cloud, order, tmp_path)
    (body,) = sent(emulator, "POST", "/linode/instances")
    assert "tags" not in body
    node = cloud.find_node(order.label("node"))
    assert node
    assert node.label == body["label"] != order.label("node")
    assert node.deadline_s == pytest.approx(order.deadline_s, abs=60)
    later = replace(order, deadline_s=order.deadline_s + 7200)
    cloud.extend(later)
    moved = cloud.find_node(order.label("node"))
    assert moved
    assert moved.deadline_s == pytest.approx(later.deadline_s, abs=60)


def test_the_deadline_on_the_node_moves(cloud: LinodeCloud, tmp_path: Path) -> None:
    order = order_one(cloud)
    create(cloud, order, tmp_path)
    cloud.extend(replace(order, deadline_s=order.deadline_s + 7200))
    node = cloud.find_node(order.label("node"))
    assert node
    assert node.deadline_s == pytest.approx(order.deadline_s + 7200, abs=60)


def test_the_token_of_the_node_may_little_and_not_for_long(
    open_account: Open, tmp_path: Path
) -> None:
    cloud, emulator = open_account()
    order = order_one(cloud)
    requests = {request.kind: request for request in cloud.requests(order)}
    made = cloud.create(requests["token"], {})
    assert isinstance(made, Token)
    assert made.secret not in repr(made)
    (body,) = sent(emulator, "POST", "/profile/tokens")
    assert body["scopes"] == "linodes:read_write"
    expiry_s = datetime.fromisoformat(body["expiry"]).replace(tzinfo=UTC).timestamp()
    assert order.deadline_s < expiry_s < order.deadline_s + 24 * 3600
    client = Client(Credentials(made.secret, emulator.url, "the node"))
    assert client.list("/linode/instances") == []
    with pytest.raises(Refused, match="not authorized"):
        client.list("/volumes")


def test_a_token_that_may_not_mint_is_said_and_none_is_asked_for(open_account: Open) -> None:
    cloud, _ = open_account(scopes="linodes:read_write volumes:read_write firewall:read_write")
    order = order_one(cloud)
    assert not cloud.obstacles()
    (warning,) = cloud.warnings(order)
    assert "cannot destroy itself at its deadline" in warning
    assert "token" not in {request.kind for request in cloud.requests(order)}
    assert cloud.examine() == [
        "without account:read_write a node cannot destroy itself at its deadline"
    ]


def test_scopes_that_are_missing_are_named(open_account: Open) -> None:
    cloud, _ = open_account(scopes="linodes:read_write account:read_only")
    assert cloud.obstacles() == [
        "the token of a test lacks volumes:read_write, firewall:read_write"
    ]


@pytest.mark.parametrize("kind", ["lost-reply", "cut", "408", "500", "502-html", "429"])
@pytest.mark.parametrize("path", ["/linode/instances", "/volumes", "/networking/firewalls"])
def test_a_create_whose_answer_is_doubtful_makes_one_thing(
    open_account: Open, tmp_path: Path, kind: str, path: str
) -> None:
    cloud, emulator = open_account()
    order = order_one(cloud)
    emulator.inject({"method": "POST", "path": f"{path}$", "kind": kind, "retry_after": 0})
    create(cloud, order, tmp_path)
    labels = [item.label for item in cloud.find_all()]
    assert len(labels) == len(set(labels)) == 4


def test_a_label_that_somebody_has_is_refused_at_once(cloud: LinodeCloud, tmp_path: Path) -> None:
    order = order_one(cloud)
    create(cloud, order, tmp_path)
    with pytest.raises(LabelTaken, match="firewall segaway-sky-ab123-fw on Linode already"):
        create(cloud, order, tmp_path, "firewall", "node")


@pytest.mark.parametrize(
    ("kind", "error", "words"),
    [
        ("no-capacity", NoCapacity, "No g2-gpu-rtx4000a1-s left in "),
        ("limit", Refused, "Trying again will not help"),
    ],
)
def test_a_refusal_is_told_for_what_it_is(
    open_account: Open, tmp_path: Path, kind: str, error: type[CloudError], words: str
) -> None:
    cloud, emulator = open_account()
    emulator.inject({"method": "POST", "path": "/linode/instances$", "kind": kind})
    with pytest.raises(error, match=words):
        create(cloud, order_one(cloud), tmp_path)
    assert len(sent(emulator, "POST", "/linode/instances")) == 1


def test_a_token_that_is_wrong_is_said(open_account: Open) -> None:
    _, emulator = open_account()
    client = Client(Credentials("wrong", emulator.url, "a test"))
    with pytest.raises(Refused, match="Invalid Token") as caught:
        client.list("/volumes")
    assert "The token of a test is wrong" in caught.value.fix


def test_the_limits_wait_is_as_long_as_the_api_asks(open_account: Open, waits: Waits) -> None:
    cloud, emulator = open_account()
    emulator.inject({"method": "GET", "path": "/volumes", "kind": "429", "retry_after": 7})
    cloud._client.list("/volumes")
    assert waits == [7.0]


def test_reads_are_repeated_until_they_are_answered(open_account: Open, waits: Waits) -> None:
    cloud, emulator = open_account()
    for kind in ("cut", "500", "502-html", "408", "lost-reply"):
        emulator.inject({"method": "GET", "path": "/volumes", "kind": kind})
        assert cloud._client.list("/volumes") == []
    assert len(waits) == 5


def test_a_cloud_that_is_silent_is_given_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A server that takes the connection and never answers: requests would wait for ever."""
    monkeypatch.setattr(api, "READ_TIMEOUT_S", 0.1)
    monkeypatch.setattr(api, "PATIENCE_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/v4"
        client = Client(Credentials("x", url, "a test"))
        with pytest.raises(CloudSilent, match="did not answer GET /volumes"):
            client.list("/volumes")


def test_each_thread_has_a_connection_of_its_own(cloud: LinodeCloud) -> None:
    found: list[Any] = [cloud._client._open()]
    thread = threading.Thread(target=lambda: found.append(cloud._client._open()))
    thread.start()
    thread.join()
    assert found[0] is not found[1]
    assert cloud._client._open() is found[0]


def make_whole(cloud: LinodeCloud, folder: Path) -> tuple[Order, Node]:
    """A node that runs, with its volume."""
    order, values = order_one(cloud), make_values(folder)
    for request in cloud.requests(order):
        if request.kind:
            values[request.kind] = cloud.create(request, values).id
        else:
            cloud.finish(request, values, 10)
            cloud.finish(request, values, 10)  # safe to repeat
    return order, cloud.wait_node(order.label("node"), 10)


def test_a_volume_is_attached_and_at_last_detached(open_account: Open, tmp_path: Path) -> None:
    cloud, emulator = open_account()
    order, node = make_whole(cloud, tmp_path)
    volume = cloud.find("volume", order.volume_label)
    assert isinstance(volume, Volume)
    assert volume.node == node.id
    assert volume.path == f"/dev/disk/by-id/scsi-0Linode_Volume_{order.volume_label}"
    for kind in DESTROY_ORDER:
        cloud.destroy(kind, order.label(kind))
        cloud.destroy(kind, order.label(kind))  # already gone is success
    assert not cloud.find_all()
    paths = [f"{r.method} {r.path}" for r in emulator.requests if r.method != "GET"]
    detached = paths.index(f"POST /v4/volumes/{volume.id}/detach")
    assert detached < paths.index(f"DELETE /v4/linode/instances/{node.id}")


@pytest.mark.parametrize("restricted", [False, True])
def test_a_run_whose_name_begins_as_anothers_node_is_not_taken_for_it(
    open_account: Open, tmp_path: Path, restricted: bool
) -> None:
    cloud, _ = open_account(restricted=restricted)
    other = order_one(cloud, "a-b2345-node-zzzzz")
    create(cloud, other, tmp_path)
    assert cloud.find_node("segaway-a-b2345-node") is None
    cloud.destroy("node", "segaway-a-b2345-node")
    assert cloud.find_node(other.label("node"))


def test_a_node_that_its_guard_destroys_at_the_same_time_is_gone(
    cloud: LinodeCloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order, node = make_whole(cloud, tmp_path)
    find = cloud._find_raw

    def find_at_last(*arguments: Any) -> Any:
        raw = find(*arguments)
        path = f"/linode/instances/{node.id}"
        cloud._client.delete(path)
        wait_until(lambda: cloud._client.get(path) is None)
        return raw

    monkeypatch.setattr(cloud, "_find_raw", find_at_last)
    cloud.destroy("node", order.label("node"))
    assert cloud.find_node(order.label("node")) is None


def test_an_api_that_is_not_there_is_not_taken_for_an_empty_one(open_account: Open) -> None:
    """Otherwise all would count as seen gone."""
    _, emulator = open_account()
    wrong = Credentials(emulator.token, f"{emulator.url}/elsewhere", "a test")
    with pytest.raises(CloudError, match="knows no /volumes"):
        Client(wrong).list("/volumes")


def test_a_token_that_cannot_be_looked_for_does_not_count_as_gone(
    open_account: Open, tmp_path: Path
) -> None:
    """A laptop may have been given another token since."""
    _, emulator = open_account()
    lean = emulator.state.add_token("lean", "linodes:read_write")
    with pytest.raises(Refused):
        LinodeCloud(Client(Credentials(lean.secret, emulator.url, "a test"))).destroy("token", "x")


def test_a_volume_that_could_not_be_tagged_may_hold_anything(
    open_account: Open, tmp_path: Path
) -> None:
    cloud, _ = open_account(restricted=True)
    order = order_one(cloud)
    create(cloud, order, tmp_path, "volume")
    volume = cloud.find("volume", order.volume_label)
    assert isinstance(volume, Volume)
    assert volume.data == "unknown"


def test_a_volume_is_not_taken_from_a_node_that_lives(cloud: LinodeCloud, tmp_path: Path) -> None:
    order, _ = make_whole(cloud, tmp_path)
    with pytest.raises(CloudError, match="is attached to segaway-sky-ab123-node"):
        cloud.destroy("volume", order.volume_label)
    assert cloud.find("volume", order.volume_label)


def test_a_volume_knows_what_it_holds_once_it_is_told(cloud: LinodeCloud, tmp_path: Path) -> None:
    order = order_one(cloud)
    create(cloud, order, tmp_path, "volume")
    for _ in range(2):
        cloud.mark_volume(order.volume_label, "0123456789abcdef" * 4)
    volume = cloud.find("volume", order.volume_label)
    assert isinstance(volume, Volume)
    assert volume.data == "0123456789abcdef"
    assert volume.usd_per_month == pytest.approx(0.10 * volume.size_gib)


def test_a_node_that_never_boots_is_given_up(open_account: Open, tmp_path: Path) -> None:
    cloud, emulator = open_account()
    order = order_one(cloud)
    emulator.inject({"method": "POST", "path": "/linode/instances$", "kind": "never-boots"})
    create(cloud, order, tmp_path)
    with pytest.raises(NodeLost, match="was not running after 0 s"):
        cloud.wait_node(order.label("node"), 0.2)


def test_what_is_somebody_elses_is_not_ours(open_account: Open) -> None:
    cloud, emulator = open_account()
    client = Client(Credentials(emulator.token, emulator.url, "a test"))
    client.post("/volumes", {"label": "segaway", "region": "us-ord", "size": 10})
    client.post("/volumes", {"label": "my-segaway-x-vol", "region": "us-ord", "size": 10})
    assert cloud.find_all() == []


@pytest.mark.parametrize(
    ("environ", "token", "url"),
    [
        ({"LINODE_TOKEN": "a", "LINODE_CLI_TOKEN": "b"}, "a", "https://api.linode.com/v4"),
        ({"LINODE_CLI_TOKEN": "b"}, "b", "https://api.linode.com/v4"),
        ({"LINODE_TOKEN": "a", "LINODE_URL": "http://h:1"}, "a", "http://h:1/v4"),
        ({"LINODE_TOKEN": "a", "LINODE_URL": "http://h:1/v4beta/"}, "a", "http://h:1/v4beta"),
    ],
)
def test_the_token_comes_from_the_environment(
    environ: dict[str, str], token: str, url: str
) -> None:
    found = find_credentials(environ)
    assert (found.token, found.url) == (token, url)


def test_or_from_linode_clis_own_file(tmp_path: Path) -> None:
    config = tmp_path / ".config" / "linode-cli"
    config.parent.mkdir()
    config.write_text("[DEFAULT]\ndefault-user = me\n\n[me]\ntoken = abc%def\nregion = us-ord\n")
    found = find_credentials({"HOME": str(tmp_path)})
    assert (found.token, found.source) == ("abc%def", str(config))


def test_without_a_token_it_is_said_where_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(CloudError, match="no token for Linode") as caught:
        find_credentials({"HOME": str(tmp_path)})
    assert "LINODE_TOKEN" in caught.value.fix


def test_the_own_address_is_asked_for_and_a_silent_server_is_no_guess() -> None:
    class Teller(http.server.BaseHTTPRequestHandler):
        answer = b"192.0.2.7\n"

        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.answer)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Teller) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        assert find_own_network(url) == "192.0.2.7/32"
        Teller.answer = b"<html>log in to our network</html>"
        with pytest.raises(CloudError, match="address of this machine") as caught:
            find_own_network(url)
        server.shutdown()
    assert "--ssh-from" in caught.value.fix


def test_an_account_without_an_image_that_we_know_is_said(open_account: Open) -> None:
    cloud, emulator = open_account()
    order = order_one(cloud)
    emulator.state.images.clear()
    with pytest.raises(CloudError, match="lists neither the image linode/ubuntu"):
        cloud.requests(order)


def test_a_kept_volume_that_is_gone_by_now_is_said(cloud: LinodeCloud) -> None:
    order = replace(order_one(cloud), is_volume_kept=True)
    (request,) = (r for r in cloud.requests(order) if r.kind == "volume")
    assert request.action == "GET /volumes"
    with pytest.raises(CloudError, match="which was to be used again, is gone") as caught:
        cloud.create(request, {})
    assert "Run again" in caught.value.fix


def test_a_volume_that_another_node_took_is_not_fought_for(
    cloud: LinodeCloud, tmp_path: Path
) -> None:
    order, _ = make_whole(cloud, tmp_path)
    volume = cloud.find("volume", order.volume_label)
    assert volume
    other = replace(order, run="other-xy789")
    node = create(cloud, other, tmp_path, "firewall", "node")
    assert node
    attach = cloud.requests(other)[-1]
    with pytest.raises(CloudError, match="is gone or attached to another node"):
        cloud.finish(attach, {"volume": volume.id, "node": node.id}, 5)


def test_a_node_that_is_gone_is_not_waited_for(cloud: LinodeCloud) -> None:
    with pytest.raises(NodeLost, match="The node segaway-nobody-node is gone"):
        cloud.wait_node("segaway-nobody-node", 5)


def test_a_volume_that_a_list_leaves_out_for_once_is_marked_all_the_same(
    open_account: Open, tmp_path: Path
) -> None:
    cloud, emulator = open_account()
    order = order_one(cloud)
    create(cloud, order, tmp_path, "volume")
    emulator.inject({"method": "GET", "path": "/volumes$", "kind": "shifting-pages"})
    cloud.mark_volume(order.volume_label, "0123456789abcdef")
    volume = cloud.find("volume", order.volume_label)
    assert isinstance(volume, Volume)
    assert volume.data == "0123456789abcdef"

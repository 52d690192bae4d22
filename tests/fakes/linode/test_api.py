"""What the emulated API does with requests, as those who use it have seen the real one do it."""

import base64
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.linode import Options, serve
from tests.fakes.linode.conftest import KEY, Client, Clock, encode, make_body

INSTANCES = "/linode/instances"


def make_volume(client: Client, label: str = "data", **more: Any) -> Any:
    return client.good("POST", "/volumes", {"label": label, "region": "us-ord", **more})


def test_an_instance_is_provisioned_then_boots_then_runs(client: Client, clock: Clock) -> None:
    path = f"{INSTANCES}/{client.make()['id']}"
    seen = []
    for _ in range(4):
        seen.append(client.good("GET", path)["status"])
        clock.now_s += 0.2
    assert seen == ["provisioning", "booting", "running", "running"]


def test_an_instance_that_is_not_to_be_booted_is_offline(client: Client, clock: Clock) -> None:
    number = client.make(booted=False)["id"]
    clock.now_s += 1
    assert client.good("GET", f"{INSTANCES}/{number}")["status"] == "offline"


def test_secrets_are_never_told(client: Client) -> None:
    answer = client.make(metadata={"user_data": encode({"runcmd": ["true"]})}, root_pass="Secret1!")
    assert answer["has_user_data"] is True
    assert not {"metadata", "root_pass", "authorized_keys"} & set(answer)


def test_a_label_belongs_to_one_instance(client: Client) -> None:
    client.make()
    status, field, reason = client.refused("POST", INSTANCES, make_body())
    assert (status, field) == (400, "label")
    assert "unique" in reason


def test_a_label_is_free_when_its_instance_is_gone(client: Client, clock: Clock) -> None:
    number = client.make()["id"]
    clock.now_s += 1
    client.good("DELETE", f"{INSTANCES}/{number}")
    clock.now_s += 1
    assert client.make()["id"] != number


def test_a_busy_instance_is_not_touched(client: Client, clock: Clock) -> None:
    number = client.make()["id"]
    for method, path in (("POST", "/reboot"), ("POST", "/shutdown"), ("DELETE", "")):
        refusal = client.refused(method, f"{INSTANCES}/{number}{path}")
        assert refusal == (400, None, "Linode busy.")
    volume = make_volume(client)["id"]
    attach = client.refused("POST", f"/volumes/{volume}/attach", {"linode_id": number})
    assert attach[2] == "Linode busy."
    assert client.good("PUT", f"{INSTANCES}/{number}", {"tags": ["tag"]})["tags"] == ["tag"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"region": None}, "region"),
        ({"type": "nope"}, "type"),
        ({"region": "us-iad"}, "region"),
        ({"region": "us-den-1"}, "type"),
        ({"label": "a--b"}, "label"),
        ({"image": "linode/nope"}, "image"),
        ({"tags": ["no"]}, "tags"),
        ({"tags": ["x" * 51]}, "tags"),
        ({"colour": "red"}, "colour"),
        ({"firewall_id": 99}, "firewall_id"),
        ({"interface_generation": "linode", "firewall_id": 1}, "firewall_id"),
        ({"maintenance_policy": "nope"}, "maintenance_policy"),
        ({"authorized_keys": ["nonsense"]}, "authorized_keys"),
        ({"metadata": {"user_data": "#!"}}, "metadata.user_data"),
        ({"metadata": {"user_data": "A" * 65536}}, "metadata.user_data"),
        ({"metadata": {"user_data": "AAAA"}, "image": "linode/alpine3.19"}, "metadata.user_data"),
        ({"boot_size": 100}, "boot_size"),
    ],
)
def test_a_create_that_is_wrong_is_refused_by_its_field(
    client: Client, changes: dict[str, Any], field: str
) -> None:
    status, found, _ = client.refused("POST", INSTANCES, make_body(**changes))
    assert (status, found) == (400, field)
    assert not client.list(INSTANCES)


def test_an_image_needs_somebody_who_can_log_in(client: Client) -> None:
    reason = "Must provide valid root_pass, authorized_keys, or authorized_users"
    body = make_body(authorized_keys=[])
    assert client.refused("POST", INSTANCES, body) == (400, None, reason)


def test_user_data_of_the_greatest_size_is_taken(client: Client) -> None:
    content = base64.b64encode(b"#cloud-config\n".ljust(49149, b"#")).decode()
    assert client.make(metadata={"user_data": content})["has_user_data"]


def test_what_is_sold_out_is_refused_with_403(client: Client) -> None:
    body = make_body(type="g1-gpu-rtx6000-1")
    status, _, reason = client.refused("POST", INSTANCES, body)
    assert status == 403
    assert "not currently available in the selected region" in reason


def test_a_firewall_guards_an_instance_until_it_is_gone(client: Client, clock: Clock) -> None:
    rules = {"inbound_policy": "DROP", "outbound_policy": "ACCEPT", "inbound": []}
    firewall = client.good("POST", "/networking/firewalls", {"label": "wall", "rules": rules})
    number = client.make(firewall_id=firewall["id"])["id"]
    path = f"/networking/firewalls/{firewall['id']}/devices"
    assert [row["entity"]["id"] for row in client.list(path)] == [number]
    clock.now_s += 1
    client.good("DELETE", f"{INSTANCES}/{number}")
    clock.now_s += 1
    assert not client.list(path)


def test_a_linode_interface_has_the_firewall_that_it_names(client: Client) -> None:
    rules = {"inbound_policy": "DROP", "outbound_policy": "ACCEPT"}
    firewall = client.good("POST", "/networking/firewalls", {"label": "wall", "rules": rules})
    ends = {"firewall_id": firewall["id"], "public": {}}
    client.make(interface_generation="linode", interfaces=[ends])
    devices = client.list(f"/networking/firewalls/{firewall['id']}/devices")
    assert [row["entity"]["type"] for row in devices] == ["linode_interface"]


def test_a_linode_interface_without_a_firewall_is_refused(client: Client) -> None:
    body = make_body(interface_generation="linode", interfaces=[{"public": {}}])
    assert client.refused("POST", INSTANCES, body)[1] == "interfaces"


def test_a_volume_is_attached_at_once_and_ready_a_little_later(
    client: Client, clock: Clock
) -> None:
    number = client.make()["id"]
    clock.now_s += 1
    volume = make_volume(client)
    path = f"/volumes/{volume['id']}"
    answer = client.good("POST", f"{path}/attach", {"linode_id": number})
    assert (answer["linode_id"], answer["status"], answer["io_ready"]) == (
        number,
        "creating",
        False,
    )
    clock.now_s += 0.2
    found = client.good("GET", path)
    assert (found["status"], found["io_ready"]) == ("active", True)


def test_a_detached_volume_is_attached_for_a_while(client: Client, clock: Clock) -> None:
    number = client.make()["id"]
    clock.now_s += 1
    volume = make_volume(client, linode_id=number)
    clock.now_s += 0.2
    path = f"/volumes/{volume['id']}"
    assert client.good("POST", f"{path}/detach") == {}
    assert client.good("GET", path)["linode_id"] == number
    clock.now_s += 0.2
    assert client.good("GET", path)["linode_id"] is None


def test_an_attached_volume_is_neither_deleted_nor_attached(client: Client, clock: Clock) -> None:
    number = client.make()["id"]
    clock.now_s += 1
    path = f"/volumes/{make_volume(client, linode_id=number)['id']}"
    clock.now_s += 0.2
    assert client.refused("DELETE", path)[0] == 400
    assert (
        "is already attached" in client.refused("POST", f"{path}/attach", {"linode_id": number})[2]
    )


def test_a_volume_of_another_region_is_not_attached(client: Client, clock: Clock) -> None:
    number = client.make()["id"]
    clock.now_s += 1
    volume = client.good("POST", "/volumes", {"label": "far", "region": "us-sea"})
    body = {"linode_id": number}
    assert client.refused("POST", f"/volumes/{volume['id']}/attach", body)[1] == "linode_id"


def test_the_volumes_of_a_deleted_instance_stay(client: Client, clock: Clock) -> None:
    number = client.make()["id"]
    clock.now_s += 1
    volume = make_volume(client, linode_id=number)["id"]
    clock.now_s += 0.2
    client.good("DELETE", f"{INSTANCES}/{number}")
    clock.now_s += 0.2
    assert client.send("GET", f"{INSTANCES}/{number}").status_code == 404
    assert client.good("GET", f"/volumes/{volume}")["linode_id"] is None


def test_a_token_that_has_expired_is_worth_nothing(client: Client, clock: Clock) -> None:
    expiry = client.emulator.state.format_time(clock.now_s + 60)
    body = {"label": "short", "scopes": "linodes:read_write", "expiry": expiry}
    client.token = client.good("POST", "/profile/tokens", body)["token"]
    client.good("GET", INSTANCES)
    clock.now_s += 61
    assert client.refused("GET", INSTANCES) == (401, None, "Invalid Token")


def test_a_token_does_what_its_scopes_say_and_no_more(client: Client) -> None:
    body = {"label": "narrow", "scopes": "linodes:read_write volumes:read_only account:read_write"}
    client.token = client.good("POST", "/profile/tokens", body)["token"]
    client.make()
    client.good("GET", "/volumes")
    status, _, reason = client.refused("POST", "/volumes", {"label": "x", "region": "us-ord"})
    assert (status, reason) == (401, "Your OAuth token is not authorized to use this endpoint.")
    wider = {"label": "wider", "scopes": "volumes:read_write"}
    assert client.refused("POST", "/profile/tokens", wider)[1] == "scopes"
    assert client.send("GET", "/profile").headers["X-OAuth-Scopes"] == body["scopes"]


def test_a_restricted_user_has_grants_and_no_tags(tmp_path: Path) -> None:
    with serve(tmp_path, options=Options(restricted=True)) as emulator:
        client = Client(emulator, tmp_path)
        assert client.good("GET", "/profile")["restricted"]
        assert client.good("GET", "/profile/grants")["global"]["add_linodes"]
        assert client.refused("POST", INSTANCES, make_body(tags=["tag"]))[0] == 403


def test_grants_of_an_unrestricted_user_are_an_empty_answer(client: Client) -> None:
    answer = client.send("GET", "/profile/grants")
    assert (answer.status_code, answer.content) == (204, b"")


def test_the_21st_create_in_15_seconds_is_too_many(client: Client, clock: Clock) -> None:
    for number in range(20):
        client.make(f"node-{number}")
    answer = client.send("POST", INSTANCES, make_body("one-more"))
    assert (answer.status_code, answer.json()) == (
        429,
        {"errors": [{"reason": "Too many requests"}]},
    )
    clock.now_s += int(answer.headers["Retry-After"])
    client.make("one-more")


def test_availability_has_several_pages(client: Client) -> None:
    first = client.good("GET", "/regions/availability?page_size=25")
    assert first["pages"] > 2
    rows = [
        row
        for page in range(1, first["pages"] + 1)
        for row in client.good("GET", f"/regions/availability?page_size=25&page={page}")["data"]
    ]
    assert len(rows) == first["results"] == len({(row["region"], row["plan"]) for row in rows})


@pytest.mark.parametrize(
    ("field", "value"), [("page_size", "24"), ("page_size", "501"), ("page", "0"), ("page", "x")]
)
def test_pages_have_bounds(client: Client, field: str, value: str) -> None:
    assert client.refused("GET", f"/regions?{field}={value}")[:2] == (400, field)


@pytest.mark.parametrize(
    ("found", "labels"),
    [
        ({"label": "one-1"}, ["one-1"]),
        ({"label": {"+contains": "one"}}, ["one-1", "one-2"]),
        ({"tags": "run:1"}, ["one-1", "two-1"]),
        ({"tags": "run"}, []),
        ({"tags": {"+contains": "run"}}, ["one-1", "one-2", "two-1"]),
        ({"tags": "run:1", "label": "two-1"}, ["two-1"]),
        ({"+and": [{"tags": "run:1"}, {"label": {"+neq": "one-1"}}]}, ["two-1"]),
        ({"+or": [{"label": "one-1"}, {"label": "one-2"}]}, ["one-1", "one-2"]),
        ({"+order_by": "label", "+order": "desc"}, ["two-1", "one-2", "one-1"]),
        ({"id": {"+gte": 0}}, ["one-1", "one-2", "two-1"]),
        ({"id": {"+lt": 0}}, []),
    ],
)
def test_a_filter_lets_through_what_it_says(
    client: Client, found: dict[str, Any], labels: list[str]
) -> None:
    for label, tag in (("one-1", "run:1"), ("one-2", "run:2"), ("two-1", "run:1")):
        client.make(label, tags=[tag])
    assert [row["label"] for row in client.list(INSTANCES, found)] == labels


def test_what_cannot_be_filtered_on_is_named(client: Client) -> None:
    refusal = client.refused("GET", INSTANCES, found={"status": "running"})
    assert refusal == (400, "X-Filter", "Cannot filter on status")


def test_a_create_is_an_event_that_finishes(client: Client, clock: Clock) -> None:
    number = client.make()["id"]
    found = {"entity.id": number, "entity.type": "linode", "action": "linode_create"}
    seen = []
    for _ in range(3):
        seen.append(client.list("/account/events", found)[0]["status"])
        clock.now_s += 0.11
    assert seen == ["scheduled", "started", "finished"]


def test_prices_depend_on_the_region(client: Client) -> None:
    plan = client.good("GET", "/linode/types/g2-gpu-rtx4000a1-s")
    assert plan["price"] == {"hourly": 0.52, "monthly": 350}
    assert {row["id"]: row["hourly"] for row in plan["region_prices"]}["id-cgk"] > 0.52


def test_keys_of_a_user_are_those_of_the_profile(client: Client) -> None:
    client.good("POST", "/profile/sshkeys", {"label": "key", "ssh_key": KEY})
    client.make(authorized_keys=[], authorized_users=["segaway-tests"])
    instance = next(iter(client.emulator.state.instances.values()))
    assert instance.authorized_keys == [KEY]

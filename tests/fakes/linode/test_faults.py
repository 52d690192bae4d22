"""What goes wrong on demand."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.conftest import wait_until
from tests.fakes.linode import Options, serve
from tests.fakes.linode.conftest import Client, Clock, make_body

INSTANCES = "/linode/instances"
CREATE = {"method": "POST", "path": "instances$"}


def test_a_lost_reply_leaves_an_instance_behind(client: Client) -> None:
    client.emulator.inject({**CREATE, "kind": "lost-reply"})
    with pytest.raises(requests.ConnectionError):
        client.make()
    assert [row["label"] for row in client.list(INSTANCES)] == ["node-1"]


def test_a_cut_request_leaves_nothing_behind(client: Client) -> None:
    client.emulator.inject({**CREATE, "kind": "cut"})
    with pytest.raises(requests.ConnectionError):
        client.make()
    assert not client.list(INSTANCES)
    client.make()


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("408", 408),
        ("429", 429),
        ("500", 500),
        ("502-html", 502),
        ("no-capacity", 403),
        ("limit", 400),
        ("duplicate-label", 400),
    ],
)
def test_a_refusal_comes_as_often_as_it_is_told(client: Client, kind: str, status: int) -> None:
    client.emulator.inject({**CREATE, "kind": kind, "times": 2})
    codes = [client.send("POST", INSTANCES, make_body()).status_code for _ in range(3)]
    assert codes == [status, status, 200]
    assert len(client.list(INSTANCES)) == 1


def test_too_many_requests_say_when_to_come_again(client: Client) -> None:
    client.emulator.inject({"path": "profile", "kind": "429", "retry_after": 7})
    assert client.send("GET", "/profile").headers["Retry-After"] == "7"


def test_a_bad_gateway_speaks_html(client: Client) -> None:
    client.emulator.inject({"path": "profile", "kind": "502-html"})
    answer = client.send("GET", "/profile")
    assert answer.headers["Content-Type"] == "text/html"


def test_a_slow_answer_takes_its_time(client: Client) -> None:
    client.emulator.inject({"path": "profile", "kind": "slow", "seconds": 0.3})
    began = time.monotonic()
    client.good("GET", "/profile")
    assert time.monotonic() - began >= 0.3


def test_the_request_that_a_fault_names_by_its_number_is_hit(client: Client) -> None:
    client.emulator.inject({"call": 1, "kind": "500"})
    codes = [client.send("GET", "/profile").status_code for _ in range(3)]
    assert codes == [200, 500, 200]


def test_faults_by_chance_are_the_same_each_time(tmp_path: Path) -> None:
    def draw(seed: int) -> list[int]:
        with serve(tmp_path) as emulator:
            emulator.inject({"path": "profile", "kind": "500", "rate": 0.5, "seed": seed})
            client = Client(emulator, tmp_path)
            return [client.send("GET", "/profile").status_code for _ in range(20)]

    assert draw(1) == draw(1) != draw(2)
    assert set(draw(1)) == {200, 500}


def test_a_price_can_be_nothing(client: Client) -> None:
    client.emulator.inject({"path": "linode/types", "kind": "price-0"})
    prices = [row["price"] for row in client.list("/linode/types")]
    assert {price["hourly"] for price in prices} == {0.0}
    assert all(row["price"]["hourly"] for row in client.list("/linode/types"))


def test_a_list_can_change_between_two_pages(client: Client) -> None:
    client.emulator.inject({"path": "availability", "nth": 1, "kind": "shifting-pages"})
    path = "/regions/availability?page_size=25&page="
    first, second = client.good("GET", f"{path}1"), client.good("GET", f"{path}2")
    assert second["results"] == first["results"] - 1
    rows = client.good("GET", "/regions/availability?page_size=500")["data"]
    assert rows[25] not in first["data"] + second["data"]


def test_events_can_come_late(client: Client, clock: Clock) -> None:
    client.emulator.inject({"path": "events", "kind": "event-lag", "seconds": 5})
    client.list("/account/events")
    client.make()
    assert not client.list("/account/events")
    clock.now_s += 5
    assert client.list("/account/events")


def test_an_instance_can_boot_for_ever(client: Client, clock: Clock) -> None:
    client.emulator.inject({**CREATE, "kind": "never-boots"})
    number = client.make()["id"]
    clock.now_s += 0.2
    client.good("GET", "/profile")
    clock.now_s += 1e6
    assert client.good("GET", f"{INSTANCES}/{number}")["status"] == "booting"
    client.good("DELETE", f"{INSTANCES}/{number}")


@pytest.mark.parametrize(("when", "is_made"), [("before", False), ("sent", True)])
def test_a_client_dies_at_its_request(client: Client, when: str, is_made: bool) -> None:
    client.emulator.inject({**CREATE, "kind": "kill", "when": when})
    killed = run_client(client)
    assert killed.returncode == -signal.SIGKILL
    assert bool(client.list(INSTANCES)) == is_made


def test_a_client_dies_with_the_answer_in_its_hands(client: Client) -> None:
    client.emulator.inject({**CREATE, "kind": "kill", "when": "replied"})
    killed = run_client(client)
    assert killed.returncode == -signal.SIGKILL
    assert client.emulator.find_requests("POST", INSTANCES)[0].status == 200


def run_client(client: Client) -> "subprocess.CompletedProcess[str]":
    """A process that creates an instance and then waits to be killed."""
    script = (
        "import json, os, sys, time, urllib.request as u\n"
        "head = {'Authorization': 'Bearer test-token', 'X-Segaway-Pid': str(os.getpid())}\n"
        "u.urlopen(u.Request(sys.argv[1], sys.argv[2].encode(), head)).read()\n"
        "time.sleep(20)\n"
    )
    argv = [sys.executable, "-c", script, client.emulator.url + INSTANCES, json.dumps(make_body())]
    return subprocess.run(argv, capture_output=True, text=True, timeout=15, check=False)


@pytest.mark.parametrize(
    "fault", [{"kind": "nonsense"}, {"kind": "cut", "nht": 1}, {"kind": "kill"}]
)
def test_a_fault_that_makes_no_sense_is_refused(client: Client, fault: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"fault|when"):
        client.emulator.inject(fault)


def test_a_process_of_its_own_reads_its_faults_anew_and_writes_down_its_requests(
    tmp_path: Path,
) -> None:
    faults, record = tmp_path / "faults.json", tmp_path / "record.jsonl"
    files = ["--faults", str(faults), "--record", str(record)]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.fakes.linode", "--folder", str(tmp_path / "c"), *files],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout
        url = process.stdout.readline().strip()
        assert requests.get(f"{url}/regions", timeout=5).status_code == 200
        faults.write_text('[{"path": "regions", "kind": "500"}]')
        assert requests.get(f"{url}/regions", timeout=5).status_code == 500
        assert requests.get(f"{url}/regions", timeout=5).status_code == 200
        lines = [json.loads(line) for line in record.read_text().splitlines()]
        assert [line["call"] for line in lines] == [0, 1, 2]
    finally:
        process.terminate()
        assert process.wait(10) == 0


def test_an_instance_is_listed_while_it_is_deleted(tmp_path: Path) -> None:
    with serve(tmp_path, options=Options(delay_s=0.3)) as emulator:
        client = Client(emulator, tmp_path)
        number = client.make()["id"]
        client.wait_status(number, "running")
        client.good("DELETE", f"{INSTANCES}/{number}")
        assert client.good("GET", f"{INSTANCES}/{number}")["status"] == "deleting"
        wait_until(lambda: not client.list(INSTANCES), 5)

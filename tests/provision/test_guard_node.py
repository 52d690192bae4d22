"""The dead-man switch on a node of the test bed, put there by the user data, with a real job."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from provision.userdata import Guard, build_user_data
from remote import shell
from remote.calls import call_agent, install_agent
from remote.volume import mount_volume
from tests.conftest import Connect, Start, wait_until
from tests.fakes.bed import Bed
from tests.fakes.links import GATEWAY
from tests.fakes.nodes import BedNode
from tests.provision.api import BUSY, Api

ROOT = "/mnt/segaway"
RUN = "r-abcde"
LABEL = f"segaway-{RUN}-node"
FAKES = "/opt/fakes"
# Whatever it is asked for, it notes.
SYSTEMCTL = b'#!/bin/sh\necho "$*" >> /opt/fakes/asked\n'
OBEDIENT = "trap 'echo 7 > checkpoint; exit 143' TERM; echo on; while :; do sleep 0.1; done"
STUBBORN = "trap '' TERM; echo on; while :; do sleep 0.1; done"


def just_now() -> float:
    """A time that has surely passed: a witness tells it in whole seconds."""
    return time.time() - 2


class Rented:
    """A node as it comes from a cloud: booted with user data, its volume mounted."""

    def __init__(self, node: BedNode, connect: Connect, api: Api) -> None:
        self.node, self.api = node, api
        self._connect = connect
        self.mounted_at_end: list[str] = []
        api.add(7, LABEL, node.address)
        api.on_delete = lambda: self.mounted_at_end.append(self.find_mounted())

    def boot(self, **settings: Any) -> None:
        """What cloud-init does at each boot."""
        guard = Guard(
            **{
                **{"run": RUN, "label": LABEL, "api_url": self.api.url(GATEWAY)},
                **{"deadline_s": time.time() + 3600, "idle_s": 600, "root": ROOT},
                **settings,
            }
        )
        text = build_user_data(guard, "", "", "", self.api.token, gpus=0, has_driver=True)
        script = json.loads(text.partition("\n")[2])["bootcmd"][0]
        with self._connect(self.node) as host:
            host.check(shell.make_folder(FAKES))
            host.put(f"{FAKES}/systemctl", SYSTEMCTL)
            host.put("/root/boot.sh", script.encode())
            host.check(["chmod", "755", f"{FAKES}/systemctl"])
            host.check(["sh", "-c", f"PATH={FAKES}:$PATH sh /root/boot.sh"])
            mount_volume(host, self.node.device, ROOT)
        self.wait_alone()

    def adjust(self, **settings: Any) -> None:
        """What only tests change."""
        path = "/etc/segaway/guard.json"
        known = json.loads(self.node.run(["cat", path]).stdout)
        with self._connect(self.node) as host:
            host.put(path, json.dumps({**known, **settings}).encode())
        self.wait_alone()

    def train(self, script: str) -> None:
        """Start a job that says when it is on."""
        run = shell.run_path(ROOT, RUN)
        with self._connect(self.node) as host:
            install_agent(host, ROOT)
            spec = {"argv": ["sh", "-c", script], "cwd": ROOT, "env": {}}
            call_agent(host, ROOT, "start", run, stdin=spec)
            wait_until(lambda: host.run(["grep", "-qx", "on", f"{run}/log.txt"]).code == 0)
        self.wait_alone()

    def wait_alone(self) -> None:
        """Until nobody is connected, as far as the node knows."""
        seen = ["sh", "-c", "grep -hE '^ *[0-9]+: [0-9A-F]+:0016 [0-9A-F:]+ 01 ' /proc/net/tcp*"]
        wait_until(lambda: not self.node.run(seen, check=False).stdout)

    def guard(self, *argv: str, stdin: str = "") -> str:
        line = f"printf %s '{stdin}' | python3 /etc/segaway/guard.py {' '.join(argv)}"
        return self.node.run(["sh", "-c", line], timeout_s=300).stdout

    def tick(self) -> str:
        return self.guard("tick")

    def find_mounted(self) -> str:
        return self.node.run(["findmnt", "-n", "-o", "TARGET", "-M", ROOT], check=False).stdout

    def read_volume(self, path: str) -> str:
        """As the next node will find it."""
        script = f"findmnt -M {ROOT} >/dev/null || mount {ROOT}; cat {ROOT}/{path}"
        return self.node.run(["sh", "-c", script]).stdout

    def count_trainers(self) -> int:
        return self.node.run(["ps", "-eo", "args"]).stdout.count("do sleep 0.1; done")


@pytest.fixture
def api() -> Iterator[Api]:
    api = Api()
    yield api
    api.close()


@pytest.fixture
def rented(bed: Bed, start: Start, connect: Connect, api: Api) -> Rented:
    bed.create_volume("vol", 256)
    return Rented(start(LABEL, "vol"), connect, api)


def test_at_the_deadline_the_job_is_stopped_the_volume_unmounted_and_the_node_deleted(
    rented: Rented, api: Api
) -> None:
    rented.boot()
    rented.train(OBEDIENT)
    assert rented.tick() == ""
    assert rented.count_trainers() == 1
    rented.guard("extend", str(just_now()))
    said = rented.tick()
    assert api.deleted == [7], said
    assert rented.mounted_at_end == [""]
    assert rented.read_volume("checkpoint") == "7\n"
    assert json.loads(rented.read_volume(f".segaway/jobs/{RUN}/job.json"))["state"] == "stopped"


@pytest.mark.parametrize("agent", ["the agent", "no agent", "a broken agent"])
def test_a_job_that_will_not_stop_is_killed(rented: Rented, api: Api, agent: str) -> None:
    rented.boot()
    rented.train(STUBBORN)
    if agent == "no agent":
        rented.node.run(["sh", "-c", f"rm {ROOT}/.segaway/agent-*"])
    elif agent == "a broken agent":
        rented.node.run(["sh", "-c", f"echo spoilt > {ROOT}/.segaway/agent-zz.pyz"])
    rented.adjust(grace_s=1, deadline_s=just_now())
    said = rented.tick()
    assert api.deleted == [7], said
    assert rented.mounted_at_end == [""]
    assert rented.count_trainers() == 0


def test_a_trainer_whose_supervisor_was_killed_is_killed_too(rented: Rented, api: Api) -> None:
    rented.boot()
    rented.train(OBEDIENT)
    job = json.loads(rented.read_volume(f".segaway/jobs/{RUN}/job.json"))
    rented.node.run(["kill", "-9", str(job["supervisor"])])
    rented.guard("extend", str(just_now()))
    rented.tick()
    assert api.deleted == [7]
    assert rented.count_trainers() == 0


def test_who_still_uses_the_volume_does_not_keep_the_node(
    rented: Rented, api: Api, connect: Connect
) -> None:
    rented.boot()
    rented.adjust(deadline_s=just_now(), transfer_s=1)
    with (
        connect(rented.node) as host,
        host.stream(["sh", "-c", f"cd {ROOT} && echo in && cat"]) as use,
    ):
        assert use.read_line() == b"in\n"
        rented.tick()
    assert api.deleted == [7]
    assert rented.mounted_at_end == [""]


def test_a_transfer_in_flight_is_waited_for(rented: Rented, api: Api, connect: Connect) -> None:
    rented.boot()
    rented.guard("extend", str(just_now()))
    noted = ["grep", "-q", "stop_job", "/var/lib/segaway/guard.json"]
    with ThreadPoolExecutor() as pool:
        with connect(rented.node) as host:
            assert host.run(["true"]).code == 0
            tick = pool.submit(rented.tick)
            wait_until(lambda: rented.node.run(noted, check=False).returncode == 0)
            assert not tick.done()
            assert not any(line.startswith("DELETE") for line in api.asked)
        assert "deletes this machine" in tick.result(timeout=60)
    assert api.deleted == [7]


def test_a_node_without_its_volume_goes_all_the_same(rented: Rented, api: Api) -> None:
    rented.boot()
    rented.node.run(["umount", ROOT])
    rented.guard("extend", str(just_now()))
    rented.tick()
    assert api.deleted == [7]


def test_a_full_disk_keeps_no_node(rented: Rented, api: Api) -> None:
    rented.boot()
    rented.train(OBEDIENT)
    rented.node.fill(ROOT)
    rented.guard("extend", str(just_now()))
    rented.tick()
    assert api.deleted == [7]
    assert rented.mounted_at_end == [""]


def test_the_end_goes_on_after_a_reboot(rented: Rented, api: Api) -> None:
    api.moods = [BUSY]
    deadline_s = just_now()
    rented.boot()
    rented.train(OBEDIENT)
    rented.guard("extend", str(deadline_s))
    assert "Linode busy." in rented.tick()
    rented.node.reboot()
    rented.node.wait_up()
    rented.boot()
    assert not api.deleted
    rented.tick()
    assert api.deleted == [7]
    assert rented.mounted_at_end == ["", ""]


def test_a_moved_deadline_survives_a_reboot(rented: Rented, api: Api) -> None:
    rented.boot(deadline_s=time.time() + 1)
    moved_s = time.time() + 5000
    assert json.loads(rented.guard("extend", str(moved_s)))["deadline_s"] == moved_s
    rented.node.reboot()
    rented.node.wait_up()
    rented.boot(deadline_s=time.time() - 1)
    assert json.loads(rented.guard("status"))["deadline_s"] == moved_s
    assert rented.tick() == ""
    assert not api.deleted


def test_a_node_that_nobody_uses_goes(rented: Rented, api: Api, connect: Connect) -> None:
    rented.boot(idle_s=2)
    with connect(rented.node) as host:
        assert host.run(["sleep", "3"]).code == 0
        assert rented.tick() == ""
        assert host.run(["sleep", "3"]).code == 0
        assert rented.tick() == ""
    wait_until(lambda: rented.tick() and api.deleted)
    assert api.deleted == [7]


def test_a_node_whose_results_are_at_home_goes_when_the_laptop_had_its_time(
    rented: Rented, api: Api
) -> None:
    rented.boot()
    rented.train("echo on; sleep 1")
    rented.adjust(linger_s=2)
    job = f".segaway/jobs/{RUN}/job.json"
    wait_until(lambda: '"finished"' in rented.read_volume(job))
    assert rented.tick() == ""
    assert json.loads(rented.guard("fetched"))["fetched"] is True
    rented.tick()
    assert not api.deleted
    wait_until(lambda: rented.tick() and api.deleted)
    assert rented.mounted_at_end == [""]


def test_the_user_data_arms_the_node_with_private_files(rented: Rented) -> None:
    rented.boot()
    rented.boot()
    asked = rented.node.run(["cat", f"{FAKES}/asked"]).stdout.splitlines()
    start = "enable --now --no-block segaway-guard.timer"
    assert asked == ["daemon-reload", start, start]
    listing = rented.node.run(["sh", "-c", "stat -c '%a %n' /etc/segaway/*"]).stdout
    assert listing.splitlines() == [
        f"600 /etc/segaway/{name}" for name in ("close-metadata", "guard.json", "guard.py", "token")
    ]
    service = rented.node.run(["cat", "/etc/systemd/system/segaway-guard.service"]).stdout
    assert "bin/python3 /etc/segaway/guard.py tick\n" in service


def test_only_root_reaches_the_metadata_service(rented: Rented) -> None:
    rented.boot()
    rented.boot()
    rules = rented.node.run(["iptables", "-S", "OUTPUT"]).stdout
    assert rules.count("169.254.169.254/32 -m owner ! --uid-owner 0 -j REJECT") == 1

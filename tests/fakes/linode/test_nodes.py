"""What an instance is when it is a machine."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from remote.errors import HostKeyRefused
from tests.conftest import wait_until
from tests.fakes import links, volumes
from tests.fakes.bed import Bed
from tests.fakes.linode import Options, serve
from tests.fakes.linode.conftest import Client, encode, make_body
from tests.fakes.nodes import BedNode

LOG = "/root/log"


def read(node: BedNode, path: str) -> str:
    return node.run(["cat", path], check=False).stdout


def wait_final(node: BedNode) -> None:
    """Until cloud-init is through."""
    node.run(["cloud-init", "status", "--wait"], timeout_s=20)


@pytest.mark.parametrize("nodes", ["netns", "local"])
def test_an_instance_answers_at_its_address_with_the_host_key_of_its_user_data(
    bed_slot: None, tmp_path: Path, nodes: str
) -> None:
    with serve(tmp_path / "cloud", nodes=nodes, options=Options(delay_s=0.05)) as emulator:
        client = Client(emulator, tmp_path)
        instance = client.rent()
        with client.connect() as host:
            assert host.check(["uname", "-n"]) == b"node-1\n"
        assert emulator.find_node("node-1").address == instance["ipv4"][0]
        assert not emulator.state.complaints


def test_another_host_key_is_refused_by_who_pinned_ours(machines: Client) -> None:
    machines.emulator.inject({"method": "POST", "path": "instances$", "kind": "other-host-key"})
    machines.rent()
    with pytest.raises(HostKeyRefused), machines.connect() as host:
        host.check(["true"])


def test_boot_commands_run_before_sshd_and_run_commands_after(machines: Client) -> None:
    has_sshd = "ps ax | grep -q '[s]shd' && echo yes || echo no"
    config = {
        "bootcmd": [f"echo boot $({has_sshd}) >> {LOG}", ["sh", "-c", f"echo list >> {LOG}"]],
        "runcmd": [f"echo run $({has_sshd}) >> {LOG}"],
    }
    machines.rent(config)
    node = machines.emulator.find_node("node-1")
    wait_final(node)
    assert read(node, LOG).splitlines() == ["boot no", "list", "run yes"]


def test_a_reboot_repeats_the_boot_commands_only(machines: Client) -> None:
    config = {
        "bootcmd": [f"echo boot >> {LOG}", f"cloud-init-per instance x sh -c 'echo per >> {LOG}'"],
        "runcmd": [f"echo run >> {LOG}"],
        "write_files": [{"path": LOG, "content": "file\n", "append": True}],
    }
    instance = machines.rent(config)
    node = machines.emulator.find_node("node-1")
    wait_final(node)
    machines.good("POST", f"/linode/instances/{instance['id']}/reboot")
    machines.wait_status(instance["id"], "running")
    wait_final(node)
    assert read(node, LOG).split() == ["boot", "per", "file", "run", "boot"]


def test_files_are_written_as_they_are_described(machines: Client) -> None:
    entries = [
        {"path": "/etc/plain", "content": "text\n", "permissions": "0600", "owner": "nobody"},
        {"path": "/opt/x/coded", "content": "dGV4dAo=", "encoding": "b64"},
    ]
    machines.rent({"write_files": entries})
    node = machines.emulator.find_node("node-1")
    node.wait_up()
    assert read(node, "/etc/plain") == read(node, "/opt/x/coded") == "text\n"
    assert node.run(["stat", "-c", "%a %U", "/etc/plain"]).stdout == "600 nobody\n"


def test_files_that_would_be_the_host_s_are_not_written(machines: Client) -> None:
    places = ["/usr/local/sbin/segaway-mine", "/home/segaway-mine", "/usr/lib/segaway-mine"]
    machines.rent({"write_files": [{"path": path, "content": "x"} for path in places]})
    node = machines.emulator.find_node("node-1")
    node.wait_up()
    found = [node.run(["test", "-e", path], check=False).returncode for path in places]
    assert found == [0, 0, 1]
    assert not any(Path(path).exists() for path in places)


SERVICE = f"[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo beat >> {LOG}'\n"
TIMER = """[Timer]
OnActiveSec=0
OnUnitActiveSec=100ms
[Install]
WantedBy=timers.target
"""


def test_a_timer_that_was_enabled_once_beats_on_after_a_reboot(machines: Client) -> None:
    units = "/etc/systemd/system"
    arm = f"""
        printf '%s' "$SERVICE" > {units}/beat.service
        printf '%s' "$TIMER" > {units}/beat.timer
        systemctl daemon-reload
        systemctl enable --now --no-block beat.timer
    """
    words = ["env", f"SERVICE={SERVICE}", f"TIMER={TIMER}", "sh", "-c", arm]
    instance = machines.rent({"bootcmd": [["cloud-init-per", "instance", "arm", *words]]})
    node = machines.emulator.find_node("node-1")
    wait_until(lambda: len(read(node, LOG).split()) > 2, 10)
    machines.good("POST", f"/linode/instances/{instance['id']}/reboot")
    machines.wait_status(instance["id"], "running")
    before = len(read(node, LOG).split())
    wait_until(lambda: len(read(node, LOG).split()) > before + 2, 10)
    assert node.run(["systemctl", "is-active", "beat.timer"]).stdout == "active\n"


def test_a_timer_that_was_stopped_beats_no_more(machines: Client) -> None:
    files = {"beat.service": SERVICE, "beat.timer": TIMER}
    entries = [
        {"path": f"/etc/systemd/system/{name}", "content": text} for name, text in files.items()
    ]
    machines.rent({"write_files": entries, "runcmd": ["systemctl enable --now beat.timer"]})
    node = machines.emulator.find_node("node-1")
    wait_until(lambda: read(node, LOG), 10)
    node.run(["systemctl", "disable", "--now", "beat.timer"])
    state = node.run(["systemctl", "is-active", "beat.timer"], check=False)
    assert (state.returncode, state.stdout) == (3, "inactive\n")
    assert node.run(["systemctl", "is-enabled", "beat.timer"], check=False).returncode == 1


def test_a_volume_comes_to_a_running_instance_and_goes_with_its_data(machines: Client) -> None:
    first = machines.rent()
    second = machines.make("node-2", authorized_keys=["ssh-ed25519 AAAA a"])
    machines.wait_status(second["id"], "running")
    volume = machines.good("POST", "/volumes", {"label": "data", "region": first["region"]})
    path = volume["filesystem_path"]
    script = {
        "node-1": f"mkfs.ext4 -q {path}; mount {path} /mnt; echo kept > /mnt/file; umount /mnt",
        "node-2": f"mount {path} /mnt && cat /mnt/file && umount /mnt",
    }
    for instance in (first, second):
        node = machines.emulator.find_node(instance["label"])
        assert node.run(["test", "-e", path], check=False).returncode
        machines.settle(instance["id"])
        machines.good("POST", f"/volumes/{volume['id']}/attach", {"linode_id": instance["id"]})
        wait_until(lambda: machines.good("GET", f"/volumes/{volume['id']}")["io_ready"], 10)
        out = node.run(["sh", "-c", script[instance["label"]]]).stdout
        machines.good("POST", f"/volumes/{volume['id']}/detach")
        wait_until(
            lambda: machines.good("GET", f"/volumes/{volume['id']}")["linode_id"] is None, 10
        )
        assert node.run(["test", "-e", path], check=False).returncode
    assert out == "kept\n"
    assert not machines.emulator.state.complaints


def test_a_volume_that_is_detached_while_it_is_mounted_is_a_complaint(machines: Client) -> None:
    instance = machines.rent()
    volume = machines.good("POST", "/volumes", {"label": "data", "linode_id": instance["id"]})
    wait_until(lambda: machines.good("GET", f"/volumes/{volume['id']}")["io_ready"], 10)
    node, path = machines.emulator.find_node("node-1"), volume["filesystem_path"]
    node.run(["sh", "-c", f"mkfs.ext4 -q {path} && mount {path} /mnt"])
    machines.good("POST", f"/volumes/{volume['id']}/detach")
    machines.settle(instance["id"])
    assert machines.emulator.state.complaints == ["data was detached from node-1 while in use"]
    node.run(["umount", "/mnt"])


def test_user_data_that_cloud_init_refuses_is_ignored_and_a_complaint(machines: Client) -> None:
    wrong = encode({"bootcmd": 3})
    instance = machines.make(metadata={"user_data": wrong})
    machines.wait_status(instance["id"], "running")
    machines.emulator.find_node("node-1").wait_up()
    assert "bootcmd" in machines.emulator.state.complaints[0]


def test_an_instance_that_never_boots_has_nobody_at_its_address(machines: Client) -> None:
    machines.emulator.inject({"method": "POST", "path": "instances$", "kind": "never-boots"})
    instance = machines.make()
    machines.wait_status(instance["id"], "booting")
    with pytest.raises(OSError):  # noqa: PT011  # refused or timed out, as the kernel likes
        socket.create_connection((instance["ipv4"][0], 22), timeout=0.5)


def test_an_address_that_is_used_again_leads_to_another_host_key(machines: Client) -> None:
    machines.emulator.state.options.reuse_addresses = True
    first = machines.rent()
    machines.good("DELETE", f"/linode/instances/{first['id']}")
    wait_until(lambda: not machines.list("/linode/instances"), 10)
    second = machines.make("node-2")
    assert second["ipv4"] == first["ipv4"]
    machines.wait_status(second["id"], "running")
    with pytest.raises(HostKeyRefused), machines.connect("node-2") as host:
        host.check(["true"])


def test_a_machine_that_powers_itself_off_is_booted_by_the_watchdog(machines: Client) -> None:
    instance = machines.rent()
    node = machines.emulator.find_node("node-1")
    node.wait_up()
    boot_id = read(node, "/proc/sys/kernel/random/boot_id")
    # It goes while it says so.
    node.run(["poweroff"], check=False)
    wait_until(
        lambda: any(
            row["action"] == "lassie_reboot" for row in machines.emulator.state.events.values()
        )
    )
    machines.wait_status(instance["id"], "running")
    node.wait_up()
    assert read(node, "/proc/sys/kernel/random/boot_id") != boot_id


def test_a_gpu_plan_has_its_tools_when_the_driver_is_there(machines: Client) -> None:
    machines.emulator.state.options.driver_delay_s = 0.5
    machines.rent()
    node = machines.emulator.find_node("node-1")
    node.wait_up()
    query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    wait_until(lambda: node.run(["sh", "-c", "command -v nvidia-smi"], check=False).stdout, 10)
    assert node.run(query).stdout == "NVIDIA RTX 4000 Ada Generation, 20475\n"
    node.run(["nvidia-ctk", "cdi", "generate", "--output=/etc/cdi/nvidia.yaml"])
    out = node.run(
        [
            *("podman", "run", "--rm", "--device", "nvidia.com/gpu=all"),
            *("localhost/segaway-base:latest", "env"),
        ]
    ).stdout
    assert "SEGAWAY_FAKE_GPU=all" in out


def test_the_api_can_be_reached_from_a_node(machines: Client) -> None:
    machines.rent()
    node = machines.emulator.find_node("node-1")
    url = f"{machines.emulator.node_url}/regions"
    script = f"import urllib.request as u; print(u.urlopen('{url}').status)"
    assert node.run(["python3", "-c", script]).stdout == "200\n"


def test_nothing_is_left_when_the_cloud_ends(bed_slot: None, tmp_path: Path) -> None:
    options = Options(delay_s=0.05, volume_mib=64)
    with serve(tmp_path / "cloud", nodes="netns", options=options) as emulator:
        client = Client(emulator, tmp_path)
        instance = client.rent()
        volume = client.good("POST", "/volumes", {"label": "data", "linode_id": instance["id"]})
        wait_until(lambda: client.good("GET", f"/volumes/{volume['id']}")["io_ready"], 10)
        number = emulator.find_node("node-1").record()["number"]
        path = emulator.bed.find_volume("data")
        assert path
    assert not Path(f"/run/netns/{links.name_space(number)}").exists()
    assert not Path(f"/sys/class/net/{links.name_near(number)}").exists()
    assert not (links.STATE / f"{number}.json").exists()
    assert not volumes.find_devices(path)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_a_cloud_that_was_ended_leaves_nothing_for_long(
    bed_slot: None, tmp_path: Path, end: signal.Signals
) -> None:
    folder = tmp_path / "cloud"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.fakes.linode", "--nodes", "netns", "--folder", str(folder)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    url = process.stdout.readline().strip()
    head = {"Authorization": "Bearer test-token"}
    requests.post(f"{url}/linode/instances", json=make_body(), headers=head, timeout=20)
    bed = Bed(folder)
    wait_until(bed.nodes, 20)
    number = bed.nodes()[0].record()["number"]
    process.send_signal(end)
    process.wait(20)
    assert bool(bed.nodes()) == (end == signal.SIGKILL)
    with serve(folder, nodes="netns"):
        assert not bed.nodes()
        assert not (links.STATE / f"{number}.json").exists()

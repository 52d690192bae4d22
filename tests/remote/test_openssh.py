"""What OpenSSH's client is told, by what it understood."""

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from remote.host import Address
from remote.openssh import (
    Target,
    config_text,
    host_block,
    include_line,
    known_hosts_line,
    ssh_argv,
)

pytestmark = pytest.mark.skipif(not shutil.which("ssh"), reason="OpenSSH's client is not installed")
NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]) | st.just(" "))


def make_target(folder: str) -> Target:
    address = Address("198.51.100.7", 2200, "root", "ssh-ed25519 AAAA", Path(f"/{folder}/key"))
    return Target("skies-7k3xp", address, Path(f"/{folder}/known_hosts"))


def ask_ssh(config: Path, name: str) -> dict[str, str]:
    """The settings that ssh takes from a config for a machine."""
    argv = ["ssh", "-G", "-F", str(config), name]
    text = subprocess.run(argv, capture_output=True, check=True, stdin=subprocess.DEVNULL).stdout
    return dict(line.split(" ", 1) for line in text.decode().splitlines() if " " in line)


def test_a_block_pins_the_key_and_uses_no_other() -> None:
    lines = host_block(make_target("state"), ["skies-7k3xp", "short"]).splitlines()
    assert lines[0] == "Host skies-7k3xp short"
    assert [line.strip() for line in lines[1:]] == [
        "HostName 198.51.100.7",
        "Port 2200",
        "User root",
        "IdentityFile /state/key",
        "IdentitiesOnly yes",
        "IdentityAgent none",
        "HostKeyAlias skies-7k3xp",
        "UserKnownHostsFile /state/known_hosts",
        "GlobalKnownHostsFile /dev/null",
        "StrictHostKeyChecking yes",
        "UpdateHostKeys no",
        "BatchMode yes",
        "ServerAliveInterval 15",
        "ServerAliveCountMax 4",
    ]


def test_the_command_ends_with_the_machine_and_the_line() -> None:
    argv = ssh_argv(make_target("state"), "echo hi")
    assert argv[:3] == ["ssh", "-F", "none"]
    assert argv[-3:] == ["--", "skies-7k3xp", "echo hi"]
    assert ssh_argv(make_target("state"))[-2:] == ["--", "skies-7k3xp"]


def test_known_hosts_drops_the_comment() -> None:
    assert known_hosts_line("run", "ssh-ed25519 AAAA me@here\n") == "run ssh-ed25519 AAAA\n"


@settings(deadline=None, max_examples=60)
@given(name=NAMES)
def test_ssh_reads_any_folder_as_it_is(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    target = make_target(name)
    config = tmp_path_factory.mktemp("config") / "config"
    config.write_text(config_text([host_block(target, ["run"])], "ours"), encoding="utf-8")
    found = ask_ssh(config, "run")
    assert found["identityfile"].replace("%%", "%") == str(target.address.key_path)
    assert found["userknownhostsfile"].replace("%%", "%") == str(target.known_hosts)
    assert found["stricthostkeychecking"] == "true"


@pytest.mark.parametrize("name", ["plain", "a b", "50% [x]* it's", 'q"\\uote', "~"])
def test_an_include_finds_any_folder(tmp_path: Path, name: str) -> None:
    included = tmp_path / name / "ssh_config"
    included.parent.mkdir()
    included.write_text(host_block(make_target("state"), ["run"]))
    config = tmp_path / "config"
    config.write_text(include_line(included) + "\nHost *\n  Port 22\n")
    assert ask_ssh(config, "run")["port"] == "2200"

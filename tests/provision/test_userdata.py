"""What cloud-init is told: valid, small, complete, and without a secret where it is shown."""

import ast
import base64
import gzip
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from provision.userdata import (
    GUARD,
    HOLES,
    LIMIT_BYTES,
    Guard,
    build_user_data,
    fill_user_data,
)
from remote.keys import ensure_key

LONG = Guard(
    run="a-run-with-the-longest-name-that-there-is-abcde",
    label="segaway-" + "x" * 56,
    api_url="https://api.linode.com/v4",
    deadline_s=1793100000.123456,
    idle_s=1800,
    root="/mnt/segaway",
)
MACHINES = [(0, True), (1, True), (4, False)]


def build(
    host_key: str = HOLES["host_key"],
    token: str = HOLES["token"],
    gpus: int = 1,
    has_driver: bool = False,
) -> str:
    public = "ssh-ed25519 " + "A" * 68
    return build_user_data(LONG, host_key, public, public, token, gpus, has_driver)


def parse(text: str) -> Any:
    head, _, body = text.partition("\n")
    assert head == "#cloud-config"
    return json.loads(body)


@pytest.fixture
def host_key(tmp_path: Path) -> str:
    return ensure_key(tmp_path / "key").path.read_text()


@pytest.mark.parametrize(("gpus", "has_driver"), MACHINES)
def test_it_is_what_cloud_init_takes(
    tmp_path: Path, host_key: str, gpus: int, has_driver: bool
) -> None:
    if not shutil.which("cloud-init"):
        reason = "cloud-init is not installed: sh tests/system.sh"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    path = tmp_path / "user-data"
    path.write_text(build(host_key, "t" * 64, gpus, has_driver))
    done = subprocess.run(
        ["cloud-init", "schema", "-c", path], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr


def test_it_fits_with_the_longest_names(host_key: str) -> None:
    assert len(build(host_key, "t" * 128).encode()) < LIMIT_BYTES


@pytest.mark.parametrize("token", ["t" * 64, 'od"d\\ {host_key} \u00fc', ""])
def test_filled_holes_are_what_would_have_been_built(host_key: str, token: str) -> None:
    text = build(token=HOLES["token"] if token else "")
    assert fill_user_data(text, {"host_key": host_key, "token": token}) == build(host_key, token)


def test_nothing_but_the_holes_is_secret(host_key: str) -> None:
    text = build()
    assert text.count(HOLES["host_key"]) == text.count(HOLES["token"]) == 1
    assert "PRIVATE KEY" not in text


@pytest.mark.parametrize(("gpus", "has_driver"), MACHINES)
@pytest.mark.parametrize("key", ["bootcmd", "runcmd"])
def test_its_scripts_are_what_a_plain_shell_takes(key: str, gpus: int, has_driver: bool) -> None:
    script = parse(build(gpus=gpus, has_driver=has_driver))[key][0]
    subprocess.run(["sh", "-n"], input=script, text=True, check=True)


def test_the_programs_fit_the_machine() -> None:
    def install(gpus: int, has_driver: bool) -> str:
        return str(parse(build(gpus=gpus, has_driver=has_driver))["runcmd"][0])

    assert "nvidia" not in install(0, False)
    assert "nvidia-headless" not in install(1, True)
    assert "nvidia-ctk cdi generate" in install(1, True)
    assert "nvidia-headless" in install(1, False)
    assert all("podman" in install(*machine) for machine in MACHINES)


def test_the_keys_are_ours_and_no_password_opens(host_key: str) -> None:
    content = parse(build(host_key))
    assert content["ssh_keys"]["ed25519_private"] == host_key
    assert (content["ssh_deletekeys"], content["ssh_pwauth"]) == (True, False)
    assert content["disable_root"] is False
    assert [user["name"] for user in content["users"]] == ["root"]


def test_the_dead_mans_switch_is_in_it_whole() -> None:
    lines = parse(build())["bootcmd"][0].splitlines()
    packed = next(line for line in lines if line.startswith("H4sI"))
    assert gzip.decompress(base64.b64decode(packed)) == GUARD.read_bytes()


def test_without_a_token_there_is_no_file_for_one() -> None:
    assert "/etc/segaway/token" not in parse(build(token=""))["bootcmd"][0]


def find_pythons() -> list[str]:
    """This one, and what nodes may have of which this machine has one."""
    names = [shutil.which(f"python3.{minor}") for minor in (9, 10, 12, 13)]
    there = [
        name
        for name in names
        if name and not subprocess.call([name, "-V"], stdout=subprocess.DEVNULL)
    ]
    return [sys.executable, *there]


def test_the_switch_is_written_in_the_python_of_the_oldest_nodes() -> None:
    ast.parse(GUARD.read_text(), feature_version=(3, 9))


@pytest.mark.parametrize("python", find_pythons())
def test_the_switch_runs_on_the_pythons_of_nodes(python: str, tmp_path: Path) -> None:
    """Warnings are errors: what a later Python will refuse is found here."""
    folders = {"SEGAWAY_GUARD_ETC": str(tmp_path), "SEGAWAY_GUARD_STATE": str(tmp_path / "var")}
    settings = {"run": "r", "label": "x-y-z", "deadline_s": 1, "api_url": "http://127.0.0.1:1"}
    (tmp_path / "guard.json").write_text(json.dumps(settings))
    (tmp_path / "token").write_text("t")
    for verb in ("tick", "status"):
        done = subprocess.run(
            [python, "-W", "error", GUARD, verb],
            env={**os.environ, **folders},
            capture_output=True,
            text=True,
            check=True,
        )
        assert not done.stderr
    status = json.loads(done.stdout)
    assert status["reason"] == "the deadline has passed"

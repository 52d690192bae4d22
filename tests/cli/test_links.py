"""A laptop and its link come and go; the training does not care, and nothing of it is missed."""

import json
import os
import random
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.conftest import BedLaptop, count_epochs, hash_weights, wait_until

pytestmark = pytest.mark.slow
PROCESS = ("--engine", "process")
LONG = ("--epochs", "80", "--crop", "32", "--batch", "4", *PROCESS)
FOLLOWED = ("log.txt", "events.jsonl")
CUTS = 100


def start(laptop: BedLaptop, dataset: Path, *flags: str) -> "tuple[subprocess.Popen[str], Path]":
    """A run that has trained for a few epochs, and its results' folder."""
    process = laptop.start("run", dataset, *flags)
    wait_until(lambda: list((laptop.folder / "results").glob("*/events.jsonl")))
    (results,) = (laptop.folder / "results").iterdir()
    wait_until(lambda: count_epochs(results) >= 2 or process.poll() is not None)
    assert process.poll() is None, process.communicate()[1]
    return process, results


def read_followed(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FOLLOWED}


def read_node(laptop: BedLaptop, run: str) -> dict[str, bytes]:
    """The same files as they are on the node."""
    node = laptop.node(run)
    folder = f"/mnt/segaway/runs/{run}"
    return {name: node.run(["cat", f"{folder}/{name}"]).stdout.encode() for name in FOLLOWED}


def test_a_link_that_is_cut_a_hundred_times_loses_no_byte_and_repeats_none(
    bed_laptop: BedLaptop, dataset: Path
) -> None:
    """Half of the cuts are silence for a while, half break the connections for good."""
    dice = random.Random(3)
    run = bed_laptop.good("provision", "--dataset", dataset)["run"]
    bed_laptop.good("sync", run)
    bed_laptop.good("train", run, "--epochs", "500", "--crop", "32", "--batch", "4", *PROCESS)
    process = bed_laptop.start("attach", run)
    node, results = bed_laptop.node(run), bed_laptop.folder / "results" / run
    for _ in range(CUTS):
        seen = _size(results / "events.jsonl")
        if dice.random() < 0.5:
            node.cut()
            time.sleep(dice.uniform(0.01, 0.6))  # the cut's length is the test's input
            node.mend()
        else:
            node.run(["pkill", "-9", "-f", "sshd: root@"], check=False)
        wait_until(lambda seen=seen: _size(results / "events.jsonl") > seen)  # type: ignore[misc]  # mypy does not infer a lambda's default
        assert process.poll() is None, process.communicate()[1]
    assert json.loads(bed_laptop.run("status", run, "--json").out)["job"]["state"] == "running"
    node.run(["pkill", "-15", "-f", "--", "-m train /mnt"])
    out, err = process.communicate(timeout=60)
    assert "stopped the trainer (SIGTERM)" in err
    assert "Reconnecting for" in out
    assert read_followed(results) == read_node(bed_laptop, run)
    bed_laptop.good("down", run, "--discard")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def test_a_killed_laptop_finds_everything_when_it_attaches_again(
    bed_laptop: BedLaptop, dataset: Path
) -> None:
    process, results = start(bed_laptop, dataset, *LONG)
    process.kill()
    process.communicate()
    before = read_followed(results)
    answer = bed_laptop.run("attach", results.name)
    assert answer.code == 0, answer.err
    after = read_followed(results)
    assert all(after[name].startswith(before[name]) for name in FOLLOWED)
    assert after == read_node(bed_laptop, results.name)
    assert bed_laptop.run("run", "--resume", results.name).code == 0
    assert not bed_laptop.bed.nodes()


def test_a_laptop_that_slept_for_minutes_goes_on_where_it_was(
    bed_laptop: BedLaptop, dataset: Path
) -> None:
    """Longer than any timeout of the link; the node gives the sleeper's connections up."""
    process, results = start(bed_laptop, dataset, "--epochs", "100", *LONG[2:])
    os.kill(process.pid, signal.SIGSTOP)
    bed_laptop.node(results.name).run(["pkill", "-9", "-f", "sshd: root@"])
    time.sleep(65)
    asleep = count_epochs(results)
    os.kill(process.pid, signal.SIGCONT)
    wait_until(lambda: count_epochs(results) > asleep + 10)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert count_epochs(results) == 100
    assert "epoch 100/100" in out + err


def test_without_the_cloud_and_the_link_it_waits_and_says_so(
    bed_laptop: BedLaptop, dataset: Path
) -> None:
    """As when DNS is gone: neither the cloud nor the node answers, and nothing is given up."""
    process, results = start(bed_laptop, dataset, *LONG)
    node = bed_laptop.node(results.name)
    bed_laptop.set_api(False)
    node.cut()
    node.run(["pkill", "-9", "-f", "sshd: root@"], check=False)
    time.sleep(20)  # longer than the follower waits for a sign of life
    assert process.poll() is None
    node.mend()
    bed_laptop.set_api(True)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert re.search(r"Reconnecting for 0:\d\d; training goes on\. No connection to root@", out)
    assert count_epochs(results) == 80


def test_a_node_at_another_address_is_found_again(bed_laptop: BedLaptop, dataset: Path) -> None:
    process, results = start(bed_laptop, dataset, *LONG)
    node = bed_laptop.node(results.name)
    node.move()
    _, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert count_epochs(results) == 80


def test_a_command_finds_a_node_that_moved_while_nobody_watched(
    bed_laptop: BedLaptop, dataset: Path
) -> None:
    answer = bed_laptop.good("run", dataset, *LONG, "--detach")
    bed_laptop.node(answer["run"]).move()
    assert bed_laptop.good("attach")["metrics"]["epochs"] == 80
    assert bed_laptop.good("fetch")["job"]["state"] == "finished"
    bed_laptop.good("down")


def test_results_come_home_while_training_goes_on(bed_laptop: BedLaptop, dataset: Path) -> None:
    process, results = start(bed_laptop, dataset, "--epochs", "1000", *LONG[2:])
    for name in ("checkpoints/last.pt", "checkpoints/best.pt", "metrics.csv", "samples"):
        wait_until((results / name).exists, 180)
    assert process.poll() is None
    assert len(hash_weights(results)) == 64  # it is whole: torch reads it
    first = (results / "metrics.csv").read_bytes()
    wait_until(lambda: (results / "metrics.csv").read_bytes() != first)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert not [p for p in results.rglob("*") if ".partial" in p.name or ".incoming" in p.name]
    bed_laptop.good("down", results.name, "--discard")
    assert (results / "checkpoints" / "last.pt").exists()


def test_several_laptops_follow_one_training(bed_laptop: BedLaptop, dataset: Path) -> None:
    run = bed_laptop.good("run", dataset, "--epochs", "40", *LONG[2:], "--detach")["run"]
    followers = [bed_laptop.start("logs", "-f", run) for _ in range(3)]
    bed_laptop.good("attach", run)
    logs = [follower.communicate(timeout=60)[0].encode() for follower in followers]
    assert logs == [read_node(bed_laptop, run)["log.txt"]] * 3
    bed_laptop.good("fetch", run)
    bed_laptop.good("down", run)


def test_a_run_is_ended_although_its_node_is_silent(bed_laptop: BedLaptop, dataset: Path) -> None:
    run = bed_laptop.good("provision", "--dataset", dataset)["run"]
    bed_laptop.node(run).cut()
    answer = bed_laptop.run("down", run, "--discard")
    assert answer.code == 0, answer.err
    assert "The volume was not unmounted: No connection to root@" in answer.out
    assert not bed_laptop.bed.nodes()
    assert not bed_laptop.bed.volumes()

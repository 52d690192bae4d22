"""The whole job in a container on a node: locked up, and to the bit what a process trains."""

import json
from pathlib import Path
from typing import Any

import pytest

from remote.engines import JobSpec
from remote.engines.podman import engine
from tests.conftest import LONGER, PODMAN, TINY, BedLaptop, count_epochs, hash_weights, wait_until
from train.events import Started, parse_event

pytestmark = pytest.mark.slow
ROOT = "/mnt/segaway"
HEAD = engine.dialect(JobSpec("", ROOT, "", "", "", "")).head


def test_a_container_trains_the_weights_of_a_process_and_is_locked_up(
    bed_laptop: BedLaptop, dataset: Path, undisturbed: str
) -> None:
    process = bed_laptop.start("run", dataset, *LONGER, *PODMAN, "--json")
    wait_until(lambda: list((bed_laptop.folder / "results").glob("*/events.jsonl")))
    (results,) = (bed_laptop.folder / "results").iterdir()
    wait_until(lambda: count_epochs(results) >= 2)
    node, container = bed_laptop.node(results.name), f"segaway-{results.name}"
    check_settings(node.run([*HEAD, "container", "inspect", container]).stdout)
    run = f"{ROOT}/runs/{results.name}"
    inside = [*HEAD, "exec", container, "sh", "-c"]
    assert node.run([*inside, "id -u"]).stdout == "10001\n"
    for place in ("/app", "/", f"{ROOT}/datasets", "$(dirname $(ls -d /mnt/segaway/datasets/*/*))"):
        refused = node.run([*inside, f"echo x > {place}/x"], check=False)
        assert "Read-only file system" in refused.stderr, place
    node.run([*inside, f"echo x > {run}/x"])
    node.run(["rm", f"{run}/x"])
    assert node.run([*inside, "ls /mnt/segaway"]).stdout.split() == ["datasets", "runs"]
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert json.loads(out)["metrics"]["epochs"] == 40
    assert hash_weights(results) == undisturbed
    assert not bed_laptop.bed.nodes()


def check_settings(inspected: str) -> None:
    """What the container may, by the engine's own word."""
    container: dict[str, Any] = json.loads(inspected)[0]
    host = container["HostConfig"]
    assert container["Config"]["User"] == "10001:10001"
    assert host["ReadonlyRootfs"] is True
    assert host["NetworkMode"] == "none"
    assert "no-new-privileges" in host["SecurityOpt"]
    assert host["Memory"] > 0
    assert host["ShmSize"] > 0
    assert container["EffectiveCaps"] in (None, [])
    mounts = {mount["Destination"].split("/")[3]: mount["RW"] for mount in container["Mounts"]}
    assert {name: mounts[name] for name in ("datasets", "runs")} == {
        "datasets": False,
        "runs": True,
    }


def test_an_unchanged_trainer_is_never_built_twice(bed_laptop: BedLaptop, dataset: Path) -> None:
    run = bed_laptop.good("provision", "--dataset", dataset)["run"]
    dry = bed_laptop.run("image", "build", run, *PODMAN, "--dry-run")
    assert "build --quiet --network host --build-arg BASE_IMAGE=localhost/segaway-base" in dry.out
    first = bed_laptop.good("image", "build", run, *PODMAN)
    assert first["made"] is True
    assert bed_laptop.good("image", "build", run, *PODMAN) == {**first, "made": False}
    bed_laptop.node(run).reboot()
    bed_laptop.node(run).wait_up()
    (listed,) = bed_laptop.good("image", "list", run)["images"]
    assert listed["name"] == first["image"]
    assert "segaway-trainer" in bed_laptop.run("image", "list", run).out
    bed_laptop.good("down", run)
    refused = bed_laptop.run("image", "list", run)
    assert (refused.code, f"The run {run} is down." in refused.err) == (1, True)


def test_images_of_an_engine_without_any_are_refused(laptop: Any, dataset: Path) -> None:
    run = laptop.good("provision", "--dataset", dataset)["run"]
    answer = laptop.run("image", "build", run)
    assert answer.code == 3
    assert "The engine process runs the synced code: it has no images." in answer.err
    laptop.good("down", run)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--base-image", "localhost/none"), "The trainer's image cannot be built on root@"),
        (("--image", "127.0.0.1:1/none"), "127.0.0.1:1/none cannot be pulled on root@"),
    ],
)
def test_an_image_that_cannot_be_had_is_said_and_leaves_nothing(
    bed_laptop: BedLaptop, dataset: Path, flags: tuple[str, ...], message: str
) -> None:
    answer = bed_laptop.run("run", dataset, *TINY, "--engine", "podman", *flags)
    assert answer.code == 1
    assert message in answer.err
    assert "Fix: Name another with --image or --base-image, or take --engine process." in answer.err
    assert not bed_laptop.bed.nodes()
    assert not bed_laptop.bed.volumes()


def test_a_published_image_is_run_as_it_is(bed_laptop: BedLaptop, dataset: Path) -> None:
    """One that is on the node under another name, as if it had been pulled."""
    run = bed_laptop.good("provision", "--dataset", dataset)["run"]
    made = bed_laptop.good("image", "build", run, *PODMAN)["image"]
    published = "registry.example.org/trainer:1"
    bed_laptop.node(run).run([*HEAD, "tag", made, published])
    bed_laptop.good("sync", run)
    bed_laptop.good("train", run, *TINY, "--engine", "podman", "--image", published)
    inspect = [*HEAD, "container", "inspect", "--format", "{{.ImageName}}", f"segaway-{run}"]
    assert bed_laptop.node(run).run(inspect).stdout.strip() == published
    assert bed_laptop.good("attach", run)["metrics"]["epochs"] == 1
    bed_laptop.good("fetch", run)
    bed_laptop.good("down", run)


def test_a_stopped_container_leaves_a_checkpoint(bed_laptop: BedLaptop, dataset: Path) -> None:
    run = bed_laptop.good("run", dataset, "--epochs", "500", *LONGER[2:], *PODMAN, "--detach")[
        "run"
    ]
    node, folder = bed_laptop.node(run), f"{ROOT}/runs/{run}"
    last = ["test", "-e", f"{folder}/checkpoints/last.pt"]
    wait_until(lambda: node.run(last, check=False).returncode == 0)
    agent = node.run(["sh", "-c", f"ls {ROOT}/.segaway/agent-*.pyz"]).stdout.strip()
    stopped = node.run(["python3", agent, "stop", folder, "20"])
    assert json.loads(stopped.stdout)["state"] == "stopped"
    events = node.run(["tail", "-n", "1", f"{folder}/events.jsonl"]).stdout
    assert "Stopped by SIGTERM; the last step is in checkpoints/last.pt." in events
    assert node.run([*HEAD, "ps", "--all", "--quiet"]).stdout == ""
    resumed = bed_laptop.start("run", "--resume", run)
    results = bed_laptop.folder / "results" / run
    wait_until(lambda: len(read_starts(results)) == 2)
    assert [step == 0 for step in read_starts(results)] == [True, False]
    resumed.kill()
    resumed.communicate()
    bed_laptop.good("down", run, "--discard")


def read_starts(results: Path) -> list[int]:
    """The step that each start of the trainer began from."""
    path = results / "events.jsonl"
    lines = path.read_bytes().splitlines() if path.exists() else []
    events = [event for line in lines if (event := parse_event(line))]
    return [event.step for event in events if isinstance(event, Started)]

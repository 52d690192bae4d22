"""Everything that can befall a training on its node: said rightly, and made good to the bit."""

import contextlib
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conftest import (
    LONGER,
    PODMAN,
    Answer,
    BedLaptop,
    count_epochs,
    hash_weights,
    wait_until,
)

pytestmark = pytest.mark.slow
PROCESS = ("--engine", "process")
ENGINES = pytest.mark.parametrize("engine", [PROCESS, PODMAN], ids=["process", "podman"])
TRAINER = "-m train /mnt"


@dataclass
class Watched:
    """A `segaway run` that goes on beside the test."""

    laptop: BedLaptop
    process: "subprocess.Popen[str]"
    known: set[Path] = field(default_factory=set)

    @property
    def results(self) -> Path:
        return next(iter((self.laptop.folder / "results").iterdir()))

    @property
    def run(self) -> str:
        return self.results.name

    def wait_epochs(self, count: int) -> None:
        """Until it has told of so many more epochs than now."""
        wait_until(lambda: list((self.laptop.folder / "results").glob("*/events.jsonl")))
        goal = count_epochs(self.results) + count
        wait_until(lambda: count_epochs(self.results) >= goal or self.process.poll() is not None)
        assert self.process.poll() is None, self.process.communicate()[1]

    def end(self) -> Answer:
        out, err = self.process.communicate(timeout=300)
        return Answer(self.process.returncode, out, err)

    def kill_trainer(self) -> None:
        self.laptop.node(self.run).run(["pkill", "-9", "-f", "--", TRAINER])

    def in_node(self, script: str) -> str:
        return self.laptop.node(self.run).run(["sh", "-c", script]).stdout


@pytest.fixture
def watch(bed_laptop: BedLaptop, dataset: Path) -> "Watch":
    return Watch(bed_laptop, dataset)


@dataclass
class Watch:
    """Starts a run and waits until it has trained for a few epochs."""

    laptop: BedLaptop
    dataset: Path

    def __call__(self, *flags: str) -> Watched:
        process = self.laptop.start("run", self.dataset, *LONGER, *flags)
        watched = Watched(self.laptop, process)
        watched.wait_epochs(3)
        return watched

    def resume(self, run: str, *flags: str) -> Answer:
        return self.laptop.run("run", "--resume", run, *flags)


@ENGINES
def test_a_killed_trainer_is_started_again_as_often_as_it_may(
    watch: Watch, engine: tuple[str, ...], undisturbed: str
) -> None:
    watched = watch(*engine, "--retries", "1")
    watched.kill_trainer()
    answer = watched.end()
    assert answer.code == 0, answer.err
    told = "Warning: The trainer was killed from outside (SIGKILL). Starting again"
    assert told in answer.err + answer.out
    assert hash_weights(watched.results) == undisturbed


def test_a_killed_trainer_leaves_nothing_billing_and_can_be_gone_on_with(
    watch: Watch, undisturbed: str
) -> None:
    # At 0.11 USD per started hour: three hours, and two of them after the first has been used.
    watched = watch(*PROCESS, "--max-cost", "0.35")
    watched.kill_trainer()
    answer = watched.end()
    assert answer.code == 1
    assert 2 < read_hours_left(watch.laptop, watched.run) < 3
    assert "Error: The trainer was killed from outside (SIGKILL)." in answer.err
    assert not watch.laptop.bed.nodes()
    assert not watch.laptop.bed.volumes()
    resumed = watch.resume(watched.run)
    assert resumed.code == 0, resumed.err
    assert "going on from step" in resumed.out + resumed.err
    assert hash_weights(watched.results) == undisturbed
    assert 1 < read_hours_left(watch.laptop, watched.run) < 2


def read_hours_left(laptop: BedLaptop, run: str) -> float:
    """Until the run's deadline."""
    deadline_s: float = laptop.good("status", run)["deadline_s"]
    return (deadline_s - time.time()) / 3600


@pytest.mark.alone
def test_too_little_memory_is_told_and_more_of_it_is_the_fix(watch: Watch, dataset: Path) -> None:
    answer = watch.laptop.run("run", dataset, *LONGER, *PODMAN, "--memory", "0.1")
    assert answer.code == 1
    assert "The kernel killed the trainer: it used more memory than it may." in answer.err
    assert "with more --memory in this one" in answer.err
    assert not watch.laptop.bed.nodes()


# Joins the trainer's control group, and takes so much there that the kernel has to kill.
HOG = """
pid=$(pgrep -u 10001)
group=/sys/fs/cgroup/memory$(sed -n 's/.*:memory://p' /proc/$pid/cgroup)
echo 1000 > /proc/$pid/oom_score_adj
echo $$ > $group/cgroup.procs
exec python3 -c 'bytearray(1500 * 2**20)'
"""


@pytest.mark.alone
def test_a_trainer_that_ran_out_of_memory_goes_on_from_its_checkpoint(
    watch: Watch, undisturbed: str
) -> None:
    watched = watch(*PODMAN, "--memory", "1.5", "--retries", "1")
    watched.laptop.node(watched.run).run(["sh", "-c", HOG], check=False)
    answer = watched.end()
    assert answer.code == 0, answer.err
    assert "The kernel killed the trainer: it used more memory" in answer.err + answer.out
    assert hash_weights(watched.results) == undisturbed


def test_a_full_volume_is_told_and_costs_nothing(watch: Watch, undisturbed: str) -> None:
    watched = watch(*PROCESS)
    with contextlib.suppress(OSError):  # the trainer fails, and the node goes, before all is full
        watch.laptop.node(watched.run).fill("/mnt/segaway")
    answer = watched.end()
    assert answer.code == 1
    assert "No space left on device" in answer.err
    assert not watch.laptop.bed.nodes()
    resumed = watch.resume(watched.run)
    assert resumed.code == 0, resumed.err
    assert hash_weights(watched.results) == undisturbed


def test_a_container_that_is_restarted_goes_on(watch: Watch, undisturbed: str) -> None:
    watched = watch(*PODMAN)
    watched.in_node(f"{watched_podman(watched)} restart segaway-{watched.run}")
    answer = watched.end()
    assert answer.code == 0, answer.err
    assert hash_weights(watched.results) == undisturbed


def test_an_engine_that_is_killed_takes_no_training_with_it(watch: Watch, undisturbed: str) -> None:
    watched = watch(*PODMAN, "--retries", "2")
    watched.in_node("pkill -9 conmon; pkill -9 podman; true")
    answer = watched.end()
    assert answer.code == 0, answer.err
    assert hash_weights(watched.results) == undisturbed


def watched_podman(watched: Watched) -> str:
    """Podman's command on the node, with the storage that the run's container is in."""
    import shlex

    from remote.engines import JobSpec
    from remote.engines.podman import engine

    spec = JobSpec(watched.run, "/mnt/segaway", "", "", "", "")
    return shlex.join(engine.dialect(spec).head)


@ENGINES
def test_a_node_that_restarts_goes_on_by_itself_where_it_may(
    watch: Watch, engine: tuple[str, ...], undisturbed: str
) -> None:
    watched = watch(*engine, "--retries", "1")
    watch.laptop.node(watched.run).reboot()
    answer = watched.end()
    assert answer.code == 0, answer.err
    assert "The node was restarted. Starting again from the last checkpoint." in (
        answer.err + answer.out
    )
    assert hash_weights(watched.results) == undisturbed


def test_a_node_that_restarted_is_told_and_can_be_gone_on_with(
    watch: Watch, undisturbed: str
) -> None:
    watched = watch(*PROCESS)
    watch.laptop.node(watched.run).reboot()
    answer = watched.end()
    assert answer.code == 3
    assert f"The training of {watched.run} is lost. The node was restarted." in answer.err
    assert f"Still there: node segaway-{watched.run}-node" in answer.err
    resumed = watch.resume(watched.run)
    assert resumed.code == 0, resumed.err
    assert hash_weights(watched.results) == undisturbed


@pytest.mark.parametrize("volume_too", [False, True], ids=["node", "node and volume"])
def test_a_node_that_is_gone_costs_what_came_since_the_last_checkpoint_home(
    watch: Watch, volume_too: bool, undisturbed_weights: Callable[[int], str]
) -> None:
    watch.laptop.environment["SEGAWAY_LIVE_SHARE"] = "1"
    watched = watch(*PROCESS, "--epochs", "60")
    node = watch.laptop.node(watched.run)
    wait_until((watched.results / "checkpoints" / "last.pt").exists)
    node.kill()
    if volume_too:
        watch.laptop.bed.destroy_node(node.label)
        watch.laptop.bed.destroy_volume(f"segaway-{watched.run}-vol")
    answer = watched.end()
    assert answer.code == 3
    assert f"The node segaway-{watched.run}-node is gone." in answer.err
    resumed = watch.resume(watched.run)
    assert resumed.code == 0, resumed.err
    assert "going on from step" in resumed.out + resumed.err
    assert hash_weights(watched.results) == undisturbed_weights(60)
    assert not watch.laptop.bed.nodes()

"""The engines' command lines, as strings: what a node is sent to run the trainer."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

import pytest

from remote.containers import image_name
from remote.engines import JobSpec, list_engines, load_engine
from remote.errors import JobError
from remote.host import Host, Result
from remote.job import choose_engine

SPEC = JobSpec(
    run_id="skies-abcde",
    root="/mnt/segaway",
    code="/mnt/segaway/trainer/0123456789ab",
    config="/mnt/segaway/runs/skies-abcde/config.json",
    dataset="/mnt/segaway/datasets/0123456789abcdef",
    run="/mnt/segaway/runs/skies-abcde",
    memory_gib=4.0,
    retries=2,
)
IMAGE = image_name(SPEC.code, "")
PODMAN = (
    "podman --root /mnt/segaway/.segaway/containers --runroot /run/segaway/c7de1263/storage "
    "--tmpdir /run/segaway/c7de1263/libpod"
)
RUN = (
    "run --detach --name segaway-skies-abcde --label segaway.run=skies-abcde --log-driver {log} "
    "--pull never --network none --read-only --tmpfs /tmp:mode=1777 --cap-drop all "
    "--security-opt no-new-privileges --user 10001:10001 --memory 4096m --memory-swap 4096m "
    "--shm-size 2048m {gpu}--volume "
    "/mnt/segaway/datasets/0123456789abcdef:/mnt/segaway/datasets/0123456789abcdef:ro --volume "
    "/mnt/segaway/runs/skies-abcde:/mnt/segaway/runs/skies-abcde --env HOME=/tmp "
    "--env PYTHONUNBUFFERED=1 {image} /mnt/segaway/runs/skies-abcde/config.json "
    "--log /mnt/segaway/runs/skies-abcde/log.txt"
)
BUILD = (
    "build --quiet --network host --tag {image} --file "
    "/mnt/segaway/trainer/0123456789ab/train/Dockerfile /mnt/segaway/trainer/0123456789ab/train"
)


class Node:
    """A host that answers each command with the status and output written down for it."""

    def __init__(self, answers: Mapping[str, tuple[int, str]]) -> None:
        self.address = "root@node:22"
        self._answers = answers

    def run(self, argv: Sequence[str], stdin: bytes = b"", timeout_s: float = 600.0) -> Result:
        line = shlex.join(argv)
        for part, (code, output) in self._answers.items():
            if part in line:
                return Result(code, output.encode(), output if code else "")
        return Result(1, b"", "no such thing")

    def check(self, argv: Sequence[str], stdin: bytes = b"", timeout_s: float = 600.0) -> bytes:
        return self.run(argv).stdout


@pytest.mark.parametrize("name", list_engines())
def test_every_engine_builds_the_same_job_each_time(name: str) -> None:
    engine = load_engine(name)
    assert engine.build_job(SPEC) == engine.build_job(SPEC)
    assert engine.build_job(SPEC)["retries"] == 2
    assert all(isinstance(part, str) for line in engine.build_commands(SPEC) for part in line)


def test_the_process_engine_runs_the_synced_code() -> None:
    job = load_engine("process").build_job(SPEC)
    assert job["argv"] == ["python3", "-m", "train", SPEC.config]
    assert job["cwd"] == SPEC.code


@pytest.mark.parametrize(
    ("name", "head", "log", "gpu"),
    [
        ("docker", "docker", "json-file", "--gpus all "),
        ("podman", PODMAN, "k8s-file", "--device nvidia.com/gpu=all --security-opt label=disable "),
    ],
)
def test_a_container_has_what_it_needs_and_no_more(
    name: str, head: str, log: str, gpu: str
) -> None:
    has, build, run = map(shlex.join, load_engine(name).build_commands(SPEC))
    assert has == f"{head} image inspect --format '{{{{.Id}}}}' {IMAGE}"
    assert build == f"{head} {BUILD.format(image=IMAGE)}"
    assert run == f"{head} {RUN.format(log=log, gpu='', image=IMAGE)}"
    with_gpu = load_engine(name).build_commands(replace(SPEC, gpus=1))
    assert shlex.join(with_gpu[-1]) == f"{head} {RUN.format(log=log, gpu=gpu, image=IMAGE)}"


@pytest.mark.parametrize("name", ["docker", "podman"])
def test_a_container_that_needs_a_network_has_the_nodes_and_nothing_more(name: str) -> None:
    """The node's own: its rule about who may ask the cloud's metadata is of the node's packets."""
    closed = shlex.join(load_engine(name).build_commands(SPEC)[-1])
    opened = shlex.join(load_engine(name).build_commands(replace(SPEC, network=True))[-1])
    assert opened == closed.replace("--network none", "--network host")
    assert opened != closed
    job = load_engine(name).build_job(replace(SPEC, network=True))
    assert shlex.join(job["container"]["start"]) == opened


@pytest.mark.parametrize(("name", "head"), [("docker", "docker"), ("podman", PODMAN)])
def test_a_container_is_watched_and_ended_by_name(name: str, head: str) -> None:
    job = load_engine(name).build_job(SPEC)
    lines = {verb: shlex.join(argv) for verb, argv in job["container"].items() if verb != "start"}
    container = "segaway-skies-abcde"
    assert lines.pop("state").startswith(f"{head} container inspect --format ")
    assert lines == {
        "wait": f"{head} wait {container}",
        "stop": f"{head} stop --time GRACE_S {container}",
        "remove": f"{head} rm --force --volumes {container}",
        "logs": f"{head} logs --tail 50 {container}",
    }
    assert job["owner"] == 10001


def test_without_root_the_container_is_our_own_user() -> None:
    job = load_engine("podman").build_job(replace(SPEC, uid=1000))
    line = shlex.join(job["container"]["start"])
    assert "--user 1000:1000 --userns keep-id" in line
    assert "--runroot /run/user/1000/segaway/" in line
    assert "owner" not in job


def test_a_container_without_a_limit_may_have_most_of_its_node() -> None:
    line = shlex.join(load_engine("docker").build_commands(replace(SPEC, memory_gib=0))[-1])
    assert "--memory" not in line
    on_node = replace(SPEC, memory_gib=0, node_memory_gib=10.0)
    line = shlex.join(load_engine("docker").build_commands(on_node)[-1])
    assert "--memory 9216m --memory-swap 9216m --shm-size 4608m" in line


def test_an_image_is_named_by_its_content() -> None:
    assert image_name(SPEC.code, "") == image_name("/elsewhere/trainer/0123456789ab", "")
    others = {image_name(SPEC.code, "base"), image_name("/mnt/segaway/trainer/ba9876543210", "")}
    assert image_name(SPEC.code, "") not in others
    assert len(others) == 2


def test_a_published_image_is_pulled_instead_of_built() -> None:
    published = replace(SPEC, image="docker.io/me/trainer:1")
    lines = [shlex.join(line) for line in load_engine("docker").build_commands(published)]
    assert lines[1] == "docker pull --quiet docker.io/me/trainer:1"
    assert " docker.io/me/trainer:1 /mnt/segaway/runs/" in lines[2]


def test_another_base_is_given_to_the_build() -> None:
    line = shlex.join(load_engine("docker").build_commands(replace(SPEC, base_image="b:1"))[1])
    assert "--build-arg BASE_IMAGE=b:1" in line


GPU = replace(SPEC, gpus=1, memory_gib=0)


@pytest.mark.parametrize(
    ("name", "answers", "message"),
    [
        ("podman", {}, "There is no podman on"),
        ("podman", {"command": (0, ""), "grep": (1, "")}, "no CDI specification of the GPU"),
        ("docker", {}, "There is no docker on"),
        ("docker", {"command": (0, ""), "info": (1, "refused")}, "does not answer: refused"),
        ("docker", {"command": (0, ""), "info": (0, '{"runc": {}}')}, "has no NVIDIA runtime"),
        ("process", {"find_spec": (0, "torch\n")}, "lacks torch"),
        ("process", {"find_spec": (0, ""), "device_count": (0, "0")}, "sees no GPU"),
    ],
)
def test_a_node_that_cannot_is_refused_clearly(
    name: str, answers: dict[str, tuple[int, str]], message: str
) -> None:
    host = cast(Host, Node(answers))
    with pytest.raises(JobError, match=message) as refused:
        load_engine(name).check(host, GPU)
    assert refused.value.fix


def test_a_process_has_no_memory_limit() -> None:
    with pytest.raises(JobError, match="cannot limit the trainer's memory"):
        load_engine("process").check(cast(Host, Node({"find_spec": (0, "")})), SPEC)


@pytest.mark.parametrize(
    ("answers", "chosen"),
    [
        ({"command": (0, ""), "grep": (0, "")}, "podman"),
        ({"command": (0, ""), "grep": (1, ""), "info": (0, '{"nvidia": {}}')}, "docker"),
        ({"find_spec": (0, ""), "device_count": (0, "1")}, "process"),
    ],
)
def test_the_engine_is_the_first_that_sees_the_gpu(
    answers: dict[str, tuple[int, str]], chosen: str
) -> None:
    assert choose_engine(cast(Host, Node(answers)), GPU) == chosen


def test_a_node_without_any_engine_says_what_the_best_one_lacks() -> None:
    answers = {"podman": (0, ""), "grep": (1, "")}
    with pytest.raises(JobError, match="no CDI specification"):
        choose_engine(cast(Host, Node(answers)), GPU)
    with pytest.raises(JobError, match="no engine to run the trainer with"):
        choose_engine(cast(Host, Node({})), GPU)

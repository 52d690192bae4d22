"""What podman can do on a node of the test bed, its storage on the node's disk or on the volume."""

import pytest

from tests.fakes.bed import Bed
from tests.fakes.conftest import ROOT
from tests.fakes.images import NAME, SITE_PACKAGES
from tests.fakes.nodes import BedNode

ON_VOLUME = [
    *("podman", "--root", f"{ROOT}/.segaway/containers"),
    *("--runroot", "/run/segaway/containers"),
]
LOCKED = ["run", "--rm", "--read-only", "--network", "none", "--user", "10001:10001"]
DOCKERFILE = f"""\
FROM {NAME}
RUN ["python3", "-m", "pip", "check"]
COPY hello.py /app/hello.py
USER 10001:10001
CMD ["python3", "/app/hello.py"]
"""


def write(node: BedNode, path: str, text: str) -> None:
    node.run(["sh", "-c", 'mkdir -p "$(dirname "$1")" && printf %s "$2" > "$1"', "sh", path, text])


def test_the_base_image_has_what_the_trainer_imports_and_nothing_more_is_needed(
    node: BedNode,
) -> None:
    script = "import os, torch, pydantic, PIL; print(os.getuid(), torch.__file__)"
    said = node.run(["podman", *LOCKED, NAME, "python3", "-c", script]).stdout
    assert said == f"10001 {SITE_PACKAGES}/torch/__init__.py\n"


def test_an_image_is_built_on_the_volume_and_runs_there_after_a_reboot(mounted: BedNode) -> None:
    write(mounted, "/root/context/Dockerfile", DOCKERFILE)
    write(mounted, "/root/context/hello.py", "print('hello from the image')")
    mounted.run([*ON_VOLUME, "build", "--network", "none", "-t", "hello", "/root/context"])
    mounted.reboot()
    mounted.wait_up()
    assert mounted.run([*ON_VOLUME, *LOCKED, "hello"]).stdout == "hello from the image\n"


def test_a_container_outlives_its_session_and_tells_its_exit_code(mounted: BedNode) -> None:
    command = ["sh", "-c", "echo working; sleep 0.5; exit 7"]
    mounted.run([*ON_VOLUME, "run", "-d", "--name", "job", "--network", "none", NAME, *command])
    assert mounted.run([*ON_VOLUME, "wait", "job"]).stdout == "7\n"
    assert mounted.run([*ON_VOLUME, "logs", "job"]).stdout == "working\n"


def test_a_container_that_was_running_when_the_node_died_is_found_dead(node: BedNode) -> None:
    node.run(["podman", "run", "-d", "--name", "job", "--network", "none", NAME, "sleep", "600"])
    state = ["podman", "inspect", "job", "--format", "{{.State.Running}}"]
    assert node.run(state).stdout == "true\n"
    node.reboot()
    node.wait_up()
    assert node.run(state).stdout == "false\n"
    node.run(["podman", "start", "job"])
    assert node.run(state).stdout == "true\n"


@pytest.mark.alone
def test_a_container_that_takes_too_much_memory_is_killed(node: BedNode) -> None:
    greedy = ["python3", "-c", "print(len(bytearray(300 * 2**20)))"]
    limits = ["--rm", "--network", "none", "--memory", "100m"]
    assert node.run(["podman", "run", *limits, NAME, *greedy], check=False).returncode == 137


def test_containers_of_one_node_are_not_seen_by_another(bed: Bed, node: BedNode) -> None:
    node.run(["podman", "run", "--name", "job", "--network", "none", NAME, "true"])
    assert "job" in node.run(["podman", "ps", "-a"]).stdout
    other = bed.start_node("other", node.folder / "host_key", "")
    assert "job" not in other.run(["podman", "ps", "-a"]).stdout

"""Who is told what: an impostor nothing, the node's other users nothing."""

from pathlib import Path

import pytest

from remote.keys import ensure_key
from tests.conftest import PODMAN, TINY, BedLaptop

NOBODY = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
MARK = "/root/before"


def test_a_node_with_another_host_key_is_sent_nothing(
    bed_laptop: BedLaptop, dataset: Path, tmp_path: Path
) -> None:
    """Somebody else answers at the address: not even a login is tried there."""
    run = bed_laptop.good("provision", "--dataset", dataset)["run"]
    node = bed_laptop.node(run)
    (node.folder / "host_key").write_text(ensure_key(tmp_path / "other").private)
    node.reboot()
    node.wait_up()
    said_before = node.read_console()
    for command in ("sync", "train", "attach", "fetch"):
        answer = bed_laptop.run(command, run)
        assert answer.code == 3
        assert "shows another host key than the one made for this run. Nothing was sent to it." in (
            answer.err
        )
    said = node.read_console().removeprefix(said_before)
    assert "Connection closed by" in said or "Connection reset by" in said
    assert "Accepted" not in said
    assert "authenticating user" not in said


@pytest.mark.parametrize("engine", [("--engine", "process"), PODMAN], ids=["process", "podman"])
def test_nothing_of_a_run_is_readable_to_the_nodes_other_users(
    bed_laptop: BedLaptop, dataset: Path, engine: tuple[str, ...]
) -> None:
    run = bed_laptop.good("provision", "--dataset", dataset)["run"]
    node = bed_laptop.node(run)
    node.run(["touch", MARK])
    bed_laptop.good("sync", run)
    bed_laptop.good("train", run, *TINY, *engine)
    bed_laptop.good("attach", run)
    assert node.run(["test", "-e", f"/mnt/segaway/runs/{run}/report.html"]).returncode == 0
    assert node.run([*NOBODY, "ls", "/mnt/segaway"], check=False).returncode == 2
    places = ["/mnt", "/run", "/tmp", "/var", "/root", "/opt", "/srv", "/etc", "/dev/shm"]
    beds_own = ["-path", str(node.folder), "-prune", "-o"]
    search = ["find", *places, *beds_own, "-type", "f", "-newer", MARK]
    ours = node.run([*search, "-print"]).stdout.split()
    assert any(path.endswith("/log.txt") for path in ours)
    seen = node.run([*NOBODY, *search, "-readable", "-print"], check=False).stdout.split()
    assert seen == []
    bed_laptop.good("fetch", run)
    bed_laptop.good("down", run)

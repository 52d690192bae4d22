"""The main job as a person runs it: real SSH, real training, a tiny set of skies."""

import contextlib
import hashlib
import os
import re
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest

from provision.ledger import Ledger
from provision.sshnode import find_processes
from tests.conftest import TINY, Laptop, need_shared, wait_until
from train.data.masks import read_mask

HISTORY = 12
"""Lines in the history of a whole run: six steps, each started and done."""


def hash_weights(results: str) -> str:
    import torch

    content = torch.load(Path(results) / "checkpoints" / "last.pt", weights_only=True)
    digest = hashlib.sha256()
    for name, tensor in content["model"].items():
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


def snapshot(folder: Path) -> dict[str, Any]:
    return {
        str(path): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in sorted(folder.rglob("*"))
    }


def list_processes(laptop: Laptop) -> set[int]:
    """Every process that runs in the laptop's folder, nodes and what runs on them included."""
    found = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if Path(process.cwd()).is_relative_to(laptop.folder):
                found.add(process.pid)
    return found


def test_run_does_the_whole_job(laptop: Laptop, skies: Path) -> None:
    answer = laptop.good("run", skies, "--on", "local", *TINY, "--results", "out")
    assert answer["state"] == "done"
    assert answer["dataset"]["layout"] == "voc"
    assert answer["dataset"]["classes"] == ["sky", "cloud", "ground"]
    assert answer["dataset"]["counts"] == {"train": 8, "val": 2, "test": 0, "unlabelled": 2}
    assert 0 <= answer["metrics"]["miou"] <= answer["metrics"]["pixel_accuracy"] <= 1
    assert answer["still_billing"] == []
    assert answer["usd"] == 0
    results = Path(answer["results"])
    assert results.parent == laptop.folder / "out"
    assert {p.name for p in results.iterdir()} >= {
        "log.txt",
        "events.jsonl",
        "metrics.csv",
        "metrics.json",
        "report.html",
        "checkpoints",
        "predictions",
    }
    assert len(list((results / "predictions").rglob("*.png"))) == 4
    assert not laptop.cloud.find_all()
    assert not find_processes(f"segaway-{answer['run']}-node")
    assert not list((laptop.home / "runs" / answer["run"]).glob("*key*"))


def test_the_steps_give_the_weights_of_the_whole(laptop: Laptop, skies: Path) -> None:
    whole = laptop.good("run", skies, *TINY, "--seed", "3")
    laptop.good("extract", skies, "--to", "raw")
    laptop.good("separate", "raw", "--to", "data")
    run = laptop.good("provision", "--dataset", "data", "--on", "local")["run"]
    assert laptop.good("sync")["state"] == "synced"
    assert laptop.good("sync", run)["state"] == "synced"
    assert laptop.good("train", run, *TINY, "--seed", "3")["state"] == "training"
    assert laptop.good("attach", run)["state"] == "trained"
    refused = laptop.run("down", run)
    assert refused.code == 3
    assert f"The results of {run} were not fetched. Nothing was destroyed." in refused.err
    assert f"Fix: segaway fetch {run}; segaway down {run} --discard" in refused.err
    fetched = laptop.good("fetch", run)
    assert "finished" in laptop.good("logs", run)["log"]
    assert laptop.good("down", run)["still_billing"] == []
    assert hash_weights(fetched["results"]) == hash_weights(whole["results"])
    assert not laptop.cloud.find_all()


@pytest.mark.parametrize("prepared", [False, True])
def test_a_dry_run_changes_nothing(laptop: Laptop, skies: Path, prepared: bool) -> None:
    arguments: list[str | Path] = ["run", skies, *TINY, "--dry-run"]
    if prepared:
        run = laptop.good("provision", "--dataset", _separate(laptop, skies))["run"]
    before = snapshot(laptop.folder)
    processes = list_processes(laptop)
    preview = laptop.good(*arguments)
    assert [s["step"] for s in preview["steps"]] == [
        *("prepare", "provision", "sync", "train", "watch", "fetch", "teardown")
    ]
    assert preview["worst_case_usd"] == 0
    assert "provision.sshnode" in str(preview["steps"][1]["requests"])
    text = laptop.run(*arguments).out
    assert "Dry run: nothing is done." in text
    assert "$ python3 VOLUME/.segaway/agent-" in text
    for step in ("sync", "train", "attach", "logs", "fetch", "down") if prepared else ():
        assert laptop.good(step, run, "--dry-run")["run"] == run
    for command in (["demo"], ["init"], ["runs"], ["doctor"], ["extract", skies, "--to", "x"]):
        laptop.good(*command, "--dry-run")
    after = snapshot(laptop.folder)
    # Paths and contents; a reader of the ledger may touch the times of its folder.
    assert {k: v[1] for k, v in after.items()} == {k: v[1] for k, v in before.items()}
    assert list_processes(laptop) == processes
    assert bool(processes) == prepared  # the node that was provisioned is seen: the look works


def _separate(laptop: Laptop, skies: Path) -> Path:
    laptop.good("extract", skies, "--to", "raw")
    laptop.good("separate", "raw", "--to", "data")
    return laptop.folder / "data"


def test_a_killed_laptop_costs_nothing(laptop: Laptop, skies: Path) -> None:
    """SIGKILL in mid-training: the trainer goes on, attach shows what was missed, once."""
    process = laptop.start("run", skies, "--epochs", "12", "--crop", "32", "--results", "out")

    def log() -> list[Path]:
        return list((laptop.folder / "out").glob("*/events.jsonl"))

    wait_until(lambda: log() and b'"kind":"epoch"' in log()[0].read_bytes())
    os.kill(process.pid, signal.SIGKILL)
    shown = process.communicate()[0]
    run = log()[0].parent.name
    assert find_processes(f"segaway-{run}-node")
    attached = laptop.run("attach")
    assert attached.code == 0, attached.err
    epochs = re.findall(r"^epoch (\d+)/12", shown + attached.out, re.MULTILINE)
    kept = log()[0].read_bytes()
    assert kept.count(b'"kind":"epoch"') == 12
    assert sorted(map(int, epochs)) == sorted(set(map(int, epochs)))
    assert int(epochs[-1]) == 12
    assert laptop.good("fetch")["metrics"]["epochs"] == 12
    assert log()[0].read_bytes() == kept
    assert laptop.good("down", run)["still_billing"] == []
    assert not laptop.cloud.find_all()


@pytest.mark.slow
@pytest.mark.parametrize("line", range(1, HISTORY + 1))
def test_a_run_killed_between_any_two_steps_can_be_ended_or_finished(
    laptop: Laptop, skies: Path, line: int
) -> None:
    killed = laptop.run(str(line), "run", skies, *TINY, module="tests.fakes.killer")
    assert killed.code == -signal.SIGKILL
    first = laptop.good("runs")[0]["run"]
    resumed = laptop.good("run", "--resume", first)
    assert resumed["state"] == "done"
    assert resumed["metrics"]["epochs"] == 1
    assert not laptop.cloud.find_all()
    laptop.run(str(line), "run", skies, *TINY, module="tests.fakes.killer")
    laptop.good("down", laptop.good("runs")[0]["run"], "--discard")
    assert not laptop.cloud.find_all()


def test_ctrl_c_while_watching_says_what_goes_on(laptop: Laptop, skies: Path) -> None:
    process = laptop.start("run", skies, "--epochs", "500", "--crop", "32", "--json")
    wait_until(lambda: list((laptop.folder / "results").glob("*/events.jsonl")))
    os.kill(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    (run,) = [p.name for p in (laptop.folder / "results").iterdir()]
    assert f"You left; the training of {run} goes on, for 0.00 USD per hour" in err
    assert f"segaway attach {run} comes back, segaway down {run} --discard stops it" in err
    assert out.count("\n") == 1
    refused = laptop.run("down", run)
    assert refused.code == 3
    assert f"The training of {run} is still running. Nothing was destroyed." in refused.err
    laptop.good("down", run, "--discard")
    assert not find_processes(f"segaway-{run}-node")


def test_a_node_that_went_is_replaced_and_the_training_goes_on(laptop: Laptop, skies: Path) -> None:
    laptop.good("run", skies, "--epochs", "12", "--crop", "32", "--detach", "--name", "spot")
    run = laptop.good("status")["run"]
    assert run.startswith("spot-")
    last = (
        laptop.home / f"clouds/local/volumes/segaway-{run}-vol/data/runs/{run}/checkpoints/last.pt"
    )
    wait_until(last.exists)
    laptop.cloud.destroy("node", f"segaway-{run}-node")
    resumed = laptop.run("run", "--resume", run)
    assert resumed.code == 0, resumed.err
    assert "going on from step" in resumed.out
    assert laptop.good("status", run)["metrics"]["epochs"] == 12
    assert not laptop.cloud.find_all()


def test_a_failed_training_comes_home_and_leaves_nothing(laptop: Laptop, skies: Path) -> None:
    folder = _separate(laptop, skies)
    image = folder / "images" / "train_0003.jpg"
    content = image.read_bytes()[:300]
    image.unlink()
    image.write_bytes(content)
    _renew_manifest(folder, "images/train_0003.jpg")
    answer = laptop.run("run", folder, *TINY, "--json")
    assert answer.code == 1
    assert "train_0003.jpg: the image cannot be decoded" in answer.json["error"]
    assert answer.json["still_billing"] == []
    log = next((laptop.folder / "results").glob("*/log.txt"))
    assert "train_0003.jpg" in log.read_text()
    assert not laptop.cloud.find_all()


def _renew_manifest(folder: Path, path: str) -> None:
    """As if the dataset had been separated with the image already damaged."""
    from remote.agent.files import describe_file
    from train.data.dataset import FileInfo, load_dataset, save_dataset

    made = load_dataset(folder)
    files = {**made.files, path: FileInfo(**describe_file(folder / path))}
    save_dataset(made.model_copy(update={"files": files}), folder)


def test_a_dataset_that_changed_is_refused_and_nothing_is_left(laptop: Laptop, skies: Path) -> None:
    folder = _separate(laptop, skies)
    mask = folder / "masks" / "train_0003.png"
    content = mask.read_bytes()
    mask.unlink()
    mask.write_bytes(content[:-1] + b"x")
    answer = laptop.run("run", folder, *TINY)
    assert answer.code == 1
    assert "masks/train_0003.png did not arrive as it was" in answer.err
    assert not laptop.cloud.find_all()


def test_a_run_goes_on_as_it_began(laptop: Laptop, skies: Path) -> None:
    run = laptop.good("provision", "--dataset", _separate(laptop, skies))["run"]
    for flag in (("--epochs", "3"), ("--max-hours", "1", "--name", "other")):
        answer = laptop.run("run", "--resume", run, *flag)
        assert answer.code == 2
        assert f"A run goes on as it began: {flag[-2]} cannot be changed." in answer.err
    late = laptop.run("run", "--resume", run, "--max-hours", "1")
    assert late.code in (2, 3)
    assert f"--max-hours comes too late: the deadline of {run} stands until it is down." in late.err
    laptop.good("down")


def test_a_log_that_is_followed_is_the_logs_bytes_alone(laptop: Laptop, skies: Path) -> None:
    run = laptop.good("run", skies, *TINY, "--detach")["run"]
    followed = laptop.run("logs", "-f", run)
    assert followed.code == 0
    assert followed.err.strip() == "The training is finished."
    assert followed.out == laptop.run("logs", run).out
    assert followed.out.startswith("skies: ")
    laptop.good("fetch", run)
    laptop.good("down", run)
    assert laptop.run("logs", "-f", run).out == followed.out
    refused = laptop.run("logs", "-f", run, "--json")
    assert (refused.code, "has no JSON value" in refused.err) == (2, True)
    assert "follow" in laptop.run("logs", "-f", run, "--dry-run").out


def test_a_failed_run_that_is_down_goes_on_with_a_new_deadline(laptop: Laptop, skies: Path) -> None:
    laptop.environment["SEGAWAY_LIVE_SHARE"] = "1"
    process = laptop.start("run", skies, "--epochs", "80", "--crop", "32", "--batch", "4")
    wait_until(lambda: list((laptop.folder / "results").glob("*/checkpoints/last.pt")))
    (results,) = (laptop.folder / "results").iterdir()
    for found in find_processes(f"segaway-{results.name}-node"):
        if found.cmdline()[1:3] == ["-m", "train"]:
            found.kill()
    _, err = process.communicate(timeout=60)
    assert (process.returncode, "killed from outside (SIGKILL)" in err) == (1, True)
    assert not laptop.cloud.find_all()
    before = laptop.good("status", results.name)["deadline_s"]
    resumed = laptop.run("run", "--resume", results.name, "--max-hours", "1")
    assert resumed.code == 0, resumed.err
    assert "of the run's results to its new volume" in resumed.out
    assert "going on from step" in resumed.out
    assert laptop.good("status", results.name)["deadline_s"] < before


def test_what_was_given_up_cannot_be_resumed(laptop: Laptop, skies: Path) -> None:
    run = laptop.good("provision", "--dataset", _separate(laptop, skies))["run"]
    laptop.good("down")
    answer = laptop.run("run", "--resume", run)
    assert answer.code == 1
    assert f"The run {run} is down, without results." in answer.err


def test_two_processes_do_not_work_on_one_run(laptop: Laptop, skies: Path) -> None:
    from filelock import FileLock

    folder = _separate(laptop, skies)
    run = laptop.good("provision", "--dataset", folder)["run"]
    lock = laptop.home / "runs" / run / "lock"
    with FileLock(lock):
        refused = laptop.run("sync")
        assert refused.code == 3
        assert f"is working on the run {run} (it holds {lock})" in refused.err
    assert lock.exists()  # a lock that its process left behind is no obstacle
    laptop.good("sync")
    laptop.good("down")


def test_a_taken_port_is_said_and_leaves_nothing(laptop: Laptop, skies: Path) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        laptop.environment["SEGAWAY_LOCAL_PORT"] = port
        answer = laptop.run("run", skies, *TINY)
    assert answer.code == 1
    assert f"Port {port} on 127.0.0.1 cannot be had" in answer.err
    assert not laptop.cloud.find_all()


@pytest.mark.parametrize("command", ["status", "attach", "logs", "fetch", "down", "sync", "train"])
def test_an_unknown_run_is_named(laptop: Laptop, command: str) -> None:
    answer = laptop.run(command, "nobody-12345")
    assert answer.code == 1
    assert answer.err.startswith("Error: There is no run nobody-12345.\nFix: ")
    assert not laptop.home.exists()


def test_bad_archives_are_named(laptop: Laptop) -> None:
    (laptop.folder / "bad.tar").write_bytes(b"nothing" * 1000)
    for path, message in (("bad.tar", "corrupt or no tar"), ("none.zip", "does not exist")):
        answer = laptop.run("run", path, "--json")
        assert answer.code == 1
        assert message in answer.json["error"]
        assert path in answer.json["error"]
    assert not laptop.cloud.find_all()
    assert not (laptop.home / "ledger.sqlite").exists()


@pytest.mark.slow
@pytest.mark.timeout(960)
def test_camvid_trains_in_minutes(laptop: Laptop) -> None:
    """The published set, as the README has it, for one epoch of the three."""
    archive = need_shared("camvid-voc.tar")
    answer = laptop.good("run", archive, "--on", "local", "--epochs", "1", "--crop", "160")
    assert answer["dataset"]["counts"] == {"train": 367, "val": 101, "test": 0, "unlabelled": 233}
    assert len(answer["dataset"]["classes"]) == 11
    # Classes drawn by their shares have 0.049; what is most frequent at each place, 0.167.
    assert answer["metrics"]["miou"] > 0.17
    for name, count in (("val", 101), ("unlabelled", 233)):
        masks = list((Path(answer["results"]) / "predictions" / name).glob("*.png"))
        assert len(masks) == count
        assert {read_mask(path).shape for path in masks} == {(360, 480)}


def test_hyta_runs_in_seconds(laptop: Laptop) -> None:
    archive = need_shared("hyta-waggle.zip")
    answer = laptop.good("run", archive, "--epochs", "1", "--crop", "96")
    assert answer["dataset"]["layout"] == "waggle"
    assert answer["dataset"]["counts"] == {"train": 26, "val": 6, "test": 0, "unlabelled": 0}


def test_the_history_names_every_step(laptop: Laptop, skies: Path) -> None:
    run = laptop.good("run", skies, *TINY)["run"]
    with Ledger(laptop.home / "ledger.sqlite") as ledger:
        history = [(event["step"], event["status"]) for event in ledger.events(run)]
    steps = ("provision", "sync", "train", "watch", "fetch", "teardown")
    assert history == [(step, word) for step in steps for word in ("started", "done")]
    assert len(history) == HISTORY

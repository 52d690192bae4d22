"""The supervisor on the node: how a trainer ended, whether it is started again, what it used."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from remote.agent import diagnosis
from remote.agent.diagnosis import Evidence
from remote.agent.telemetry import GPU_COLUMNS, parse_gpu
from tests.conftest import wait_until
from tests.remote.test_agent import call, start

COUNT = "from pathlib import Path; p = Path('count'); n = len(p.read_text()) if p.exists() else 0; "
NEXT = COUNT + "p.write_text('x' * (n + 1)); "


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a run; its job's working folder is the one above."""
    return tmp_path / "runs" / "r"


def end(run: Path) -> Any:
    """How the job ended."""
    wait_until(lambda: call("status", run)["state"] != "running")
    return call("status", run)


def read_warnings(run: Path) -> list[str]:
    lines = (run / "events.jsonl").read_text().splitlines()
    return [event["message"] for event in map(json.loads, lines) if event["kind"] == "warning"]


def test_a_trainer_that_fails_is_started_again_until_it_succeeds(run: Path) -> None:
    (run.parent).mkdir()
    run.mkdir()
    (run / "events.jsonl").write_text('{"kind": "torn')
    start(run, NEXT + "raise SystemExit(0 if n == 2 else 9)", retries=5)
    ended = end(run)
    assert (ended["state"], ended["attempt"]) == ("finished", 3)
    torn, *lines = (run / "events.jsonl").read_text().splitlines()
    assert torn == '{"kind": "torn'
    assert [json.loads(line)["kind"] for line in lines] == ["warning", "warning"]
    said = "The trainer ended with exit code 9 and without a word. Starting again from the last"
    assert said in (run / "log.txt").read_text()


def test_a_trainer_is_not_started_more_often_than_it_may(run: Path) -> None:
    start(run, NEXT + "raise SystemExit(9)", retries=1)
    ended = end(run)
    assert (ended["state"], ended["attempt"], ended["exit_code"]) == ("failed", 2, 9)
    assert (run.parent / "count").read_text() == "xx"


def say_failed(run: Path, cause: str) -> str:
    event = {"kind": "failed", "message": "It hurts.", "fix": "Do this.", "cause": cause}
    return NEXT + f"open({str(run / 'events.jsonl')!r}, 'a').write({json.dumps(event)!r} + '\\n'); "


@pytest.mark.parametrize("cause", ["settings", "data", "memory"])
def test_what_would_fail_again_is_not_tried_again(run: Path, cause: str) -> None:
    start(run, say_failed(run, cause) + "raise SystemExit(1)", retries=3)
    ended = end(run)
    assert (ended["cause"], ended["message"], ended["fix"]) == (cause, "It hurts.", "Do this.")
    assert (run.parent / "count").read_text() == "x"


@pytest.mark.parametrize("cause", ["internal", "gpu", "disk_full"])
def test_what_may_go_better_is_tried_again(run: Path, cause: str) -> None:
    start(run, say_failed(run, cause) + "raise SystemExit(1 if n == 0 else 0)", retries=3)
    assert end(run)["state"] == "finished"
    assert read_warnings(run) == ["It hurts. Starting again from the last checkpoint (1 of 3)."]


@pytest.mark.parametrize(
    ("script", "cause", "message"),
    [
        ("print('CUDA error: an illegal memory access'); raise SystemExit(1)", "gpu", "GPU failed"),
        ("print('NVRM: Xid (PCI:0000:01:00): 79'); raise SystemExit(1)", "gpu", "NVRM: Xid"),
        ("import os; os.abort()", "crashed", "crashed: abort"),
        ("import os; os.kill(os.getpid(), 11)", "crashed", "crashed: segmentation fault"),
        ("import os; os.kill(os.getpid(), 9)", "killed", "killed from outside"),
        ("raise SystemExit(5)", "crashed", "exit code 5 and without a word"),
        ("raise SystemExit(126)", "crashed", "could not be run in its container"),
        ("raise SystemExit(143)", "stopped", "Somebody on the node stopped the trainer"),
    ],
)
def test_an_end_without_last_words_is_read_from_its_traces(
    machine: None, run: Path, script: str, cause: str, message: str
) -> None:
    start(run, script)
    ended = end(run)
    assert ended["cause"] == cause
    assert message in ended["message"]


def test_a_kill_for_want_of_memory_is_told_from_any_other(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.mkdir(parents=True)
    kills = [3]
    monkeypatch.setattr(diagnosis, "count_oom_kills", lambda: kills[0])
    evidence = Evidence(run)
    assert evidence.diagnose(137, asked_to_stop=False).cause == "killed"
    kills[0] += 1
    assert evidence.diagnose(137, asked_to_stop=False).cause == "out_of_memory"


def test_an_end_that_the_engine_missed_is_read_from_the_events(run: Path) -> None:
    run.mkdir(parents=True)
    assert Evidence(run).diagnose(255, asked_to_stop=False).cause == "engine"
    evidence = Evidence(run)
    (run / "events.jsonl").write_text('{"kind": "finished"}\n')
    assert evidence.diagnose(255, asked_to_stop=False).state == "finished"
    # What an earlier attempt said is no word on this one.
    assert Evidence(run).diagnose(255, asked_to_stop=False).cause == "engine"


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk takes root")
def test_a_full_disk_is_told_and_the_job_still_reports(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", small], check=True)
    try:
        run = small / "runs" / "r"
        script = "import time; time.sleep(1); open('filler', 'wb').write(bytes(4 * 2**20))"
        start(run, script)
        ended = end(run)
        assert (ended["state"], ended["cause"]) == ("failed", "disk_full")
        assert "The volume is full; the last checkpoint is kept." in ended["message"]
    finally:
        subprocess.run(["umount", "-l", small], check=True)


def test_a_stop_ends_the_pause_between_two_attempts(run: Path) -> None:
    start(run, NEXT + "raise SystemExit(9)", retries=10)
    wait_until(lambda: (run.parent / "count").exists() and len(read_count(run)) == 3)
    wait_until(lambda: call("status", run)["attempt"] == 3 or len(read_warnings(run)) == 3)
    assert call("stop", run, "5")["state"] == "failed"
    assert len(read_count(run)) <= 4


def read_count(run: Path) -> str:
    return (run.parent / "count").read_text()


def test_telemetry_is_written_while_it_trains(run: Path, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    smi = tools / "nvidia-smi"
    smi.write_text(
        "#!/bin/sh\necho '93, 11264, 24576, 61, 250.5'\necho '[N/A], 1024, 24576, 40, 30'\n"
    )
    smi.chmod(0o755)
    os.environ["PATH"] = f"{tools}:{os.environ['PATH']}"
    try:
        start(run, "import time; time.sleep(1)")
    finally:
        os.environ["PATH"] = os.environ["PATH"].partition(":")[2]
    assert end(run)["state"] == "finished"
    header, row = (line.split(",") for line in (run / "telemetry.csv").read_text().splitlines()[:2])
    cells = dict(zip(header, row, strict=True))
    assert 0 <= float(cells["cpu_pct"]) <= 100
    assert 0 < float(cells["memory_pct"]) < 100
    assert float(cells["disk_free_gib"]) > 0
    assert (cells["gpu0_util_pct"], cells["gpu0_memory_used_gib"]) == ("93.00", "11.00")
    assert (cells["gpu1_util_pct"], cells["gpu1_power_w"]) == ("", "30.00")


def test_what_a_gpu_does_not_say_is_empty() -> None:
    cells = dict(zip(GPU_COLUMNS, parse_gpu("[N/A], 512, 1024, [Not Supported], 1"), strict=True))
    assert cells == {
        "util_pct": "",
        "memory_used_gib": "0.50",
        "memory_total_gib": "1.00",
        "temperature_c": "",
        "power_w": "1.00",
    }


def test_the_jobs_own_files_are_out_of_the_trainers_reach(run: Path) -> None:
    """A container sees the run's folder alone."""
    start(run, "pass")
    end(run)
    assert sorted(path.name for path in run.iterdir()) == ["log.txt", "telemetry.csv"]
    kept = {path.name for path in (run.parent.parent / ".segaway/jobs/r").iterdir()}
    assert {"job.json", "job.lock", "heartbeat"} <= kept


def test_a_log_that_was_made_a_link_is_not_written_through(run: Path, tmp_path: Path) -> None:
    run.mkdir(parents=True)
    (tmp_path / "victim").write_text("mine")
    (run / "log.txt").symlink_to(tmp_path / "victim")
    answer = call("start", run, stdin={"argv": [sys.executable], "cwd": "/", "env": {}})
    assert "log.txt" in answer["refused"]
    assert (tmp_path / "victim").read_text() == "mine"

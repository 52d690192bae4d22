"""Every call of a run x every fault x every moment of sudden death: what is left billing?

    python -m tests.bench.leaks [--workers N] [--every N]

A run rents from the emulated Linode, and gives back; at one of its API calls something goes wrong,
or segaway is killed, or both. Then `run --resume`, `down` or, from another machine and after the
deadline, `sweep` follows. What the node does over SSH is left out here: stand-ins say that it went
well. The processes that are killed are real, so are the ledger and the requests.

The last line is one JSON object; the exit status is 1 where a case has left something behind.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cli import broom, flow, launch, renting
from cli.config import Settings
from cli.console import Console
from cli.planning import make_plan
from cli.session import Session, make_run_id, open_ledger
from cli.skies import draw_archive
from provision.clouds import linode, open_cloud
from provision.linode import client as api
from remote.job import JobStatus
from tests.fakes.linode.emulator import Emulator, serve
from tests.fakes.linode.state import Options
from train.data.dataset import load_dataset
from train.data.extract import extract_archive
from train.data.separate import separate_dataset

LIMIT_S = 600
CASE_TIMEOUT_S = 60
GENERIC = ("lost-reply", "cut", "408", "429", "500", "502-html", "slow")
READS = ("shifting-pages", "price-0", "event-lag")
CREATES = ("no-capacity", "limit", "duplicate-label", "never-boots")
KILLS = ("before", "sent", "replied")
RECOVERIES = ("resume", "down", "sweep")
LATER_S = 48 * 3600.0
# What is slow is done after it was given up, and long before the run is over, as in life.
SLOW_S, READ_TIMEOUT_S = 0.25, 0.2


@dataclass(frozen=True)
class Case:
    """One thing that goes wrong at the `call`-th request, and what is done about it."""

    call: int
    method: str
    path: str
    fault: str
    kill: str
    recovery: str

    def faults(self) -> dict[str, Any]:
        """The emulator's words for it."""
        made: dict[str, Any] = {"path": "", "nth": self.call, "kind": self.fault or "kill"}
        made |= {"when": self.kill} if self.kill else {}
        made |= {"retry_after": 0} if self.fault == "429" else {}
        return made | ({"seconds": SLOW_S} if self.fault in ("slow", "event-lag") else {})


def make_cases(calls: list[tuple[str, str]]) -> list[Case]:
    """Each call with each fault that can befall it, alone and with each death.

    Of a death at a call that changes something, each recovery is tried. One that changes nothing is
    not doubted because of its answer: there a death is a death, whatever the fault.
    """
    made: list[Case] = []
    for number, (method, path) in enumerate(calls):
        for fault, kill in _list_troubles(method, path):
            rotated = RECOVERIES[len(made) % len(RECOVERIES) :][:1]
            for recovery in rotated if method == "GET" else RECOVERIES:
                made.append(Case(number, method, path, fault, kill, recovery))
    return made


def _list_troubles(method: str, path: str) -> list[tuple[str, str]]:
    """The faults and deaths that are to be tried at such a call, of which either may be empty."""
    faults = [*GENERIC, *(READS if method == "GET" else ())]
    if method == "POST" and not path.endswith(("attach", "detach")):
        faults += CREATES
    alone = [(fault, "") for fault in faults] + [("", kill) for kill in KILLS]
    # Before it was sent nothing is done, whatever would have become of it.
    both = [(fault, kill) for fault in faults for kill in KILLS if kill != "before"]
    return alone if method == "GET" else alone + both


def stand_in_for_node() -> None:
    """What is done over SSH has gone well."""
    moved = SimpleNamespace(files=1, files_total=1, size_bytes=1)

    def start(session: Session, _host: object) -> JobStatus:
        session.rewind("training")
        session.update(job={"state": "running"}, error=None)
        return JobStatus("running")

    def fetch(*arguments: Any) -> SimpleNamespace:
        (arguments[3] / "checkpoints").mkdir(parents=True, exist_ok=True)
        return moved

    replace(
        flow,
        connect=lambda _session: contextlib.nullcontext(),
        push_trainer=lambda *_: None,
        push_folder=lambda *_: moved,
        start_training=start,
        watch_training=lambda _session: JobStatus("finished"),
        read_status=lambda *_: JobStatus("finished"),
        fetch_folder=fetch,
        tell_fetched=lambda *_: None,
        _ask_state=lambda session: "over" if session.record.get("job") else "none",
    )
    replace(renting, make_ready=lambda *_: None, release_node=lambda *_: None)


def replace(owner: object, **parts: object) -> None:
    """From here on `owner` has these instead of its own."""
    for name, part in parts.items():
        setattr(owner, name, part)


def hurry() -> None:
    """The same waits, shorter."""
    replace(api, FIRST_PAUSE_S=0.01, READ_TIMEOUT_S=READ_TIMEOUT_S)
    replace(linode, FIRST_POLL_S=0.01)
    opened = api.Client._open

    def open_marked(self: api.Client) -> Any:
        client = opened(self)
        client.session.headers["X-Segaway-Pid"] = str(os.getpid())
        return client

    replace(api.Client, _open=open_marked)


def act(home: Path, verb: str, dataset: Path) -> None:
    """One process of segaway's: begin a run, go on with it, end it, or sweep."""
    os.environ["SEGAWAY_HOME"] = str(home)
    settings = Settings(
        on="linode", ssh_from="198.51.100.7/32", results=home / "results", boot_minutes=0.05
    )
    console = Console(as_json=True)
    with open_ledger(home) as ledger:
        if verb == "begin":
            data, cloud = load_dataset(dataset), open_cloud("linode", home, {})
            made = make_plan(cloud, settings, make_run_id("leak"), data.size_bytes)
            run = flow.new_run(made, settings, dataset, data, {"name": "leak", "layout": "voc"})
            ledger.add_run(run)
            flow.carry_out(Session(home, ledger, run, console))
        elif verb == "sweep":
            later = time.time() + LATER_S
            replace(broom, time=SimpleNamespace(time=lambda: later))
            broom.sweep_cloud("linode", console, is_agreed=True, dry_run=False)
        elif ledger.runs() and verb == "down":
            launch.do_step(None, "teardown", lambda s: flow.teardown(s, True), False, True)
        elif ledger.runs():
            launch.resume_run(ledger.runs()[0].id, {}, console, detach=False, dry_run=False)


def spawn(home: Path, verb: str, dataset: Path, log: Path) -> int:
    """A child that does it; how it ended."""
    pid = os.fork()
    if pid == 0:
        code = 0
        with log.open("a") as words:
            os.dup2(words.fileno(), 1)
            os.dup2(words.fileno(), 2)
            try:
                act(home, verb, dataset)
            except BaseException:
                traceback.print_exc()
                code = 1
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
    limit = time.monotonic() + CASE_TIMEOUT_S
    while time.monotonic() < limit:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    raise TimeoutError(f"{verb} did not end in {CASE_TIMEOUT_S} s")


def examine(emulator: Emulator, home: Path, is_over: bool) -> str:
    """What is wrong with what there is; empty where it is well."""
    state = emulator.state
    nodes = [instance.label for instance in state.instances.values()]
    if len(nodes) > 1:
        return f"two nodes: {nodes}"
    if not is_over:
        return ""
    left = [*nodes, *(raw["label"] for raw in state.firewalls.values())]
    left += [t.label for t in state.tokens.values() if t.label.startswith("segaway-")]
    left += [
        raw["label"]
        for raw in state.volumes.values()
        if not any(tag.startswith("data:") for tag in raw["tags"])
    ]
    with open_ledger(home) as ledger:
        known = [r.label for run in ledger.runs() for r in ledger.live_resources(run.id)]
    return f"left behind: {left}; the ledger still has {known}" if left else ""


def try_case(case: Case | None, dataset: Path, folder: Path) -> tuple[str, list[tuple[str, str]]]:
    """What went wrong beyond the fault, and the calls of the run."""
    home = Path(tempfile.mkdtemp(dir=folder))
    log = home / "log.txt"
    options = Options(delay_s=0.005)
    try:
        with serve(home / "cloud", rate_limits=False, options=options) as emulator:
            os.environ.update(LINODE_TOKEN=emulator.token, LINODE_URL=emulator.url)
            if case:
                emulator.inject(case.faults())
            code = spawn(home, "begin", dataset, log)
            calls = [(request.method, request.path) for request in emulator.requests]
            wrong = examine(emulator, home, is_over=False)
            emulator.clear_faults()
            if case:
                other = home / "other" if case.recovery == "sweep" else home
                for _ in range(2):  # who is told to repeat a command does
                    if spawn(other, case.recovery, dataset, log) == 0:
                        break
                wrong = wrong or examine(emulator, home, is_over=True)
            elif code:
                wrong = "the undisturbed run failed"
            if wrong:
                wrong += "\n" + log.read_text()[-3000:]
    finally:
        shutil.rmtree(home, ignore_errors=True)
    return wrong, calls


def work(cases: list[Case], dataset: Path, folder: Path, results: Any) -> None:
    """Try one case after the other."""
    stand_in_for_node()
    hurry()
    for case in cases:
        try:
            wrong, _ = try_case(case, dataset, folder)
        except Exception as error:
            wrong = f"{type(error).__name__}: {error}"
        results.put((case, wrong))


@contextlib.contextmanager
def make_dataset() -> Iterator[tuple[Path, Path]]:
    """A tiny dataset, and a folder whose writes cost nothing."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        folder = Path(name)
        draw_archive(
            folder / "skies.tar", counts={"train": 2, "val": 1, "unlabelled": 1}, size=(32, 32)
        )
        extract_archive(folder / "skies.tar", folder / "raw")
        separate_dataset(folder / "raw", folder / "data", name="leak")
        yield folder / "data", folder


def list_calls(dataset: Path, folder: Path) -> list[tuple[str, str]]:
    """The API calls of a run that nothing disturbs."""
    stand_in_for_node()
    hurry()
    wrong, calls = try_case(None, dataset, folder)
    if wrong:
        raise SystemExit(wrong)
    return calls


def run_cases(
    cases: list[Case], workers: int, dataset: Path, folder: Path, tell: Callable[[str], None]
) -> list[Case]:
    """The cases that left something behind."""
    # A process has one emulator and forks: it must have no other threads.
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    shares = [cases[number::workers] for number in range(workers)]
    processes = [
        context.Process(target=work, args=(share, dataset, folder, results)) for share in shares
    ]
    for process in processes:
        process.start()
    failed = []
    for _ in cases:
        case, wrong = results.get(timeout=4 * CASE_TIMEOUT_S)
        if wrong:
            failed.append(case)
            tell(f"{case}: {wrong}")
    for process in processes:
        process.join()
    return failed


def main() -> int:
    """Try them all; print what failed, and how many there were."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--every", type=int, default=1, help="only each N-th case")
    arguments = parser.parse_args()
    began = time.monotonic()
    with make_dataset() as (dataset, folder):
        # In a process of its own: the stand-ins are not to be stood in for again.
        with multiprocessing.get_context("fork").Pool(1) as pool:
            calls = pool.apply(list_calls, (dataset, folder))
        cases = make_cases(calls)[:: arguments.every]
        print(f"{len(calls)} calls of a run, {len(cases)} cases", flush=True)
        failed = run_cases(
            cases, arguments.workers, dataset, folder, lambda t: print(t, flush=True)
        )
    seconds = round(time.monotonic() - began, 1)
    counts = {"calls": len(calls), "cases": len(cases), "leaks": len(failed)}
    print(json.dumps({**counts, "seconds": seconds, "limit_s": LIMIT_S}))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

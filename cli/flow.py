"""A run, as its verbs in order: plan, provision, sync, train, watch, fetch, teardown.

Each verb can be repeated: done work is found done. Each is one step of the run's history, and
leaves the record such that any process, after any crash, can take over.
"""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from cli.config import Settings
from cli.console import format_size
from cli.errors import Busy, RunError
from cli.live import View
from cli.outcome import job_record, record_end
from cli.session import Session, bill, guard, make_label, make_run_id
from provision.base import Kind, Node, NodeLost, NodeSpec, Provider, Volume, VolumeSpec
from provision.ledger import Resource, Run
from provision.plan import Plan, make_plan
from remote import shell
from remote.agent.files import Manifest, read_manifest
from remote.calls import install_agent
from remote.engines import JobSpec
from remote.errors import JobError, RemoteError, Unreachable
from remote.fetch import fetch_folder
from remote.follow import FILES, Chunk, Reconnecting, follow_job
from remote.job import CONFIG, JobStatus, read_status, start_job
from remote.keys import ensure_key, remove_key
from remote.sync import push_folder
from train import config as train_config
from train.config import TrainConfig
from train.data.dataset import MANIFEST, Dataset, load_dataset

ENGINE = "process"
BOOT_TIMEOUT_S = 60.0
TRAINER = Path(train_config.__file__).parent
TRAINING_KEYS = ("model", "epochs", "minutes", "crop", "batch", "seed")


def plan(cloud: Provider, settings: Settings, data_bytes: int) -> Plan:
    """The priced plan for a dataset of that size. Sends nothing but the question for offers."""
    return make_plan(cloud.offers(), data_bytes, settings.max_cost, settings.max_hours)


def new_run(
    made: Plan, settings: Settings, folder: Path, dataset: Dataset, name: str | None, summary: Any
) -> Run:
    """The record of a run that is about to begin."""
    run_id = make_run_id(name or dataset.name)
    now_s = time.time()
    record = {
        "settings": settings.model_dump(mode="json", exclude_none=True),
        "results": str((settings.results / run_id).absolute()),
        "dataset": summary,
        "dataset_folder": str(folder.absolute()),
        "fingerprint": dataset.fingerprint,
        "plan": made.as_json(),
    }
    return Run(run_id, settings.on, "planned", now_s, now_s + made.lifetime_s, record)


def volume_spec(run_id: str, made: dict[str, Any]) -> VolumeSpec:
    """The volume that a plan wants."""
    return VolumeSpec(make_label(run_id, "volume"), made["offer"]["region"], made["volume_gib"])


def node_spec(
    run_id: str, made: dict[str, Any], folder: Path, client_key: str, deadline_s: float
) -> NodeSpec:
    """The node that a plan wants."""
    return NodeSpec(
        label=make_label(run_id, "node"),
        region=made["offer"]["region"],
        plan=made["offer"]["plan"],
        volume_label=make_label(run_id, "volume"),
        host_key_path=folder / "host_key",
        client_key=client_key,
        deadline_s=deadline_s,
    )


def provision(session: Session) -> None:
    """Rent the volume and the node, or find them; returns when the node can be reached."""
    with session.step("provision"):
        if time.time() > session.run.deadline_s:
            raise RunError(
                "The run's deadline has passed: nothing more is rented for it.",
                fix="segaway fetch RUN, then segaway down RUN.",
            )
        cloud = session.cloud()
        made, folder = session.record["plan"], session.folder
        host_key = ensure_key(folder / "host_key")
        client_key = ensure_key(folder / "client_key")
        volume = volume_spec(session.run.id, made)
        _ensure(session, cloud, "volume", volume)
        node = node_spec(session.run.id, made, folder, client_key.public, session.run.deadline_s)
        found = _ensure(session, cloud, "node", node)
        ready = cloud.wait_node(found.id, BOOT_TIMEOUT_S)
        reach = {"host": ready.host, "port": ready.port, "user": ready.user, "root": ready.root}
        session.update("provisioned", node={**reach, "host_key": host_key.public})
    session.console.say(f"Node {ready.label} is up.")


def _ensure(
    session: Session, cloud: Provider, kind: Kind, spec: VolumeSpec | NodeSpec
) -> Volume | Node:
    """The resource under its label: found, or made, and in the ledger in either case."""
    rates = session.rate
    price = rates.node_usd_per_hour if kind == "node" else rates.volume_usd_per_hour
    find = cloud.find_node if kind == "node" else cloud.find_volume
    resource = session.ledger.intend(session.run.id, kind, spec.label, price)
    found: Volume | Node | None = find(spec.label)
    if resource.state == "live" and found is None:
        # Seen gone: it reached its deadline, or the machine that it was on was started anew.
        session.ledger.mark_gone(resource)
        resource = session.ledger.intend(session.run.id, kind, spec.label, price)
    if found is None and isinstance(spec, NodeSpec):
        found = cloud.create_node(cloud.node_request(spec))
    elif found is None and isinstance(spec, VolumeSpec):
        found = cloud.create_volume(cloud.volume_request(spec))
    assert found is not None  # created, where it was not found
    session.ledger.confirm(resource, found.id)
    return found


def sync(session: Session) -> None:
    """The dataset and the trainer's code to the volume: only what it lacks."""
    with session.step("sync"), session.host() as host:
        install_agent(host, session.root)
        source = Path(session.record["dataset_folder"])
        target = shell.dataset_path(session.root, session.record["fingerprint"])
        with session.console.transfer("sync") as progress:
            pushed = push_folder(
                host, session.root, source, dataset_manifest(source), target, progress
            )
        manifest = trainer_manifest()
        code = shell.trainer_path(session.root, manifest)
        push_folder(host, session.root, TRAINER.parent, manifest, code, lambda *_: None)
        session.update("synced")
    rest = "; the rest was there" if pushed.files < pushed.files_total else ""
    session.console.say(
        f"Synced {pushed.files} of {pushed.files_total} files, "
        f"{format_size(pushed.size_bytes)}{rest}."
    )


def dataset_manifest(folder: Path) -> Manifest:
    """The files of a separated dataset, dataset.json included, as they must arrive."""
    files = {path: info.model_dump() for path, info in load_dataset(folder).files.items()}
    manifest = read_manifest(folder, skip=("images", "masks"))
    return {**files, MANIFEST: manifest[MANIFEST]}


def trainer_manifest() -> Manifest:
    """The files of the trainer's package."""
    return {f"{TRAINER.name}/{path}": info for path, info in read_manifest(TRAINER).items()}


def training_job(session_root: str, run_id: str, fingerprint: str) -> JobSpec:
    """Where the parts of a run's training lie on the node."""
    run = shell.run_path(session_root, run_id)
    return JobSpec(
        code=shell.trainer_path(session_root, trainer_manifest()),
        config=f"{run}/{CONFIG}",
        dataset=shell.dataset_path(session_root, fingerprint),
        run=run,
    )


def training_config(settings: Settings, job: JobSpec) -> dict[str, Any]:
    """The trainer's config: validated here, so that a mistake costs no node."""
    chosen = settings.model_dump(include=set(TRAINING_KEYS), exclude_none=True)
    if settings.epochs is None and settings.minutes is None:
        chosen["epochs"] = train_config.DEFAULT_EPOCHS
    config = TrainConfig(dataset=Path(job.dataset), output=Path(job.run), **chosen)
    return config.model_dump(mode="json", exclude_none=True)


def train(session: Session) -> JobStatus:
    """Start the trainer, detached; returns at once. A finished one stays finished."""
    with session.step("train"), session.host() as host:
        job = training_job(session.root, session.run.id, session.record["fingerprint"])
        config = training_config(session.settings, job)
        # Before the start: from here on there may be results that a teardown must not lose.
        session.update("training")
        status = start_job(host, session.root, job, ENGINE, config)
        session.update(job=job_record(status), error=None)
    return status


def watch(session: Session) -> JobStatus:
    """Show the training until it ends; log.txt and events.jsonl grow in the results' folder."""
    session.results.mkdir(parents=True, exist_ok=True)
    with _saver(session) as save, session.host() as host:
        sizes = {name: _size(session.results / name) for name in FILES}
        cloud = session.cloud()
        with View(session.console, session.usd) as view:
            if sizes["events.jsonl"]:
                view.recall((session.results / "events.jsonl").read_bytes())
            for item in follow_job(host, session.root, session.run_path, sizes):
                if isinstance(item, Chunk):
                    if save:
                        _append(session.results / item.file, item)
                    if item.file == "events.jsonl":
                        view.feed(item.content)
                elif isinstance(item, Reconnecting):
                    view.reconnecting(item)
                    _check_node(session, cloud)
                else:
                    status = item
    with session.step("watch"):
        record_end(session, status)
    return status


@contextlib.contextmanager
def _saver(session: Session) -> Iterator[bool]:
    """Whether this process keeps the local copies: of several on one machine, the first does."""
    lock = FileLock(session.folder / "follow.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _append(path: Path, chunk: Chunk) -> None:
    with path.open("ab") as writer:
        if writer.tell() != chunk.offset:
            raise RunError(
                f"{path} was changed while the run was followed.",
                fix="segaway fetch RUN renews it.",
            )
        writer.write(chunk.content)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _check_node(session: Session, cloud: Provider) -> None:
    label = session.label("node")
    if cloud.find_node(label) is None:
        raise NodeLost(
            f"The node {label} is gone; its volume keeps the last checkpoint.",
            fix="segaway run --resume RUN goes on from there; segaway down RUN --discard ends it.",
        )


def fetch(session: Session) -> JobStatus:
    """The results home, verified. Of a training that goes on, what there is so far."""
    with session.step("fetch"), session.host() as host:
        status = read_status(host, session.root, session.run_path)
        if status.state == "none":
            raise JobError(
                "The training of RUN has not started: there is nothing to fetch.",
                fix="segaway train RUN",
            )
        with session.console.transfer("fetch") as progress:
            fetched = fetch_folder(host, session.root, session.run_path, session.results, progress)
        if status.is_over:
            record_end(session, status)
            session.update("fetched")
    session.console.say(
        f"Fetched {fetched.files} of {fetched.files_total} files, "
        f"{format_size(fetched.size_bytes)}, to {session.results}."
    )
    return status


def teardown(session: Session, discard: bool = False) -> float:
    """Destroy what the run rented and see it gone; the bill in USD.

    Raises:
        RunError: there are results that were not fetched, or something cannot be destroyed.
    """
    with session.step("teardown"):
        if not discard:
            _refuse_unfetched(session)
        cloud = session.cloud()
        # The node first: a volume cannot go while it is attached.
        for resource in reversed(session.ledger.live_resources(session.run.id)):
            _destroy(session, cloud, resource)
        for name in ("host_key", "client_key"):
            remove_key(session.folder / name)
        session.update("down")
    return session.usd()


def _refuse_unfetched(session: Session) -> None:
    if session.run.has_reached("fetched") or not session.run.has_reached("training"):
        return
    state = _ask_state(session)
    if state == "none":
        return
    message, fix = _UNFETCHED.get(state, _UNFETCHED["over"])
    raise RunError(
        f"{message.format(session.run.id)} Nothing was destroyed.",
        fix=f"{fix} {session.run.id}; segaway down {session.run.id} --discard gives them up.",
    )


_UNFETCHED = {
    "running": ("The training of {} is still running.", "segaway attach"),
    "unknown": (
        "The node of {} is silent and has unfetched results.",
        "segaway run --resume",
    ),
    "over": ("The results of {} were not fetched.", "segaway fetch"),
}


def _ask_state(session: Session) -> str:
    """The job's state by the node's own word; `unknown` where it does not answer."""
    with contextlib.suppress(RemoteError), session.host() as host:
        return read_status(host, session.root, session.run_path).state
    return "unknown"


def _destroy(session: Session, cloud: Provider, resource: Resource) -> None:
    find = cloud.find_node if resource.kind == "node" else cloud.find_volume
    # Also where a node counts as gone: its remains may hold the label.
    cloud.destroy(resource.kind, resource.cloud_id or resource.label)
    if find(resource.label) is not None:
        raise RunError(
            f"The {resource.kind} {resource.label} is still there after it was destroyed.",
            fix=f"segaway down {session.run.id} --discard tries again.",
        )
    session.ledger.mark_gone(resource)


def show_bill(session: Session) -> None:
    """What each resource cost."""
    rows = [
        [r.kind, r.label, f"{((r.gone_s or time.time()) - r.intended_s) / 3600:.2f}", f"{usd:.2f}"]
        for r, usd in bill(session.ledger.resources(session.run.id))
    ]
    session.console.table(["resource", "label", "hours", "USD"], rows)


def carry_out(session: Session, detach: bool = False) -> None:
    """All that is left of a run. Failures before the training began leave nothing behind."""
    with guard(session):
        if not session.run.has_reached("fetched"):
            _launch(session)
            if detach:
                return
            status = watch(session)
            if status.state == "lost":
                raise RunError(
                    f"The training of {session.run.id} was killed, or its node restarted.",
                    fix=f"segaway run --resume {session.run.id} goes on from its last checkpoint.",
                )
            fetch(session)
        teardown(session)
        show_bill(session)
        if error := session.record.get("error"):
            raise RunError(
                error["message"], fix=error["fix"] or f"See {session.results / 'log.txt'}."
            )


def _launch(session: Session) -> None:
    try:
        provision(session)
        sync(session)
        train(session)
    except (Unreachable, Busy):
        raise  # the run may be fine: what is there already is worth keeping
    except Exception:
        if not _may_have_results(session):
            teardown(session, discard=True)
        raise


def _may_have_results(session: Session) -> bool:
    """Whether a training ever ran. A start may have failed, or its reply may have been lost."""
    session.refresh()
    if session.record.get("job"):
        return True
    return session.run.has_reached("training") and _ask_state(session) != "none"

"""What `status`, `runs` and `run --json` say of a run."""

import time
from typing import Any

from cli.budget import describe_budget
from cli.console import Console, format_duration
from cli.session import Session, list_still_billing
from train.events import Epoch, Step, parse_event


def summarise(session: Session) -> dict[str, Any]:
    """The run as one JSON object."""
    session.refresh()
    run, record = session.run, session.run.record
    job = record.get("job") or {}
    return {
        "run": run.id,
        "state": describe_state(session),
        "cloud": run.cloud,
        "dataset": record["dataset"],
        "metrics": record.get("metrics"),
        "error": record.get("error"),
        "job": {"state": job.get("state"), "exit_code": job.get("exit_code")},
        "progress": read_progress(session),
        "results": record["results"],
        "created_s": run.created_s,
        "deadline_s": run.deadline_s,
        "usd": round(session.usd(), 4),
        "usd_per_hour": session.rate.usd_per_hour,
        "still_billing": list_still_billing(session),
    }


def describe_state(session: Session) -> str:
    """The run's state; `failed` once it is down without having finished."""
    if session.run.state == "down" and session.record.get("error"):
        return "failed"
    return (
        "done"
        if session.run.state == "down" and session.record.get("metrics")
        else session.run.state
    )


def read_progress(session: Session) -> float | None:
    """Share of the training that is known to be done, from the events that came home."""
    if session.record.get("metrics"):
        return 1.0
    path = session.results / "events.jsonl"
    if not path.exists():
        return None
    events = [parse_event(line) for line in path.read_bytes().splitlines()[-200:]]
    steps = [event.progress for event in events if isinstance(event, Step)]
    return steps[-1] if steps else None


def read_iou(session: Session) -> dict[str, float | None]:
    """The IoU per class of the best epoch, from the events that came home."""
    path = session.results / "events.jsonl"
    events = [parse_event(line) for line in path.read_bytes().splitlines()] if path.exists() else []
    best = [event for event in events if isinstance(event, Epoch) and event.best]
    return best[-1].iou if best else {}


def show_run(session: Session, console: Console) -> None:
    """The same for people."""
    known = summarise(session)
    metrics = known["metrics"] or {}
    left_s = known["deadline_s"] - time.time()
    rows = [
        ["run", known["run"]],
        ["state", known["state"]],
        ["dataset", f"{known['dataset']['name']} ({known['dataset']['layout']})"],
        *[[name, f"{value:.4g}"] for name, value in metrics.items()],
        ["results", known["results"]],
        ["cost so far", f"{known['usd']:.2f} USD"],
    ]
    if known["still_billing"]:
        rows.append(["deadline", f"in {format_duration(left_s)}"])
        if warning := describe_budget(session, time.time()):
            rows.append(["warning", warning])
    if known["error"]:
        rows.append(["error", known["error"]["message"]])
    rows += [["still there", line] for line in known["still_billing"]]
    for name, value in rows:
        console.say(f"{name:<16}{value}")


def show_metrics(session: Session, console: Console) -> None:
    """A table of the metrics, and of the IoU per class."""
    rows = [[name, f"{value:.4f}"] for name, value in (session.record["metrics"] or {}).items()]
    rows += [
        [f"IoU {name}", "absent" if iou is None else f"{iou:.4f}"]
        for name, iou in read_iou(session).items()
    ]
    console.table(["metric", "value"], rows)
    console.say(f"Results: {session.results} (open report.html there)")

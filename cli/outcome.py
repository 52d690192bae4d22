"""How a training ended, from what came home of it."""

from pathlib import Path
from typing import Any

from cli.session import Session
from remote.job import JobStatus
from train.events import Failed, Finished, parse_event


def record_end(session: Session, status: JobStatus) -> None:
    """Write down how the training ended, from the events that are here."""
    finished = read_finished(session.results / "events.jsonl")
    metrics = finished.metrics if finished else session.record.get("metrics")
    error = None
    if status.state != "finished":
        message = status.message or f"The training {_WORDS[status.state]}."
        error = {"message": message, "fix": status.fix}
    session.update("trained", job=job_record(status), metrics=metrics, error=error)


_WORDS = {
    "stopped": "was stopped before its end",
    "failed": "failed",
    "lost": "is lost",
    "none": "never started",
}


def job_record(status: JobStatus) -> dict[str, Any]:
    return {
        "state": status.state,
        "exit_code": status.exit_code,
        "cause": status.cause,
        "attempt": status.attempt,
        "started_s": status.started_s,
        "ended_s": status.ended_s,
    }


def read_finished(path: Path) -> Finished | None:
    """The trainer's last word, if it is that the training is done."""
    if not path.exists():
        return None
    events = [parse_event(line) for line in path.read_bytes().splitlines()]
    ends = [event for event in events if isinstance(event, Finished | Failed)]
    return ends[-1] if ends and isinstance(ends[-1], Finished) else None

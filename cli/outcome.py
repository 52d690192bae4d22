"""How a training ended, from what came home of it."""

from pathlib import Path
from typing import Any

from cli.session import Session
from remote.job import JobStatus
from train.events import Failed, Finished, parse_event


def record_end(session: Session, status: JobStatus) -> None:
    """Write down how the training ended, from the events that are here."""
    outcome = read_outcome(session.results / "events.jsonl")
    metrics = outcome.metrics if isinstance(outcome, Finished) else session.record.get("metrics")
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


def read_outcome(path: Path) -> Finished | Failed | None:
    """The last event that ends a training, if there is one."""
    if not path.exists():
        return None
    ends = (parse_event(line) for line in path.read_bytes().splitlines())
    return next((e for e in reversed(list(ends)) if isinstance(e, Finished | Failed)), None)

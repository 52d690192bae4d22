"""What a host is sent: pure builders of commands and paths. Nothing here connects."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

AGENT = (Path(__file__).parent / "agent.py").read_bytes()
AGENT_NAME = f"agent-{hashlib.sha256(AGENT).hexdigest()[:12]}.py"
PYTHON = "python3"


def agent_path(root: str) -> str:
    """Where the agent lies on the volume; its name is its content's."""
    return _join(root, ".segaway", AGENT_NAME)


def dataset_path(root: str, fingerprint: str) -> str:
    """Where a dataset lies on the volume: runs that use the same data share it."""
    return _join(root, "datasets", fingerprint[:16])


def trainer_path(root: str, manifest: Mapping[str, Any]) -> str:
    """Where the trainer's code lies on the volume; changed code has another place."""
    digest = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
    return _join(root, "trainer", digest[:12])


def run_path(root: str, run: str) -> str:
    """The folder of a run on the volume: config, log, events, checkpoints, masks, report."""
    return _join(root, "runs", run)


def make_folder(path: str) -> list[str]:
    return ["mkdir", "-p", path]


def call_agent(root: str, verb: str, *arguments: str) -> list[str]:
    """The command that makes the agent do `verb`."""
    return [PYTHON, agent_path(root), verb, *arguments]


def follow_files(root: str, run: str, offsets: Mapping[str, int]) -> list[str]:
    """The command that sends the run's growing files from these byte offsets on."""
    marks = [f"{name}:{offset}" for name, offset in sorted(offsets.items())]
    return call_agent(root, "follow", run_path(root, run), *marks)


def _join(*parts: str) -> str:
    return str(PurePosixPath(*parts))

"""User data, as an instance will read it: checked by cloud-init itself where that is installed."""

import base64
import gzip
import shutil
import subprocess
import tempfile
import zlib
from dataclasses import dataclass, field
from typing import Any

import yaml

CHECK_TIMEOUT_S = 60.0
HEADER = "#cloud-config"
KINDS = {
    **dict.fromkeys(("bootcmd", "runcmd", "write_files", "users", "ssh_authorized_keys"), list),
    "ssh_keys": dict,
}


@dataclass(frozen=True)
class UserData:
    """What it asks for; `complaint` is why nothing of it is done."""

    config: dict[str, Any] = field(default_factory=dict)
    script: str = ""
    complaint: str = ""


def read_user_data(data: bytes | None) -> UserData:
    """Cloud config or a script, gzipped or not. What is neither is ignored, as in real life."""
    if not data:
        return UserData()
    try:
        text = (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        return UserData(complaint=f"the user data cannot be read: {error}")
    if text.startswith("#!"):
        return UserData(script=text)
    if text.splitlines()[0].strip() != HEADER:
        return UserData(complaint=f"the user data begins with neither {HEADER} nor #!")
    try:
        config = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        return UserData(complaint=f"the user data is not YAML: {error}")
    if complaint := check_types(config) or check_schema(text):
        return UserData(complaint=complaint)
    for entry in config.get("write_files") or []:
        if isinstance(entry.get("content"), bytes):
            entry["content"] = base64.b64encode(entry["content"]).decode()
            entry["encoding"] = "b64"
    return UserData(config)


def check_types(config: Any) -> str:
    """What is so wrong that nothing of it could be applied."""
    if not isinstance(config, dict):
        return "the user data is no mapping"
    for key, kind in KINDS.items():
        if not isinstance(config.get(key, kind()), kind):
            return f"{key} of the user data is no {kind.__name__}"
    return ""


def check_schema(text: str) -> str:
    """What cloud-init has against it; nothing where it is not installed."""
    program = shutil.which("cloud-init")
    if not program:
        return ""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(text)
        file.flush()
        done = subprocess.run(
            [program, "schema", "-c", file.name],
            capture_output=True,
            text=True,
            timeout=CHECK_TIMEOUT_S,
            check=False,
        )
    return f"{done.stdout}{done.stderr}".strip() if done.returncode else ""

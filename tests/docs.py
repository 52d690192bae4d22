"""What of `docs/` is written from the program, and checked against it: the commands, the settings.

python -m tests.docs --write | --check
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from cli.config import OURS
from cli.main import list_commands
from cli.template import make_schema
from train.config import TrainConfig

DOCS = Path(__file__).parent.parent / "docs"
BEGIN = "<!-- settings: written by `make format` from train/config.py -->\n"
END = "<!-- end of settings -->\n"
BOUNDS = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
KINDS = {"integer": "whole number", "number": "number", "string": "text"}


def render_commands() -> str:
    """Every command's help, as a page."""
    parts = ["# The commands", "", "Written by `make format` from the help texts themselves.", ""]
    for arguments in [[], *([name] for name in list_commands())]:
        title = " ".join(["segaway", *arguments])
        parts += [f"## {title}", "", "```", _help(arguments).strip(), "```", ""]
    return "\n".join(parts)


def render_settings() -> str:
    """The trainer's settings as a table, in the order of `TrainConfig`."""
    known = TrainConfig.model_json_schema()["properties"]
    lines = ["| key | default | takes | what it is |", "|---|---|---|---|"]
    for key, field in TrainConfig.model_fields.items():
        if key in OURS:
            continue
        default = known[key].get("default")
        shown = "" if default in (None, "") else f"`{json.dumps(default)}`".replace('"', "")
        takes = _describe_values(known[key])
        lines.append(f"| `{key}` | {shown} | {takes} | {field.description or ''} |")
    return "\n".join(lines) + "\n"


def _describe_values(schema: dict[str, Any]) -> str:
    """What a key of that JSON schema may be, in words."""
    if "anyOf" in schema:
        parts = [part for part in schema["anyOf"] if part.get("type") != "null"]
        return " or ".join(_describe_values(part) for part in parts)
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if schema["type"] == "boolean":
        return "`true`, `false`"
    if schema["type"] == "array":
        return f"list of {_describe_values(schema['items'])}"
    bounds = [f" {sign} {schema[name]}" for name, sign in BOUNDS.items() if name in schema]
    return KINDS[schema["type"]] + ",".join(bounds)


def render_training() -> str:
    """The page on training, with the table of settings as it must be."""
    text = (DOCS / "training.md").read_text()
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}{render_settings()}{END}{rest.partition(END)[2]}"


def pages() -> dict[Path, str]:
    """The files that are written, and what they must hold."""
    schema = json.dumps(make_schema(), indent=1) + "\n"
    return {
        DOCS / "commands.md": render_commands(),
        DOCS / "segaway.schema.json": schema,
        DOCS / "training.md": render_training(),
    }


def _help(arguments: list[str]) -> str:
    command = [sys.executable, "-m", "cli.main", *arguments, "--help"]
    environment = {**os.environ, "COLUMNS": "90", "TERMINAL_WIDTH": "90"}
    text = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return text.stdout.replace("python -m cli.main", "segaway")


def main(mode: str) -> int:
    """Write the pages, or name those that are not true any more."""
    stale = [p for p, text in pages().items() if not p.exists() or p.read_text() != text]
    if mode == "--write":
        for path in stale:
            path.write_text(pages()[path])
        return 0
    for path in stale:
        print(f"{path} is not what the program says. Fix: make format", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

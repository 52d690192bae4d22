"""`docs/commands.md` and the settings' schema, written from the program and checked against it.

python -m tests.docs --write | --check
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from cli.main import list_commands
from cli.template import make_schema

DOCS = Path(__file__).parent.parent / "docs"


def render_commands() -> str:
    """Every command's help, as a page."""
    parts = ["# The commands", "", "Written by `make format` from the help texts themselves.", ""]
    for arguments in [[], *([name] for name in list_commands())]:
        title = " ".join(["segaway", *arguments])
        parts += [f"## {title}", "", "```", _help(arguments).strip(), "```", ""]
    return "\n".join(parts)


def pages() -> dict[Path, str]:
    """The files that are written, and what they must hold."""
    schema = json.dumps(make_schema(), indent=1) + "\n"
    return {DOCS / "commands.md": render_commands(), DOCS / "segaway.schema.json": schema}


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

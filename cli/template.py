"""The commented segaway.toml that `init` writes, and the schema of it."""

import json
from pathlib import Path
from typing import Any

from pydantic_core import PydanticUndefined

from cli.config import FILE, SCHEMA, Settings
from cli.console import Console
from cli.errors import CliError


def make_schema() -> dict[str, Any]:
    """The JSON schema of segaway.toml."""
    return Settings.model_json_schema()


def make_template() -> str:
    """A segaway.toml that names every key, all commented out."""
    lines = [
        f"#:schema ./{SCHEMA}",
        "# Settings of segaway in this folder. Flags and SEGAWAY_... variables go before it.",
        "",
    ]
    for name, field in Settings.model_fields.items():
        default = None if field.default is PydanticUndefined else field.default
        lines += [f"# {field.description}", f"# {name} = {_format(default)}", ""]
    return "\n".join(lines)


def write_template(console: Console, force: bool, dry_run: bool) -> None:
    """Write both files into the current folder.

    Raises:
        CliError: one is there already, and `force` is not given.
    """
    files = {FILE: make_template(), SCHEMA: json.dumps(make_schema(), indent=1) + "\n"}
    console.answer({"files": list(files)})
    if dry_run:
        console.say(f"Would write {' and '.join(files)}.")
        return
    there = [name for name in files if Path(name).exists()]
    if there and not force:
        raise CliError(f"{there[0]} is here already.", fix="segaway init --force replaces it.")
    for name, text in files.items():
        Path(name).write_text(text, encoding="utf-8")
    console.say(f"Wrote {' and '.join(files)}.")


def _format(default: Any) -> str:
    """A TOML value; an example where there is no default."""
    if default is None:
        return "10"
    return json.dumps(str(default) if isinstance(default, Path) else default)

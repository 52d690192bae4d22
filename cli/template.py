"""The commented segaway.toml that `init` writes, and the schema of it."""

import json
from pathlib import Path
from typing import Any, get_args

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from cli.config import FILE, SCHEMA, TABLE, Settings, list_table_keys
from cli.console import Console
from cli.errors import CliError
from train.config import TrainConfig


def make_schema() -> dict[str, Any]:
    """The JSON schema of segaway.toml."""
    schema = Settings.model_json_schema()
    known = TrainConfig.model_json_schema()["properties"]
    table = {"additionalProperties": False, "properties": {k: known[k] for k in list_table_keys()}}
    schema["properties"][TABLE] |= table
    return schema


def make_template() -> str:
    """A segaway.toml that names every key, all commented out."""
    lines = [
        f"#:schema ./{SCHEMA}",
        "# Settings of segaway in this folder. Flags and SEGAWAY_... variables go before it.",
        "",
    ]
    for name, field in Settings.model_fields.items():
        if name != TABLE:
            lines += _describe(name, field)
    lines += [f"# {Settings.model_fields[TABLE].description}", f"# [{TABLE}]", ""]
    for name in list_table_keys():
        lines += _describe(name, TrainConfig.model_fields[name])
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


def _describe(name: str, field: FieldInfo) -> list[str]:
    """A key's lines: what it is, and its default as a TOML value; an example where it has none."""
    value = None if field.default is PydanticUndefined else field.default
    if value is None:
        value = "PATH" if Path in get_args(field.annotation) else 10
    text = json.dumps(str(value) if isinstance(value, Path) else value)
    described = [f"# {field.description}"] if field.description else []
    return [*described, f"# {name} = {text}", ""]

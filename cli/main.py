"""The Typer app: finds the commands, turns an error into message, fix and exit code.

Nothing but Typer is imported before a command is known: `segaway --help` answers in a blink.
"""

import ast
import importlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

COMMANDS = Path(__file__).parent / "commands"


def list_commands() -> list[str]:
    """The names of the commands: the files of `cli/commands`, with - for each _."""
    stems = (path.stem for path in COMMANDS.glob("*.py"))
    return sorted(stem.replace("_", "-") for stem in stems if not stem.startswith("_"))


def read_summary(name: str) -> str:
    """The first line of a command's help, read without importing it."""
    tree = ast.parse((COMMANDS / f"{_module(name)}.py").read_text(encoding="utf-8"))
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef))
    docs = [ast.get_docstring(f) or "" for f in functions if f.name == "command"]
    return docs[0].splitlines()[0]


def load_command(name: str) -> Any:
    """The command itself, imported."""
    module = importlib.import_module(f"cli.commands.{_module(name)}")
    single = typer.Typer(add_completion=False, rich_markup_mode=None)
    single.command(name)(module.command)
    return typer.main.get_command(single)


def _module(name: str) -> str:
    return name.replace("-", "_")


class CommandFolder(TyperGroup):
    """A group whose commands are files: listed by name, imported when invoked."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list_commands()

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """What a listing needs of the command: its name and the first line of its help."""
        if cmd_name not in list_commands():
            return None
        return typer.core.TyperCommand(cmd_name, help=read_summary(cmd_name))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that is to be invoked."""
        # Read for its keys: what may have been meant by a name that does not exist.
        self.commands = {name: self.get_command(ctx, name) for name in list_commands()}
        name, found, rest = super().resolve_command(ctx, args)
        return name, load_command(str(name)) if found else None, rest


app = typer.Typer(
    cls=CommandFolder,
    help="Send a segmentation training run to a rented GPU, get the model, the masks and the "
    "report back, and leave nothing billing.",
    no_args_is_help=True,
    # Plain help: rendering it with rich takes longer than everything else that --help does.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog="RUN is a run's id, or enough of its beginning; without it, the newest open run.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(version("segaway"))
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[
        bool, typer.Option("--debug", envvar="SEGAWAY_DEBUG", help="Show tracebacks of failures.")
    ] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Keep `--debug` where `main` finds it."""
    if debug:
        os.environ["SEGAWAY_DEBUG"] = "1"


def _interrupt(_number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


def main() -> NoReturn:
    """The entry point: run the command line, report what goes wrong, exit."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        app()
    except KeyboardInterrupt:
        print("Interrupted. Nothing is running.", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        if os.environ.get("SEGAWAY_DEBUG"):
            raise
        sys.exit(report(error))
    sys.exit(0)


def report(error: Exception) -> int:
    """Say what happened, what is still billing, and what mends it; the exit code."""
    fix = getattr(
        error, "fix", "Repeat it with segaway --debug for the traceback, and report that."
    )
    still = getattr(error, "still_billing", [])
    message = str(error) if hasattr(error, "fix") else f"{type(error).__name__}: {error}"
    lines = [f"Error: {message}", *(f"Still there: {line}" for line in still)]
    print("\n".join([*lines, f"Fix: {fix}"] if fix else lines), file=sys.stderr)
    # What stands behind -- is another program's.
    if "--json" in sys.argv[: (*sys.argv, "--").index("--")]:
        answer = {"error": message, "fix": fix, "still_billing": still}
        print(json.dumps({"run": getattr(error, "run", None) or None, **answer}))
    return int(getattr(error, "exit_code", 1))


if __name__ == "__main__":
    main()

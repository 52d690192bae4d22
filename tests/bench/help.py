"""`segaway --help` beside the time of `python -c "import typer, rich"`: medians, in turn."""

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROUNDS = 15


def measure(command: list[str]) -> float:
    """Seconds that a command takes."""
    began = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def main() -> None:
    """Run both in turn and print the ratio."""
    program = str(Path(sys.executable).parent / "segaway")
    commands = {
        "help": [program, "--help"],
        "imports": [sys.executable, "-c", "import typer, rich"],
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(ROUNDS):
        for name, command in commands.items():
            times[name].append(measure(command))
    medians = {name: statistics.median(values) for name, values in times.items()}
    print(
        json.dumps(
            {
                "help_s": round(medians["help"], 4),
                "imports_s": round(medians["imports"], 4),
                "ratio": round(medians["help"] / medians["imports"], 3),
                "limit": 1.5,
            }
        )
    )


if __name__ == "__main__":
    main()

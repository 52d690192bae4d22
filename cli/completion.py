"""What the shell may complete. Answers from disk, and never fails."""

from pathlib import Path

ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".zip")


def complete_run(incomplete: str) -> list[tuple[str, str]]:
    """Runs, open ones first, with their state."""
    try:
        from cli.config import find_home
        from provision.ledger import Ledger

        path = find_home() / "ledger.sqlite"
        if not path.exists():
            return []
        with Ledger(path) as ledger:
            runs = sorted(ledger.runs(), key=lambda run: not run.is_open)
        return [(run.id, run.state) for run in runs if run.id.startswith(incomplete)]
    except Exception:  # a completion that fails must not spoil the command line
        return []


def complete_dataset(incomplete: str) -> list[str]:
    """Archives and folders."""
    head, _, tail = incomplete.rpartition("/")
    folder = Path(head or ("/" if incomplete.startswith("/") else ".")).expanduser()
    try:
        found = [p for p in folder.iterdir() if p.name.startswith(tail)]
    except OSError:
        return []
    prefix = f"{head}/" if "/" in incomplete else ""
    folders = [f"{prefix}{p.name}/" for p in found if p.is_dir() and not p.name.startswith(".")]
    return sorted(folders + [f"{prefix}{p.name}" for p in found if p.name.endswith(ARCHIVES)])


def list_cloud_names() -> list[str]:
    """The clouds."""
    from provision.clouds import list_clouds

    return list_clouds()


def list_engine_names() -> list[str]:
    """The engines."""
    from remote.engines import list_engines
    from remote.job import AUTO

    return [AUTO, *list_engines()]

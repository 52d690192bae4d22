"""What the repository promises of itself."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_every_package_is_listed() -> None:
    """The explicit list of setuptools is the folders that there are."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    found = {
        path.parent.relative_to(ROOT).as_posix().replace("/", ".")
        for name in ("cli", "provision", "remote", "train")
        for path in (ROOT / name).rglob("__init__.py")
    }
    assert set(settings["tool"]["setuptools"]["packages"]) == found

"""Clouds, one file each, found by file name.

A cloud is a module with one function, `open_cloud(home, options)`, that returns a `Provider`.
"""

import importlib
import pkgutil
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast

from provision.base import PlanError, Provider


def list_clouds() -> list[str]:
    """The names of the clouds."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def open_cloud(name: str, home: Path, options: Mapping[str, Any]) -> Provider:
    """The cloud called `name`. `home` is segaway's own folder on this machine.

    Raises:
        PlanError: there is no such cloud.
    """
    if name not in list_clouds():
        near = get_close_matches(name, list_clouds(), n=1) or list_clouds()
        raise PlanError(f"There is no cloud {name!r}.", fix=f"--on {' or '.join(near)}")
    module = importlib.import_module(f"{__name__}.{name}")
    return cast(Provider, module.open_cloud(home, options))

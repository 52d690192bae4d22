"""segaway.toml, environment and flags -> typed settings. Flags > environment > file > defaults."""

import os
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cli.errors import ConfigError

FILE = "segaway.toml"
SCHEMA = "segaway.schema.json"
PREFIX = "SEGAWAY_"
# These are no settings: where the state lies, how errors are shown, shell completion's own.
OTHER_VARIABLES = ("SEGAWAY_HOME", "SEGAWAY_DEBUG", "SEGAWAY_NODE")


class Settings(BaseModel):
    """What a person may set, by the same name in the file, the environment and as a flag."""

    model_config = ConfigDict(extra="forbid", frozen=True, title=FILE)

    on: str = Field("local", description="Cloud that the node is rented from.")
    model: str = Field("resunet", description="Model family.")
    epochs: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Passes over the train list; 20 where minutes are not given either."
    )
    minutes: Annotated[float, Field(gt=0)] | None = Field(
        None, description="Training time instead of epochs."
    )
    crop: int = Field(256, ge=32, le=4096, description="Side of the square training crop, px.")
    batch: int = Field(8, ge=1, description="Images per optimiser step.")
    seed: int = Field(0, ge=0, lt=2**32, description="Seed of weights, order and augmentation.")
    device: Literal["auto", "cuda", "cpu"] = Field(
        "auto", description="What the trainer computes on; auto: the GPU where one is rented."
    )
    engine: Literal["auto", "docker", "podman", "process"] = Field(
        "auto", description="What runs the trainer; auto: podman, docker or process, as there is."
    )
    image: str = Field(
        "", description="Published image of the trainer, instead of one built on the node."
    )
    base_image: str = Field(
        "", description="Image with Python and torch that the trainer's is built from."
    )
    memory: Annotated[float, Field(ge=0.0625)] | None = Field(
        None, description="GiB that the trainer's container may use."
    )
    retries: int = Field(
        0, ge=0, le=100, description="Times that a trainer which failed is started again."
    )
    live_share: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Share of the link for results that come home during training; 0: none do.",
    )
    max_cost: Annotated[float, Field(gt=0)] | None = Field(
        None, description="USD that the run may cost at most; becomes its deadline."
    )
    max_hours: float = Field(
        24.0, gt=0, description="Hours after which the node destroys itself, whatever happens."
    )
    region: str = Field(
        "any", description="Region to rent in; any: the cheapest that has the plan."
    )
    plan: str = Field("any", description="Plan of the cloud to rent; any: the cheapest with a GPU.")
    accept_unknown_price: bool = Field(
        False, description="Rent also what has no price that segaway can read."
    )
    ssh_from: str = Field(
        "",
        description="Networks (CIDR, comma between) that may reach the node; default: you alone.",
    )
    unguarded: bool = Field(
        False, description="Rent also where the node cannot destroy itself at its deadline."
    )
    keep_volume: Literal["auto", "yes", "no"] = Field(
        "auto", description="Keep the volume with the data for the next run; auto: where it bills."
    )
    move_data: bool = Field(
        False, description="Make a new volume, though one that holds the data is kept elsewhere."
    )
    idle_minutes: float = Field(
        60.0, ge=5, description="Minutes without a job or a visitor until a rented node goes."
    )
    boot_minutes: float = Field(
        20.0, gt=0, description="Minutes that a node may take until it is ready."
    )
    results: Path = Field(
        Path("results"), description="Folder in which each run gets a folder of its own."
    )
    val: float = Field(
        0.2,
        gt=0,
        lt=1,
        description="Share of the labelled images for validation, where no split was published.",
    )
    test: float = Field(0.0, ge=0, lt=1, description="Share for testing, likewise.")
    split_seed: int = Field(0, ge=0, description="Seed of that split.")
    local_port: int = Field(
        0, ge=0, le=65535, description="Loopback port of the local cloud's node; 0: any free one."
    )

    @property
    def admitted(self) -> tuple[str, ...]:
        """The networks of `ssh_from`."""
        return tuple(part.strip() for part in self.ssh_from.split(",") if part.strip())


def find_home(environ: Mapping[str, str] = os.environ) -> Path:
    """segaway's own folder on this machine: ledger, keys, datasets, the local cloud."""
    given = environ.get("SEGAWAY_HOME")
    return Path(given).absolute() if given else platformdirs.user_state_path("segaway")


def load_settings(
    flags: Mapping[str, Any] | None = None,
    folder: Path | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Settings:
    """The settings that hold now; flags that are None were not given.

    Raises:
        ConfigError: an unknown key or a value out of range, with its place.
    """
    given = {key: value for key, value in (flags or {}).items() if value is not None}
    layers = [
        ("segaway.toml", _read_file(folder or Path.cwd())),
        ("the environment", _read_environment(environ)),
        ("the flags", given),
    ]
    merged: dict[str, Any] = {}
    for place, layer in layers:
        _check(place, layer)
        # Each is the other's alternative: giving one takes the other back.
        for one, other in (("epochs", "minutes"), ("minutes", "epochs")):
            if one in layer:
                merged.pop(other, None)
        merged |= layer
    return Settings.model_validate(merged)


def _read_file(folder: Path) -> dict[str, Any]:
    path = folder / FILE
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(
            f"{path} cannot be read: {error}.", fix="Mend it, or write a new one: segaway init."
        ) from error


def _read_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    return {
        name.removeprefix(PREFIX).lower(): value
        for name, value in environ.items()
        if name.startswith(PREFIX) and name not in OTHER_VARIABLES
    }


def _check(place: str, layer: Mapping[str, Any]) -> None:
    try:
        Settings.model_validate(layer)
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0])
        if first["type"] == "extra_forbidden":
            near = get_close_matches(key, Settings.model_fields, n=1)
            raise ConfigError(
                f"Unknown key {key!r} in {place}.",
                fix=f"Did you mean {near[0]!r}?"
                if near
                else f"Known: {', '.join(Settings.model_fields)}.",
            ) from None
        raise ConfigError(
            f"{key} = {first['input']!r} in {place}: {first['msg']}.",
            fix=f"{key}: {Settings.model_fields[key].description}",
        ) from None
    if "epochs" in layer and "minutes" in layer:
        raise ConfigError(f"epochs and minutes in {place} exclude each other.", fix="Give one.")

"""segaway.toml, environment and flags -> typed settings. Flags > environment > file > defaults."""

import os
import tomllib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from cli.errors import ConfigError
from train.config import LENGTHS, TrainConfig
from train.errors import TrainError
from train.waggle import translate_config_list

FILE = "segaway.toml"
SCHEMA = "segaway.schema.json"
PREFIX = "SEGAWAY_"
TABLE = "train"
OURS = ("dataset", "output")
"""What of the trainer's config segaway alone knows."""
SECRET = "status_url"
"""The one setting that may hold a secret: `${NAME}` in it is NAME of the environment."""
# These are no settings: where the state lies, how errors are shown, shell completion's own.
OTHER_VARIABLES = ("SEGAWAY_HOME", "SEGAWAY_DEBUG", "SEGAWAY_NODE")


class Settings(BaseModel):
    """What a person may set, by the same name in the file, the environment and as a flag.

    What the trainer alone knows is in the table `train`: KEY there, `--set KEY=VALUE` as a flag,
    `SEGAWAY_TRAIN__KEY` in the environment.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, title=FILE)

    on: str = Field("local", description="Cloud that the node is rented from.")
    model: str = Field(
        "resunet", description="Model: resunet, fcn_resnet101, unet/resnet34 and others like it."
    )
    epochs: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Passes over the train list; 20 where minutes or steps are not given."
    )
    minutes: Annotated[float, Field(gt=0)] | None = Field(
        None, description="Training time instead of epochs."
    )
    steps: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Optimiser steps instead of epochs."
    )
    crop: int = Field(256, ge=32, le=4096, description="Side of the square training crop, px.")
    batch: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        8, description="Images per optimiser step; auto: as many as the memory holds."
    )
    seed: int = Field(0, ge=0, lt=2**32, description="Seed of weights, order and augmentation.")
    loss: str = Field(
        "log_jaccard", description="A loss, or a sum of weighted ones: 1.0*dice+0.8*bce."
    )
    lr: float = Field(5e-3, gt=0, description="Peak learning rate.")
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
    group_by: str = Field(
        "", description="Regular expression; images whose names match it alike stay together."
    )
    layout: str = Field(
        "", description="Layout of the dataset, where it could have several: voc, coco, ..."
    )
    local_port: int = Field(
        0, ge=0, le=65535, description="Loopback port of the local cloud's node; 0: any free one."
    )
    config_list: Path | None = Field(
        None, description="Waggle's config.list, whose settings hold where none are given here."
    )
    train: dict[str, Any] = Field(
        default_factory=dict, description="The trainer's other settings (docs/training.md)."
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
    if words := given.pop("set", ()):
        given[TABLE] = read_words(words)
    layers = [
        ("segaway.toml", _read_file(folder or Path.cwd())),
        ("the environment", _read_environment(environ)),
        ("the flags", given),
    ]
    merged: dict[str, Any] = {}
    for place, layer in layers:
        checked = _check(place, layer)
        if "config_list" in checked:
            merged = _merge(merged, _translate(Path(checked["config_list"])))
        merged = _merge(merged, checked)
    return Settings.model_validate(merged)


def list_table_keys() -> list[str]:
    """The keys of the table `train`: all of the trainer's that are no settings of their own."""
    return [key for key in TrainConfig.model_fields if key not in {*Settings.model_fields, *OURS}]


def read_words(words: Iterable[str]) -> dict[str, str]:
    """The keys and values of `--set KEY=VALUE` words; of several for one key the last.

    Raises:
        ConfigError: a word has no key or no =.
    """
    for word in words:
        if not word.partition("=")[0] or "=" not in word:
            raise ConfigError(f"--set {word} says no KEY=VALUE.", fix="As in --set lr=1e-3.")
    return {word.partition("=")[0].strip(): word.partition("=")[2].strip() for word in words}


def _translate(path: Path) -> dict[str, Any]:
    try:
        settings, _ = translate_config_list(path)
    except TrainError as error:
        raise ConfigError(str(error), fix=error.fix) from error
    return _check(str(path), {TABLE: settings})


def _merge(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    # Each length is the others' alternative: giving one takes the others back.
    kept = {k: v for k, v in lower.items() if k not in LENGTHS or not {*LENGTHS} & {*upper}}
    return {**kept, **upper, TABLE: {**kept.get(TABLE, {}), **upper.get(TABLE, {})}}


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
    found: dict[str, Any] = {
        name.removeprefix(PREFIX).lower(): value
        for name, value in environ.items()
        if name.startswith(PREFIX) and name not in OTHER_VARIABLES
    }
    inner = [name for name in found if name.startswith(f"{TABLE}__")]
    table = {name.removeprefix(f"{TABLE}__"): found.pop(name) for name in inner}
    return {**found, TABLE: table} if table else found


def _check(place: str, layer: Mapping[str, Any]) -> dict[str, Any]:
    """The layer with each setting where it belongs, the table's values as the trainer wants them.

    Raises:
        ConfigError: an unknown key, or a value out of range.
    """
    layer = _lift(place, layer)
    try:
        Settings.model_validate(layer)
    except ValidationError as error:
        raise _explain(place, error, Settings, layer) from None
    lengths = [name for name in LENGTHS if name in layer]
    if len(lengths) > 1:
        raise ConfigError(
            f"{' and '.join(lengths)} in {place} exclude each other.", fix="Give one."
        )
    return {**layer, TABLE: _check_table(place, layer.get(TABLE, {}))}


def _check_table(place: str, table: Mapping[str, Any]) -> dict[str, Any]:
    """The table's values as they are written down: the record of a run is JSON."""
    given = {key: _split_list(key, value) for key, value in table.items()}
    # A URL that is all in a variable is looked at when the training begins.
    now = {k: v for k, v in given.items() if k != SECRET or not str(v).startswith("${")}
    try:
        config = TrainConfig.model_validate({"dataset": ".", "output": ".", "epochs": 1, **now})
    except ValidationError as error:
        raise _explain(place, error, TrainConfig, given) from None
    return {**given, **config.model_dump(mode="json", include=set(now))}


def _lift(place: str, layer: Mapping[str, Any]) -> dict[str, Any]:
    """The layer, and out of its table what is a setting of its own: --set crop=64 is --crop 64."""
    table = layer.get(TABLE)
    if not isinstance(table, dict):
        return dict(layer)
    for key in table:
        if key in OURS or key not in TrainConfig.model_fields:
            raise _name_unknown(key, place)
        if key in layer:
            raise ConfigError(f"{key} is given twice in {place}.", fix="Give it once.")
    lifted = {key: value for key, value in table.items() if key in Settings.model_fields}
    rest = {key: value for key, value in table.items() if key not in lifted}
    return {**layer, **lifted, TABLE: rest}


def _split_list(key: str, value: Any) -> Any:
    """Words with commas between for a key that takes a list: a flag is one word."""
    if not isinstance(value, str) or key not in TrainConfig.model_fields:
        return value
    kind: TypeAdapter[Any] = TypeAdapter(TrainConfig.model_fields[key].annotation or Any)

    def takes(wanted: Any) -> bool:
        try:
            kind.validate_python(wanted)
        except ValidationError:
            return False
        return True

    if takes(value) or not takes([]):
        return value
    return [part.strip() for part in value.split(",") if part.strip()]


def _explain(
    place: str, error: ValidationError, model: type[BaseModel], layer: Mapping[str, Any]
) -> ConfigError:
    """What is wrong with the first key that something is wrong with."""
    first = error.errors()[0]
    if not first["loc"]:
        message = first["msg"].removeprefix("Value error, ")
        return ConfigError(f"In {place}: {message}.", fix="docs/training.md says what they take.")
    key = str(first["loc"][0])
    if first["type"] == "extra_forbidden":
        return _name_unknown(key, place)
    # A key with alternatives has a complaint of each.
    reasons = dict.fromkeys(e["msg"] for e in error.errors() if e["loc"][:1] == (key,))
    return ConfigError(
        f"{key} = {layer[key]!r} in {place}: {' or: '.join(reasons)}.",
        fix=f"{key}: {model.model_fields[key].description or 'one of these'}",
    )


def _name_unknown(key: str, place: str) -> ConfigError:
    known = [*Settings.model_fields, *list_table_keys()]
    near = get_close_matches(key, known, n=1)
    fix = f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(known)}."
    if key in list_table_keys():
        fix = f"It is the trainer's: {key} below [{TABLE}] in {FILE}, or --set {key}=VALUE."
    return ConfigError(f"Unknown key {key!r} in {place}.", fix=fix)

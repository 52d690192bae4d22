"""Waggle's config.list as this trainer's config. No torch here: the laptop translates, too.

`python -m train.waggle CONFIG.list DATASET OUTPUT` prints the config as JSON, and on stderr what
there is to know.
"""

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from train.config import TrainConfig
from train.errors import TrainError

NAME = "config.list"
CROP = 512
SEARCH_DEPTH = 3
USAGE = "Usage: python -m train.waggle CONFIG.list DATASET OUTPUT > config.json"


class _ConfigList(BaseModel):
    """Waggle's file; what it does not say is as Waggle's trainer had it."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)

    max_iteration: int = Field(100_000, ge=1)
    lr: float = Field(1e-10, gt=0)
    momentum: float = Field(0.99, ge=0, lt=1)
    weight_decay: float = Field(5e-4, ge=0)
    interval_validate: Annotated[int, Field(ge=1)] | None = 4000
    backbone: Literal["resnet"] = "resnet"
    # Both "101" and 101 are written.
    fcn: Annotated[Literal["50", "101"], BeforeValidator(str)] = "101"
    batch_size: int = Field(1, ge=1)
    pretrained: bool | str = False
    pretrained_net: str = ""
    log_dir: str = ""
    output_dir: str = ""


def translate_config_list(path: Path, crop: int = CROP) -> tuple[dict[str, Any], list[str]]:
    """The settings of `TrainConfig` that mean what the file means, and notes for people.

    `crop` is the crop that will be trained with, in px: the notes count with it.

    Raises:
        TrainError: it cannot be read, is no JSON object, or has a value that makes no sense.
    """
    given = _read(path)
    settings: dict[str, Any] = {
        "model": f"fcn_resnet{given.fcn}",
        "pretrained": _name_weights(given),
        "steps": given.max_iteration,
        "crop": crop,
        "batch": given.batch_size,
        "flip": False,
        "jitter": 0.0,
        "auxiliary": 0.0,
        "loss": "cross_entropy_sum",
        "optimizer": "sgd",
        "lr": given.lr,
        "momentum": given.momentum,
        "weight_decay": given.weight_decay,
        "schedule": "constant",
    }
    if given.interval_validate:
        settings["validate_steps"] = given.interval_validate
    return settings, _list_notes(given, settings, crop)


def find_config_list(folder: Path) -> Path | None:
    """The config.list that lies beside Waggle's images, somewhere in `folder`; opens no file."""
    for depth in range(SEARCH_DEPTH + 1):
        for path in sorted(folder.glob("/".join(["*"] * depth + [NAME]))):
            if (path.parent / "image").is_dir() and (path.parent / "gt_image").is_dir():
                return path
    return None


def _read(path: Path) -> _ConfigList:
    try:
        return _ConfigList.model_validate_json(path.read_bytes())
    except OSError as error:
        raise TrainError(
            f"{path}: {error.strerror}.", fix="Give the path of Waggle's config.list."
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0]) if first["loc"] else ""
        if not key:
            raise TrainError(
                f"{path} is not Waggle's config.list: {first['msg']}.",
                fix='It is one JSON object: {"max_iteration": 8000, "lr": 1e-10, ...}.',
            ) from error
        raise TrainError(
            f"{path}: {key} is {first['input']!r}: {first['msg']}.", fix=f"Mend {key} in that file."
        ) from error


def _name_weights(given: _ConfigList) -> str:
    """What `pretrained` is here: torchvision has these networks as they were trained on COCO."""
    if given.pretrained_net:
        return given.pretrained_net
    word = str(given.pretrained)
    return {"true": "coco", "false": ""}.get(word.lower(), word)


def _list_notes(given: _ConfigList, settings: dict[str, Any], crop: int) -> list[str]:
    pixels = crop * crop * given.batch_size
    notes = [
        f"lr {given.lr:g} belongs to a loss that is summed over the pixels, as Waggle's trainer "
        "sums it; so it is here, with loss=cross_entropy_sum. In mean form, for "
        f"{pixels:,} pixels a step (crop {crop}, batch {given.batch_size}), the same is "
        f"--set loss=cross_entropy --set lr={given.lr * pixels:.6g} "
        f"--set weight_decay={given.weight_decay / pixels:.6g}; void counts nowhere, nor does what "
        "a crop has beyond its image.",
        "Waggle's trainer took whole images, one at a time; here a step takes square crops "
        f"({given.batch_size} of {crop} px). --set crop=N is another side.",
    ]
    if folder := given.output_dir or given.log_dir:
        name = Path(folder).name
        notes.append(
            f"Results come to results/RUN, not to {folder!r}; --name {name} begins RUN with it."
        )
    notes += _list_weight_notes(given, str(settings["pretrained"]))
    if unknown := sorted(given.model_extra or {}):
        notes.append(f"These keys mean nothing here and are left out: {', '.join(unknown)}.")
    defaults = [
        f"{name} {getattr(given, name)}"
        for name in ("max_iteration", "lr", "momentum", "weight_decay", "interval_validate", "fcn")
        if name not in given.model_fields_set
    ]
    if defaults:
        notes.append(f"Not in the file, so as Waggle's trainer has it: {', '.join(defaults)}.")
    return notes


def _list_weight_notes(given: _ConfigList, weights: str) -> list[str]:
    if not weights:
        return [
            "The weights begin at random: the file names none. --set pretrained=coco begins with "
            "torchvision's, which the node downloads."
        ]
    if weights in ("coco", "imagenet"):
        return [f"The node downloads torchvision's weights ({weights})."]
    return [f"{weights} has to be a file on the node that the trainer can read there."]


def main(argv: list[str]) -> int:
    """Print the config of a training that does what the file says."""
    if len(argv) != 3:
        print(USAGE, file=sys.stderr)
        return 2
    try:
        settings, notes = translate_config_list(Path(argv[0]))
    except TrainError as error:
        print(f"Error: {error} {error.fix}", file=sys.stderr)
        return 1
    config = TrainConfig(dataset=Path(argv[1]), output=Path(argv[2]), **settings)
    print(config.model_dump_json(indent=1, exclude_unset=True))
    for note in notes:
        print(f"Note: {note}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

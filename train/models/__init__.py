"""Model families, one file each, found by file name.

A family is a module with three things:

build(classes, config)  a module that maps images N x 3 x H x W (normalised floats) to logits
                        N x classes x H x W, for any H and W. In train mode it may return a tuple:
                        those logits, then auxiliary ones of the same shape.
WEIGHTS                 the names that `config.pretrained` may have for it, beside a file
HEADS                   beginnings of the names of those weights that belong to the classes: they
                        may differ in a file that it begins with

It may have `serves(name)`: whether it is the family of that name. Without, its file's name is.
None imports torchvision, segmentation_models_pytorch or timm before it builds.
"""

import importlib
import pkgutil
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Protocol, cast

from torch import nn

from train.config import ARCHITECTURES, TrainConfig
from train.errors import TrainError
from train.models._norms import let_single_values_pass
from train.models._weights import load_file

# Weights that go by a name; what else `pretrained` says is a file.
NAMED_WEIGHTS = ("imagenet", "coco")


class Family(Protocol):
    """What a file of this folder offers."""

    WEIGHTS: tuple[str, ...]
    HEADS: tuple[str, ...]

    def build(self, classes: int, config: TrainConfig) -> nn.Module: ...


def build_model(classes: int, config: TrainConfig) -> nn.Module:
    """A model of the family that `config` names, with the weights that it begins with.

    Raises:
        TrainError: there is no such model; its package is not on the node; its weights cannot be
            downloaded, or do not fit.
    """
    family = find_family(config.model)
    pretrained = config.pretrained
    if pretrained in NAMED_WEIGHTS and pretrained not in family.WEIGHTS:
        known = " or ".join([*family.WEIGHTS, "the path of a file"])
        raise TrainError(
            f"There are no weights {pretrained} for {config.model}.",
            fix=f"Set pretrained to {known}, or leave it empty.",
        )
    model = family.build(classes, config)
    if pretrained and pretrained not in NAMED_WEIGHTS:
        load_file(model, Path(pretrained), family.HEADS)
    let_single_values_pass(model)
    return model


def find_family(name: str) -> Family:
    """The family that serves models called `name`.

    Raises:
        TrainError: none does.
    """
    # The file of that name first: the others need not be imported then.
    for file in sorted(list_files(), key=lambda file: file != name):
        module = _import(file)
        if _serves(module, name):
            return cast(Family, module)
    raise TrainError(f"There is no model {name!r}.", fix=f"--model {_guess(name)}")


def list_files() -> list[str]:
    """The files of this folder that are families."""
    return sorted(info.name for info in pkgutil.iter_modules(__path__) if info.name[0] != "_")


def _import(file: str) -> ModuleType:
    return importlib.import_module(f"{__name__}.{file}")


def _serves(module: ModuleType, name: str) -> bool:
    serves: Callable[[str], bool] | None = getattr(module, "serves", None)
    return serves(name) if serves else module.__name__ == f"{__name__}.{name}"


def _guess(name: str) -> str:
    """What may have been meant."""
    first, slash, encoder = name.partition("/")
    plain = [file for file in list_files() if _serves(_import(file), file)]
    near = get_close_matches(first, ARCHITECTURES if slash else [*plain, *ARCHITECTURES], n=1)
    if not near:
        return " or ".join([*plain, "ARCHITECTURE/ENCODER, as unet/resnet34"])
    if near[0] in plain:
        return near[0]
    return f"{near[0]}/{encoder if encoder and near[0] != first else 'resnet34'}"

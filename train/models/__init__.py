"""Model families, one file each, found by file name.

A family is a module with one function, `build(classes, config)`, that returns a module mapping
images N x 3 x H x W (normalised floats) to logits N x classes x H x W, for any H and W.
"""

import importlib
from difflib import get_close_matches
from typing import Protocol, cast

from torch import nn

from train.config import TrainConfig, list_models
from train.errors import TrainError


class Family(Protocol):
    """What a file of this folder offers."""

    def build(self, classes: int, config: TrainConfig) -> nn.Module: ...


def build_model(classes: int, config: TrainConfig) -> nn.Module:
    """A freshly initialised model of the family that `config` names.

    Raises:
        TrainError: there is no such family.
    """
    if config.model not in list_models():
        near = get_close_matches(config.model, list_models(), n=1)
        raise TrainError(
            f"There is no model {config.model!r}.",
            fix=f"--model {near[0] if near else ' or '.join(list_models())}",
        )
    family = cast(Family, importlib.import_module(f"{__name__}.{config.model}"))
    return family.build(classes, config)

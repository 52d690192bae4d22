"""Weights that a model begins with: read from a file, and made to fit."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from train.errors import TrainError

# Where a checkpoint, ours or another trainer's, has the model's weights.
INSIDE = ("model", "state_dict")
# What DDP, torch.compile and Lightning put before the names of a model's weights.
PREFIXES = ("module.", "_orig_mod.", "model.")
# Counts that no inference reads; files of old versions of torch lack them.
COUNTER = "num_batches_tracked"


def load_file(model: nn.Module, path: Path, heads: tuple[str, ...]) -> None:
    """Begin with the weights in a file: a state dict, or a checkpoint that has one in it.

    Raises:
        TrainError: it cannot be read, or does not fit.
    """
    fit_weights(model, read_weights(path), str(path), heads)


def read_weights(path: Path) -> dict[str, Tensor]:
    """The state dict in a file.

    Raises:
        TrainError: there is none, or it holds something else than weights.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise TrainError(
            f"There is no file {path} with weights on the node.",
            fix="Set pretrained to imagenet, to coco or to the path of a .pt file on the node.",
        ) from error
    except MemoryError:
        raise
    # What is no checkpoint ends in any of a dozen errors: of pickle, of zipfile, of the disk.
    except Exception as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise _refuse(path, f"cannot be read ({reason})") from error
    for name in INSIDE:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
    if not isinstance(content, Mapping) or not content:
        raise _refuse(path, "holds no state dict")
    for key, value in content.items():
        if not isinstance(value, Tensor):
            raise _refuse(path, f"holds no state dict: {key} is a {type(value).__name__}")
    return dict(content)


def _refuse(path: Path, why: str) -> TrainError:
    fix = "Give a file written by torch.save with a state dict in it, or leave pretrained empty."
    return TrainError(f"{path} {why}.", fix=fix)


def fit_weights(
    model: nn.Module, weights: Mapping[str, Tensor], source: str, heads: tuple[str, ...] = ()
) -> None:
    """Load `weights`, all of them. Only those that begin with one of `heads` may differ: what does
    not fit there is left as it is in the model, and told.

    Raises:
        TrainError: something else does not fit; the message names `source` and the first of it.
    """
    own = model.state_dict()
    weights = _strip_prefix(weights, own)
    fresh: list[str] = []
    for key, value in own.items():
        given = weights.get(key)
        if given is not None and given.shape == value.shape:
            own[key] = given
        elif key.startswith(heads):
            fresh.append(key)
        elif given is not None:
            shapes = f"{tuple(given.shape)} there and {tuple(value.shape)} in the model"
            raise _misfit(source, f"{key} is {shapes}")
        elif not key.endswith(COUNTER):
            raise _misfit(source, f"it has no {key}")
    for key in weights:
        if key not in own and not key.startswith(heads):
            raise _misfit(source, f"the model has no {key}")
    model.load_state_dict(own)
    if fresh:
        print(f"{source}: not taken, because it is for other classes: {', '.join(fresh)}")


def _misfit(source: str, what: str) -> TrainError:
    fix = "Give weights of the same model, width and depth, or leave pretrained empty."
    return TrainError(f"The weights in {source} do not fit the model: {what}.", fix=fix)


def _strip_prefix(weights: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The weights by the model's names, where they go by these behind a prefix."""
    while not own.keys() & weights.keys():
        for prefix in PREFIXES:
            inner = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
            if inner:
                weights = inner
                break
        else:
            break
    return weights

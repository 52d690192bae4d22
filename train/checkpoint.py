"""A checkpoint as a finished model: all that it takes to predict, without its dataset."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from train.augment import to_input
from train.config import TrainConfig
from train.data.dataset import ClassInfo
from train.errors import TrainError
from train.models import build_model
from train.postprocess import Postprocess
from train.state import VERSION


@dataclass(frozen=True)
class ModelInfo:
    """What a checkpoint says of its model, beside the weights."""

    config: TrainConfig
    name: str
    task: str
    ignore_index: int | None
    classes: list[ClassInfo]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    postprocess: Postprocess | None

    def prepare(self, images_NHWC: Tensor) -> Tensor:
        """Model input of uint8 images, normalised as those were that the model learnt from."""
        return to_input(images_NHWC, self.mean, self.std)


def open_model(path: Path, device: torch.device) -> tuple[nn.Module, ModelInfo]:
    """The model in a checkpoint, in eval mode on `device`, and what is known of it.

    Where the training kept an average of the weights, the model has the average.

    Raises:
        TrainError: the file is missing, no checkpoint, one of a version that is not known, or
            its weights are not those of the model that it names.
    """
    content = _read(path)
    try:
        info = _describe(content)
        model = build_model(len(info.classes), info.config)
        model.load_state_dict(content.get("average") or content["model"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise TrainError(
            f"{path} does not hold what it takes to predict ({_first_line(error)}).",
            fix="Use the best.pt of a finished training, and the segaway that made it.",
        ) from error
    return model.to(device).eval(), info


def _read(path: Path) -> dict[str, Any]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise TrainError(f"There is no {path}.", fix="Give the path of a checkpoint.") from error
    except Exception as error:  # torch.load documents no narrower set for other files
        raise TrainError(
            f"{path} is no checkpoint that can be read ({_first_line(error)}).",
            fix="Give the path of a checkpoint, as checkpoints/best.pt in a run's folder.",
        ) from error
    if not isinstance(content, dict) or "version" not in content:
        raise TrainError(
            f"{path} is no checkpoint of a segaway training.",
            fix="Give the path of one, as checkpoints/best.pt in a run's folder.",
        )
    if content["version"] != VERSION:
        raise TrainError(
            f"{path} is a checkpoint of version {content['version']}; this is version {VERSION}.",
            fix="Predict with the segaway that trained it.",
        )
    return content


def _describe(content: dict[str, Any]) -> ModelInfo:
    dataset, normalisation = content["dataset"], content["normalisation"]
    postprocess = content["postprocess"]
    # What the weights were before the training is of no interest, and may need the network.
    settings = {**content["config"], "pretrained": ""}
    return ModelInfo(
        config=TrainConfig.model_validate({"dataset": "", "output": "", **settings}),
        name=dataset["name"],
        task=dataset["task"],
        ignore_index=dataset["ignore_index"],
        classes=[ClassInfo.model_validate(info) for info in dataset["classes"]],
        mean=tuple(normalisation["mean"]),
        std=tuple(normalisation["std"]),
        postprocess=Postprocess.from_dict(postprocess) if postprocess else None,
    )


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200] or type(error).__name__

"""torchvision's fully convolutional networks on a dilated ResNet.

Source: Long, Shelhamer, Darrell 2015 ("Fully convolutional networks for semantic segmentation");
the dilation and the auxiliary head are torchvision's.
"""

import importlib
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from train.config import TrainConfig
from train.errors import TrainError
from train.models._downloads import downloading
from train.models._weights import fit_weights

WEIGHTS = ("imagenet", "coco")
# A file of a model that was trained without the auxiliary head fits all the same.
HEADS = ("classifier.4.", "aux_classifier.")


class FCN(nn.Module):
    """torchvision's model with its names; as a tuple in train mode: main and auxiliary logits.

    Shape:
        N x 3 x H x W -> N x classes x H x W, any H and W.
    """

    def __init__(self, network: Any, has_auxiliary: bool) -> None:
        super().__init__()
        self.has_auxiliary = has_auxiliary
        self.backbone: nn.Module = network.backbone
        self.classifier: nn.Module = network.classifier
        self.aux_classifier: nn.Module = network.aux_classifier
        for head in (network.classifier, network.aux_classifier):
            _set_to_zero(head[-1])
        # Without a part in the loss, its gradients would be waited for by ranks.
        self.aux_classifier.requires_grad_(has_auxiliary)

    def forward(self, images_NCHW: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        size = images_NCHW.shape[-2:]
        features = self.backbone(images_NCHW)
        main_NCHW = _enlarge(self.classifier(features["out"]), size)
        if not self.training or not self.has_auxiliary:
            return main_NCHW
        return main_NCHW, _enlarge(self.aux_classifier(features["aux"]), size)


def _enlarge(logits_NCHW: Tensor, size: torch.Size) -> Tensor:
    return functional.interpolate(
        logits_NCHW, size=tuple(size), mode="bilinear", align_corners=False
    )


def _set_to_zero(scoring: nn.Conv2d) -> None:
    """All classes begin equally likely, as in Long et al.: the loss of a pixel is ln(classes)."""
    nn.init.zeros_(scoring.weight)
    if scoring.bias is not None:
        nn.init.zeros_(scoring.bias)


def build_fcn(classes: int, config: TrainConfig) -> nn.Module:
    """The network of that name, with the weights that the config names.

    `imagenet`: the backbone's; `coco`: all, but for the last layers where there are not 21 classes.

    Raises:
        TrainError: there is no torchvision on the node, or its weights cannot be downloaded.
    """
    try:
        models = importlib.import_module("torchvision.models")
    # A torchvision for another torch ends in a RuntimeError.
    except (ImportError, RuntimeError) as error:
        raise TrainError(
            f"{config.model} needs torchvision on the node ({error}).",
            fix="pip install 'segaway[train]'",
        ) from error
    make = getattr(models.segmentation, config.model)
    network = make(weights=None, weights_backbone=None, num_classes=classes, aux_loss=True)
    model = FCN(network, has_auxiliary=config.auxiliary > 0)
    if config.pretrained == "coco":
        entry = models.get_model_weights(config.model).COCO_WITH_VOC_LABELS_V1
        fit_weights(model, _download(entry, config), "coco", HEADS)
    elif config.pretrained == "imagenet":
        resnet = config.model.removeprefix("fcn_")
        entry = models.get_model_weights(resnet).IMAGENET1K_V1
        weights = _download(entry, config)
        backbone = {key: value for key, value in weights.items() if not key.startswith("fc.")}
        fit_weights(model.backbone, backbone, "imagenet")
    return model


def _download(entry: Any, config: TrainConfig) -> dict[str, Tensor]:
    with downloading(config.pretrained, config.model, entry.url):
        weights: dict[str, Tensor] = torch.hub.load_state_dict_from_url(
            entry.url, map_location="cpu", progress=False, check_hash=True, weights_only=True
        )
    return weights

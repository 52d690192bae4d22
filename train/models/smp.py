"""Every architecture of segmentation_models_pytorch on every of its encoders: unet/resnet34."""

import importlib
import math
from difflib import get_close_matches
from typing import Any, cast

import torch
from torch import Tensor, nn

from train.config import ARCHITECTURES, TrainConfig
from train.errors import TrainError
from train.models._downloads import downloading_from_hub
from train.models._padding import pad_images
from train.models._upsampling import QuickDoubling

WEIGHTS = ("imagenet",)
HEADS = ("segmentation_head.",)
# timm's encoders, by this before their name.
TIMM = "tu-"
# PAN halves the deepest features, at a sixteenth of the image, three times more.
SMALLEST = {"pan": 128}
# DPT brings its features to a 4th, 8th, 16th and 32nd of the image, whatever the encoder's is.
DPT_STRIDE = 32
# Encoders to name where others would not do.
EXAMPLES = {"dpt": "tu-vit_base_patch16_224"}
# One that no encoder is made for, and no multiple of any stride.
TRIAL_SIZE = (33, 65)


class AnySize(nn.Module):
    """Comes before an architecture in its class: pads images to what it needs, and crops logits.

    Shape:
        N x 3 x H x W -> N x classes x H x W, any H and W.
    """

    stride: int
    smallest: int

    def forward(self, images_NCHW: Tensor) -> Tensor:
        height, width = images_NCHW.shape[-2:]
        padded_NCHW = pad_images(images_NCHW, self.stride, self.smallest)
        if images_NCHW.device.type == "cpu" and torch.is_grad_enabled():
            with QuickDoubling():
                logits_NCHW = cast(Tensor, super().forward(padded_NCHW))
        else:
            logits_NCHW = cast(Tensor, super().forward(padded_NCHW))
        if logits_NCHW.shape[-2:] != padded_NCHW.shape[-2:]:
            sizes = tuple(padded_NCHW.shape[-2:]), tuple(logits_NCHW.shape[-2:])
            raise ValueError(f"{sizes[0]} pixels become {sizes[1]}")
        return logits_NCHW[..., :height, :width]


def serves(name: str) -> bool:
    """Whether it is ARCHITECTURE/ENCODER."""
    architecture, _, encoder = name.partition("/")
    # With a colon timm takes a name for a place on the network, and goes there.
    return architecture in ARCHITECTURES and bool(encoder) and ":" not in encoder


def build(classes: int, config: TrainConfig) -> nn.Module:
    """The architecture on the encoder, which begins with the weights that the config names.

    Raises:
        TrainError: the package is not on the node; there is no such encoder, or it does not go
            with the architecture; its weights cannot be downloaded.
    """
    try:
        smp: Any = importlib.import_module("segmentation_models_pytorch")
    # A torchvision for another torch ends in a RuntimeError.
    except (ImportError, RuntimeError) as error:
        raise TrainError(
            f"{config.model} needs segmentation_models_pytorch on the node ({error}).",
            fix="pip install 'segaway[train]'",
        ) from error
    try:
        model = _create(smp, classes, config)
        freeze_unused(model)
    except (TrainError, MemoryError, torch.OutOfMemoryError):
        raise
    # Two packages and a thousand encoders have no error in common for what does not go together.
    except Exception as error:
        raise _explain(error, smp, config.model) from error
    return model


def _create(smp: Any, classes: int, config: TrainConfig) -> nn.Module:
    architecture, _, encoder = config.model.partition("/")
    arguments: dict[str, Any] = {"classes": classes, "encoder_weights": None}
    arguments |= _find_options(architecture, encoder)
    if config.pretrained == "imagenet":
        # timm has its weights in the encoder's name.
        arguments["encoder_weights"] = True if encoder.startswith(TIMM) else "imagenet"
        with downloading_from_hub("imagenet", config.model):
            model = smp.create_model(architecture, encoder, **arguments)
    else:
        model = smp.create_model(architecture, encoder, **arguments)
    own = model.encoder.output_stride
    model.stride = math.lcm(own, DPT_STRIDE) if architecture == "dpt" else own
    model.smallest = SMALLEST.get(architecture, 0)
    model.__class__ = type(type(model).__name__, (AnySize, type(model)), {})
    return cast(nn.Module, model)


def _find_options(architecture: str, encoder: str) -> dict[str, bool]:
    """What timm has to be told to take images of any size."""
    if architecture == "dpt":
        return {"dynamic_img_size": True}
    return {"strict_img_size": False} if encoder.startswith(f"{TIMM}swin") else {}


def freeze_unused(model: nn.Module) -> None:
    """Try the model on an image, and freeze the weights that its logits do not depend on.

    Several encoders have layers that the architecture leaves out. Ranks that train together would
    wait for their gradients, which never come.
    """
    was_training = model.training
    # In eval mode: running statistics and the random numbers to come are left as they are.
    model.eval()
    with torch.enable_grad():
        logits = model(torch.zeros(1, 3, *TRIAL_SIZE))
    model.train(was_training)
    used = find_used(logits)
    for parameter in model.parameters():
        parameter.requires_grad_(parameter in used)


def find_used(result: Tensor) -> set[Tensor]:
    """The leaves that a tensor's gradient would reach."""
    leaves: set[Tensor] = set()
    seen: set[object] = set()
    nodes: list[Any] = [result.grad_fn]
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            leaves.add(node.variable)
        nodes.extend(below for below, _ in node.next_functions)
    return leaves


def _explain(error: Exception, smp: Any, name: str) -> TrainError:
    architecture, _, encoder = name.partition("/")
    timm = importlib.import_module("timm")
    ours = smp.encoders.get_encoder_names()
    theirs = [TIMM + model for model in timm.list_models()]
    example = f"--model {architecture}/{EXAMPLES.get(architecture, 'resnet34')}"
    if encoder in ours or encoder.partition(".")[0] in theirs:
        reason = str(error.args[0] if error.args else type(error).__name__).rstrip(".!")
        fix = f"{example}, or another encoder"
        return TrainError(f"{name} cannot be built: {reason}.", fix=fix)
    near = get_close_matches(encoder, theirs if encoder.startswith(TIMM) else ours, n=3)
    fix = " or ".join(f"--model {architecture}/{match}" for match in near) or example
    return TrainError(f"There is no encoder {encoder!r} for {architecture}.", fix=fix)

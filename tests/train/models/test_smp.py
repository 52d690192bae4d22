"""The models of segmentation_models_pytorch: as they are there, but for any size."""

import sys

import pytest
import torch
from torch import nn

from tests.train.models import make_config
from train.errors import TrainError
from train.models import build_model
from train.models.smp import find_used


def test_a_model_is_that_of_the_package_under_the_same_names() -> None:
    import segmentation_models_pytorch as smp  # type: ignore[import-untyped]  # it ships no types

    torch.manual_seed(0)
    theirs = smp.create_model("unet", "resnet18", encoder_weights=None, classes=3).eval()
    torch.manual_seed(0)
    ours = build_model(3, make_config("unet/resnet18")).eval()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    image = torch.randn(1, 3, 64, 96)
    assert torch.equal(ours(image), theirs(image))


def test_an_odd_size_is_padded_with_the_mean_colour_and_cropped() -> None:
    model = build_model(2, make_config("unet/mobilenet_v2")).eval()
    image = torch.randn(1, 3, 33, 47)
    padded = torch.zeros(1, 3, 64, 64)
    padded[..., :33, :47] = image
    assert torch.equal(model(image), model(padded)[..., :33, :47])


def test_building_leaves_statistics_and_random_numbers_alone() -> None:
    import segmentation_models_pytorch as smp  # it ships no types

    torch.manual_seed(0)
    smp.create_model("unet", "resnet18", encoder_weights=None, classes=2)
    expected = torch.rand(1)
    torch.manual_seed(0)
    model = build_model(2, make_config("unet/resnet18"))
    assert torch.equal(torch.rand(1), expected)
    assert model.training
    assert not any(v.any() for k, v in model.state_dict().items() if k.endswith("running_mean"))


def test_layers_that_the_architecture_leaves_out_are_frozen() -> None:
    model = build_model(2, make_config("pspnet/resnet18"))
    frozen = {name.split(".")[1] for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {"layer3", "layer4"}


def test_where_every_layer_is_used_none_is_frozen() -> None:
    model = build_model(2, make_config("unet/resnet18"))
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_the_weights_a_result_depends_on_are_found() -> None:
    used, unused = nn.Linear(2, 2), nn.Linear(2, 2)
    unused(torch.ones(2))
    assert find_used(used(torch.ones(2)).relu()) == set(used.parameters())


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("unet/resnet35", "--model unet/resnet34"),
        ("fpn/tu-resnet1", "--model fpn/tu-resnet"),
        ("unet/zzzz", "--model unet/resnet34"),
    ],
)
def test_an_unknown_encoder_is_refused_with_near_ones(name: str, fix: str) -> None:
    with pytest.raises(TrainError, match="There is no encoder") as caught:
        build_model(2, make_config(name))
    assert fix in caught.value.fix


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("deeplabv3/vgg11", "do not support dilated mode"),
        ("dpt/resnet18", "Only Timm encoders"),
        ("linknet/mit_b0", "not supported for Linknet"),
        ("unet/tu-vit_tiny_patch16_224", "Unsupported model downsampling"),
        ("unet/tu-maxvit_rmlp_pico_rw_256", "must be divisible by window"),
    ],
)
def test_what_does_not_go_together_is_refused_before_the_first_step(name: str, reason: str) -> None:
    with pytest.raises(TrainError, match=f"{name} cannot be built: .*{reason}") as caught:
        build_model(2, make_config(name))
    assert "or another encoder" in caught.value.fix


def test_without_the_package_the_error_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
    with pytest.raises(TrainError, match="needs segmentation_models_pytorch on the node") as caught:
        build_model(2, make_config("unet/resnet18"))
    assert caught.value.fix == "pip install 'segaway[train]'"

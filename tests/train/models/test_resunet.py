"""Our own residual UNet."""

import pytest
import torch
from torch import Tensor

from tests.train.models import make_config
from train.models import build_model
from train.models.resunet import ResUNet


def test_its_weights_keep_their_names_and_shapes() -> None:
    shapes = {name: tuple(p.shape) for name, p in ResUNet(5, 4, 1).named_parameters()}
    block = ("norm1.weight", "norm1.bias", "conv1.weight", "norm2.weight", "norm2.bias")
    assert list(shapes) == [
        "stem.weight",
        *(f"first.{name}" for name in (*block, "conv2.weight")),
        *(f"down.0.{name}" for name in (*block, "conv2.weight", "shortcut.weight")),
        *("up.0.weight", "up.0.bias"),
        *(f"merge.0.{name}" for name in (*block, "conv2.weight", "shortcut.weight")),
        *("norm.weight", "norm.bias", "head.weight", "head.bias"),
    ]
    assert shapes["down.0.conv1.weight"] == (8, 4, 3, 3)
    assert shapes["head.weight"] == (5, 4, 1, 1)


@pytest.mark.parametrize(("width", "depth"), [(4, 1), (6, 3), (4, 6)])
def test_width_and_depth_decide_the_deepest_features(width: int, depth: int) -> None:
    model = build_model(2, make_config("resunet", width=width, depth=depth))
    deepest = model.get_parameter(f"down.{depth - 1}.conv2.weight")
    assert deepest.shape[0] == width * 2**depth
    assert model.eval()(torch.zeros(1, 3, 5, 7)).shape == (1, 2, 5, 7)


@pytest.mark.parametrize(("depth", "count"), [(1, 1), (2, 2), (4, 4)])
def test_deep_supervision_adds_logits_of_each_coarser_level(depth: int, count: int) -> None:
    model = ResUNet(2, 4, depth, deep_supervision=True).train()
    results = model(torch.randn(2, 3, 33, 47))
    assert isinstance(results, tuple)
    assert len(results) == count
    assert {result.shape for result in results} == {(2, 2, 33, 47)}


def test_auxiliary_logits_go_from_fine_to_coarse() -> None:
    model = ResUNet(1, 4, 3, deep_supervision=True).train()
    with torch.no_grad():
        main, fine, coarse = model(torch.randn(2, 3, 64, 64))

    def roughness(logits: Tensor) -> float:
        return float((logits[..., 1:] - logits[..., :-1]).abs().mean() / logits.std())

    assert roughness(main) > roughness(fine) > roughness(coarse)


def test_deep_supervision_leaves_the_other_weights_and_the_prediction_as_they_are() -> None:
    torch.manual_seed(3)
    plain = ResUNet(2, 4, 3).eval()
    torch.manual_seed(3)
    deep = ResUNet(2, 4, 3, deep_supervision=True).eval()
    image = torch.randn(1, 3, 33, 47)
    assert torch.equal(plain(image), deep(image))

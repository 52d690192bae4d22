"""Batch normalisation over all ranks' images, beside torch's over one's own."""

import copy

import pytest
import torch
from torch import nn

from train.config import TrainConfig
from train.models import build_model
from train.ranks import synchronise_norms


@pytest.mark.parametrize("momentum", [0.1, None])
def test_of_one_rank_it_is_torchs(momentum: float | None) -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5, momentum=momentum), nn.ReLU())
    ours = copy.deepcopy(plain)
    synchronise_norms(ours, lambda values: values)
    for _ in range(3):
        images = torch.randn(4, 3, 8, 9) * 3 + 1
        one, other = plain(images), ours(images)
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
        one.square().sum().backward()
        other.square().sum().backward()
    for mine, torchs in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, torchs.grad, atol=2e-2, rtol=1e-4)
    for kept, known in zip(ours.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(kept, known, atol=1e-5, rtol=1e-5)
    plain.eval(), ours.eval()
    torch.testing.assert_close(plain(images), ours(images), atol=1e-5, rtol=1e-5)
    assert plain.state_dict().keys() == ours.state_dict().keys()


@pytest.mark.parametrize("model", ["unet/resnet18", "unet/tu-mobilenetv3_small_100"])
def test_models_are_the_same_with_it(model: str) -> None:
    config = TrainConfig.model_validate(
        {"dataset": "d", "output": "o", "epochs": 1, "model": model}
    )
    plain = build_model(3, config)
    ours = copy.deepcopy(plain)
    synchronise_norms(ours, lambda values: values)
    images = torch.randn(2, 3, 64, 64)
    for mode in (True, False):
        torch.manual_seed(0)
        one = plain.train(mode)(images)
        torch.manual_seed(0)
        other = ours.train(mode)(images)
        torch.testing.assert_close(one, other, atol=2e-3, rtol=1e-3)

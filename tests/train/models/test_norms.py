"""Batch normalisation of a single value per channel."""

import copy

import pytest
import torch
from torch import nn

from train.models._norms import let_single_values_pass


@pytest.fixture
def norm() -> nn.Module:
    model = nn.Sequential(nn.BatchNorm2d(3))
    let_single_values_pass(model)
    return model.train()


def test_a_single_value_goes_by_running_statistics_and_leaves_them(norm: nn.Module) -> None:
    before = copy.deepcopy(norm.state_dict())
    x = torch.randn(1, 3, 1, 1)
    assert torch.allclose(norm(x), x, atol=1e-4)
    assert all(torch.equal(value, before[name]) for name, value in norm.state_dict().items())
    assert all(module.training for module in norm.modules())


def test_more_values_are_normalised_as_by_torch(norm: nn.Module) -> None:
    plain = nn.Sequential(nn.BatchNorm2d(3)).train()
    x = torch.randn(2, 3, 4, 5)
    assert torch.equal(norm(x), plain(x))
    theirs = plain.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in norm.state_dict().items())


def test_it_is_done_once_and_survives_a_copy(norm: nn.Module) -> None:
    kinds = [type(module) for module in norm.modules()]
    let_single_values_pass(norm)
    assert [type(module) for module in norm.modules()] == kinds
    assert copy.deepcopy(norm)(torch.randn(1, 3, 1, 1)).shape == (1, 3, 1, 1)

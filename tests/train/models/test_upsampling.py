"""Doubling with our gradient beside torch's."""

import pytest
import torch
from torch.nn import functional

from train.models._upsampling import QuickDoubling, double


def test_the_gradient_is_right() -> None:
    images = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(double, (images,))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_is_what_torch_does(dtype: torch.dtype) -> None:
    images = torch.randn(2, 3, 8, 6).to(dtype, memory_format=torch.channels_last)
    found, wanted = (images.clone().requires_grad_() for _ in range(2))
    slice_of = torch.randn(2, 7, 16, 12).to(dtype)[:, 2:5]
    with QuickDoubling():
        ours = functional.interpolate(found, size=(16, 12), mode="nearest")
    assert ours.grad_fn is not None
    assert "Double" in ours.grad_fn.name()
    torchs = functional.interpolate(wanted, scale_factor=2, mode="nearest")
    assert torch.equal(ours, torchs)
    (ours_gradient,) = torch.autograd.grad(ours, found, slice_of)
    (torchs_gradient,) = torch.autograd.grad(torchs, wanted, slice_of)
    assert torch.equal(ours_gradient, torchs_gradient)


@pytest.mark.parametrize(
    "asked",
    [
        {"size": (16, 18), "mode": "nearest"},
        {"scale_factor": 4.0, "mode": "nearest"},
        {"size": (16, 12), "mode": "bilinear"},
    ],
)
def test_all_else_is_left_to_torch(asked: dict[str, object]) -> None:
    images = torch.randn(2, 3, 8, 6, requires_grad=True)
    with QuickDoubling():
        ours = functional.interpolate(images, **asked)  # type: ignore[arg-type]  # as asked
    assert ours.grad_fn is not None
    assert "Double" not in ours.grad_fn.name()

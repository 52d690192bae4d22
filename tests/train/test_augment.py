"""What the device makes of windows of packed pixels."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from train import augment as augmentation
from train.augment import MEAN, STD, augment, to_input, zoom
from train.config import TrainConfig
from train.data.samples import DRAWS


def make_config(**settings: Any) -> TrainConfig:
    return TrainConfig.model_validate({"dataset": "d", "output": "o", "epochs": 1} | settings)


def make_windows(count: int, side: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (count, side, side, 4)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def draw(count: int, **values: float) -> torch.Tensor:
    draws = torch.full((count, len(DRAWS)), 0.5)
    for name, value in values.items():
        draws[:, DRAWS.index(name)] = value
    return draws


def test_input_is_normalised_as_pretrained_weights_expect() -> None:
    found = to_input(torch.tensor([[[[255, 0, 51]]]], dtype=torch.uint8)).flatten()
    wanted = [(v - m) / s for v, m, s in zip((1.0, 0.0, 0.2), MEAN, STD, strict=True)]
    assert found.tolist() == pytest.approx(wanted, abs=1e-5)


def test_without_variation_a_window_is_the_image() -> None:
    windows = make_windows(3, 32)
    images, truth = augment(
        windows, draw(3), torch.full((3,), 32), make_config(crop=32, flip=False)
    )
    assert torch.equal(images, to_input(windows[..., :3]))
    assert torch.equal(truth, windows[..., 3])
    assert images.is_contiguous(memory_format=torch.channels_last)


def test_image_and_truth_are_mirrored_together_or_not_at_all() -> None:
    windows = make_windows(4, 32)
    draws = draw(4)
    draws[:, DRAWS.index("flip")] = torch.tensor([0.1, 0.9, 0.49, 0.5])
    images, truth = augment(windows, draws, torch.full((4,), 32), make_config(crop=32))
    for number, mirrored in enumerate([True, False, True, False]):
        window = windows[number].flip(1) if mirrored else windows[number]
        assert torch.equal(truth[number], window[..., 3])
        assert torch.equal(images[number], to_input(window[None, ..., :3])[0])


def test_a_zoom_of_one_changes_nothing() -> None:
    windows = make_windows(2, 64)
    assert torch.equal(zoom(windows, torch.tensor([32, 32]), 32), windows[:, :32, :32])


@settings(deadline=None, max_examples=30)
@given(side=st.integers(8, 64), seed=st.integers(0, 999))
def test_nothing_outside_of_the_square_is_looked_at(side: int, seed: int) -> None:
    windows = make_windows(1, 64, seed)
    other = windows.clone()
    other[:, side:] = 7
    other[:, :, side:] = 9
    sides = torch.tensor([side])
    assert torch.equal(zoom(windows, sides, 32), zoom(other, sides, 32))


@settings(deadline=None, max_examples=30)
@given(side=st.integers(8, 64))
def test_image_and_truth_stay_where_they_were_to_each_other(side: int) -> None:
    along = torch.arange(64)
    windows = torch.zeros(1, 64, 64, 4, dtype=torch.uint8)
    windows[..., 0], windows[..., 3] = along[None, :, None], along[None, :, None]
    windows[..., 1] = along[None, None, :]
    red, green, _, truth = zoom(windows, torch.tensor([side]), 32)[0].double().unbind(2)
    # A ramp that is interpolated is a ramp: the nearest is at most half a pixel away.
    assert (red - truth).abs().max() <= 1
    centres = ((torch.arange(32) + 0.5) * side / 32 - 0.5).clamp(0, side - 1)
    torch.testing.assert_close(green[5], centres.double(), atol=0.51, rtol=0)


@settings(deadline=None, max_examples=30)
@given(sides=st.lists(st.integers(8, 64), min_size=1, max_size=4), seed=st.integers(0, 999))
def test_a_gpu_zooms_as_a_cpu_does(sides: list[int], seed: int) -> None:
    """Colours to a level or two of 255, ids exactly. Both ways are computed here, by the CPU."""
    windows = make_windows(len(sides), 64, seed)
    centres = augmentation.find_centres(torch.tensor(sides), 32)
    one = augmentation._scale_each(windows, sides, 32).int()
    two = augmentation._scale_all(windows, centres).int()
    assert (one - two)[..., :3].abs().max() <= 2
    assert torch.equal(one[..., 3], two[..., 3])


def test_colours_change_as_far_as_asked_and_truth_does_not() -> None:
    windows = make_windows(1, 32)
    windows[..., :3] = 100
    settings = make_config(crop=32, flip=False, jitter=0.5)
    sides = torch.tensor([32])
    std = torch.tensor(STD).view(1, 3, 1, 1)
    mean = torch.tensor(MEAN).view(1, 3, 1, 1)
    for drawn, factor in ((0.0, 0.5), (0.5, 1.0), (1.0, 1.5)):
        images, truth = augment(windows, draw(1, brightness=drawn), sides, settings)
        assert float((images * std + mean).mean()) == pytest.approx(factor * 100 / 255, abs=1e-3)
        assert torch.equal(truth, windows[..., 3])
    grey, _ = augment(make_windows(1, 32), draw(1, saturation=0.0, contrast=0.0), sides, settings)
    plain, _ = augment(make_windows(1, 32), draw(1), sides, settings)
    assert float(grey.std()) < 0.8 * float(plain.std())

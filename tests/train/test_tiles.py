"""Images of any size: tiles that leave no seam, in bounded memory, batched without a trace."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from train.postprocess import Postprocess
from train.tiles import (
    Forward,
    ImageArray,
    Predictor,
    group_sizes,
    label_images,
    label_stream,
    place_tiles,
    predict_bands,
    predict_batch,
    weigh_tiles,
)

CPU = torch.device("cpu")
CLASSES = 3
sides = st.integers(1, 90)
tiles = st.integers(4, 40)


def pointwise() -> nn.Module:
    """A model that sees one pixel at a time: tiles cannot make a difference to it."""
    torch.manual_seed(0)
    return nn.Conv2d(3, CLASSES, 1).eval()


def looking_around() -> nn.Module:
    torch.manual_seed(0)
    return nn.Conv2d(3, CLASSES, 5, padding=2).eval()


def draw(*shape: int, seed: int = 0) -> ImageArray:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3)).astype(np.uint8)


def probabilities(predictor: Predictor, image: ImageArray) -> Tensor:
    """Of a whole image, put together from its bands."""
    return torch.cat([band.clone() for band in predict_bands(predictor, image)], dim=1)


@pytest.mark.parametrize("multilabel", [False, True])
@pytest.mark.parametrize("flip_average", [False, True])
@settings(max_examples=25, deadline=None)
@given(height=sides, width=sides, tile=tiles)
def test_a_model_that_sees_single_pixels_predicts_the_same_in_tiles(
    multilabel: bool, flip_average: bool, height: int, width: int, tile: int
) -> None:
    image = draw(height, width)
    tiled = Predictor(pointwise(), CPU, multilabel, tile=tile, flip_average=flip_average)
    at_once = replace(tiled, tile=1000)
    difference = probabilities(tiled, image) - probabilities(at_once, image)
    assert float(difference.abs().max()) <= 1e-6


@given(length=st.integers(1, 5000), tile=st.integers(4, 1024))
def test_tiles_reach_from_end_to_end_and_share_a_quarter(length: int, tile: int) -> None:
    starts = place_tiles(length, tile)
    assert starts[0] == 0
    assert starts[-1] == max(0, length - tile)
    assert all(0 < later - start <= tile - tile // 4 for start, later in pairwise(starts))


@given(length=st.integers(1, 500), tile=st.integers(4, 200))
def test_every_tile_counts_and_all_together_count_1(length: int, tile: int) -> None:
    sums = np.zeros(length)
    for start, weights in zip(
        place_tiles(length, tile), weigh_tiles(length, tile).numpy(), strict=True
    ):
        assert (weights > 0).all()
        sums[start : start + len(weights)] += weights
    np.testing.assert_allclose(sums, 1, atol=1e-6)


def test_weights_rise_and_fall_without_a_jump() -> None:
    assert float(weigh_tiles(2000, 256).diff(dim=1).abs().max()) < 0.05


def test_a_tile_that_is_wrong_at_its_rim_is_outvoted_by_its_neighbours() -> None:
    def forward(images_NCHW: Tensor) -> Tensor:
        logits_NCHW = torch.zeros(len(images_NCHW), 2, *images_NCHW.shape[2:])
        logits_NCHW[:, 1, 3:-3, 3:-3] = 5  # class 1 is right; the rim says 0
        logits_NCHW[:, 0] += 2
        return logits_NCHW

    mask = label_images(Predictor(forward, CPU, tile=32), draw(1, 100, 130))[0]
    assert (mask[3:-3, 3:-3] == 1).all()


def test_flips_are_averaged_as_the_formula_says() -> None:
    model, image = looking_around(), draw(1, 20, 30)
    predictor = Predictor(model, CPU, flip_average=True)
    x = predictor.prepare(torch.from_numpy(image))
    with torch.no_grad():
        straight, mirrored = model(x).softmax(1), model(x.flip(3)).softmax(1).flip(3)
    found = predict_batch(predictor, torch.from_numpy(image))
    torch.testing.assert_close(found, (straight + mirrored) / 2)
    assert not torch.allclose(straight, mirrored, atol=0.01)


@pytest.mark.parametrize("tile", [64, 16])
def test_a_mirrored_image_has_the_mirrored_mask_where_flips_are_averaged(tile: int) -> None:
    image = draw(1, 40, 52)
    predictor = Predictor(looking_around(), CPU, tile=tile, flip_average=True)
    mask, mirrored = label_images(predictor, image), label_images(predictor, image[:, :, ::-1])
    assert torch.equal(mask, mirrored.flip(2))


def test_only_the_rows_of_one_row_of_tiles_are_held() -> None:
    height, width, tile = 200, 50, 16
    bands = predict_bands(Predictor(pointwise(), CPU, tile=tile), draw(height, width))
    rows = 0
    for band_CRW in bands:
        assert band_CRW.untyped_storage().nbytes() == 4 * CLASSES * tile * width
        assert band_CRW.dtype == torch.float32
        rows += band_CRW.shape[1]
    assert rows == height


def record(model: Forward) -> tuple[Forward, list[tuple[int, ...]]]:
    shapes: list[tuple[int, ...]] = []

    def forward(images_NCHW: Tensor) -> Tensor:
        shapes.append(tuple(images_NCHW.shape))
        return model(images_NCHW)

    return forward, shapes


def test_an_image_that_fits_is_computed_whole_and_a_larger_one_in_batches_of_tiles() -> None:
    forward, shapes = record(pointwise())
    predictor = Predictor(forward, CPU, tile=32, batch_pixels=3 * 32 * 32)
    label_images(predictor, draw(1, 32, 31))
    assert shapes == [(1, 3, 32, 31)]
    shapes.clear()
    label_images(predictor, draw(1, 33, 100))  # 2 rows of 4 tiles
    assert shapes == [(3, 3, 32, 32), (1, 3, 32, 32)] * 2


def test_logits_of_half_precision_become_probabilities_of_single_precision() -> None:
    model = pointwise()
    found = predict_batch(
        Predictor(lambda x: model(x).bfloat16(), CPU), torch.from_numpy(draw(1, 9, 9))
    )
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.sum(1), torch.ones(1, 9, 9))


@pytest.mark.parametrize("tile", [64, 16])
@pytest.mark.parametrize("multilabel", [False, True])
def test_masks_are_what_the_probabilities_say(tile: int, multilabel: bool) -> None:
    rule = Postprocess([0.5, 0.4, 0.6], [0.0, 0.5, 0.9])
    predictor = Predictor(looking_around(), CPU, multilabel, rule, tile=tile)
    image = draw(1, 40, 50)
    mask = label_images(predictor, image)[0]
    found = probabilities(predictor, image[0])
    assert mask.dtype == torch.uint8
    assert torch.equal(mask, rule.apply(found) if multilabel else found.argmax(0).byte())


@pytest.mark.parametrize("tile", [3, 4])
def test_without_a_rule_a_class_is_there_where_it_is_as_likely_as_not(tile: int) -> None:
    def forward(images_NCHW: Tensor) -> Tensor:
        logits = torch.tensor([0.0, -0.01, 3.0]).view(1, 3, 1, 1)
        return logits.expand(len(images_NCHW), 3, *images_NCHW.shape[2:])

    predictor = Predictor(forward, CPU, multilabel=True, tile=tile)
    assert (label_images(predictor, draw(1, 4, 4)) == 0b101).all()


@pytest.mark.parametrize("multilabel", [False, True])
def test_masks_are_the_same_in_batches_and_one_at_a_time(multilabel: bool) -> None:
    images = [draw(*size, seed=i) for i, size in enumerate([(20, 30), (30, 20), (20, 30)] * 4)]
    predictor = Predictor(looking_around(), CPU, multilabel, tile=25)
    found = dict(label_stream(predictor, enumerate(images)))
    assert sorted(found) == list(range(12))
    for index, image in enumerate(images):
        assert torch.equal(found[index], label_images(predictor, image[None])[0])


def test_a_check_before_each_batch_may_stop_the_rest() -> None:
    forward, shapes = record(pointwise())
    predictor = Predictor(forward, CPU, batch_pixels=200)

    def check() -> None:
        if len(shapes) == 2:
            raise KeyboardInterrupt

    images = ((i, draw(10, 10)) for i in range(10))
    with pytest.raises(KeyboardInterrupt):
        list(label_stream(predictor, images, check))
    assert shapes == [(2, 3, 10, 10)] * 2


@given(
    sizes=st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), max_size=60),
    pixels=st.integers(1, 200),
)
def test_batches_hold_each_image_once_of_one_size_and_no_more_than_allowed(
    sizes: list[tuple[int, int]], pixels: int
) -> None:
    taken: list[int] = []
    given_out: list[int] = []

    def images() -> Iterator[tuple[int, ImageArray]]:
        for index, (height, width) in enumerate(sizes):
            waiting = sum(height * width for height, width in sizes[:index]) - sum(
                sizes[i][0] * sizes[i][1] for i in given_out
            )
            assert waiting <= 4 * pixels
            taken.append(index)
            yield index, np.zeros((height, width, 3), np.uint8)

    for batch in group_sizes(images(), pixels):
        areas = [image.shape[0] * image.shape[1] for _, image in batch]
        assert len({image.shape for _, image in batch}) == 1
        assert sum(areas) <= pixels or len(batch) == 1
        given_out += [index for index, _ in batch]
    assert sorted(given_out) == list(range(len(sizes)))


def test_images_of_many_sizes_do_not_all_wait_for_their_like() -> None:
    taken = 0

    def images() -> Iterator[tuple[int, ImageArray]]:
        nonlocal taken
        for taken in range(1, 40):
            yield taken, np.zeros((taken, 10, 3), np.uint8)

    batch = next(group_sizes(images(), 1000))
    assert taken == 28  # 10 + 20 + ... + 280 pixels are the first to be above 4000
    assert [index for index, _ in batch] == [28]

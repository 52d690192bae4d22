"""Runs of pixels as text: Kaggle's order, exact both ways, and clear about what is wrong."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from train.data.runlength import Bits, decode, encode, encode_classes
from train.errors import DataError

masks = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12))


def spell_out(mask: Bits) -> str:
    """The runs, pixel by pixel."""
    height, width = mask.shape
    pixels = [bool(mask[row, column]) for column in range(width) for row in range(height)]
    starts = [i for i, value in enumerate(pixels) if value and not (i and pixels[i - 1])]
    ends = [pixels.index(False, i) if False in pixels[i:] else len(pixels) for i in starts]
    return " ".join(f"{i + 1} {end - i}" for i, end in zip(starts, ends, strict=True))


@given(mask=masks, order=st.sampled_from("CF"))
def test_a_mask_comes_back_as_it_was(mask: Bits, order: str) -> None:
    laid_out = np.array(mask, order="F" if order == "F" else "C")
    np.testing.assert_array_equal(decode(encode(laid_out), *mask.shape), mask)


@given(mask=masks, order=st.sampled_from("CF"))
def test_the_runs_are_those_that_are_seen_pixel_by_pixel(mask: Bits, order: str) -> None:
    laid_out = np.array(mask, order="F" if order == "F" else "C")
    assert encode(laid_out) == spell_out(mask)


def test_a_part_of_a_larger_mask_is_encoded_like_a_mask_of_its_own() -> None:
    whole = np.random.default_rng(0).random((9, 14)) < 0.5
    for part in (whole[2:7, 3:11], whole[::2, ::3], whole.T[1:, 2:], whole[::-1]):
        assert encode(part) == spell_out(part)


def test_pixels_are_numbered_from_1_down_the_columns() -> None:
    mask = np.zeros((3, 4), np.bool_)
    mask[1:, 0] = mask[0, 1] = True  # the second and third pixel, and the fourth: one run
    mask[2, 3] = True
    assert encode(mask) == "2 3 12 1"
    np.testing.assert_array_equal(decode("2 3 12 1", 3, 4), mask)


@pytest.mark.parametrize("text", ["", " ", "\n"])
def test_blank_text_is_an_empty_mask(text: str) -> None:
    assert not decode(text, 2, 3).any()
    assert encode(np.zeros((2, 3), np.bool_)) == ""


def test_runs_may_touch_and_be_separated_by_any_blanks() -> None:
    np.testing.assert_array_equal(decode(" 1 2\t3  1\n", 2, 2), [[True, True], [True, False]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 2 3", "end in the middle of a pair: 3 numbers, '1 2 3'"),
        ("1 2 eleven 1", "no list of whole numbers above 0: '1 2 eleven 1'"),
        ("1.5 2", "no list of whole numbers"),
        ("-3 2", "no list of whole numbers"),
        ("1,2", "no list of whole numbers"),
        ("\u0661 2", "no list of whole numbers"),
        ("\ud800", "no list of whole numbers"),
        ("0 2", "Run 1, 0 2, begins before pixel 1"),
        ("1 2 5 0", "Run 2, 5 0, has no pixel"),
        ("1 1 12 2", "Run 2, 12 2, leaves the image of 3 x 4 pixels"),
        ("13 1", "leaves the image of 3 x 4 pixels"),
        ("99999999999999999999 1", "leaves the image"),
        ("9223372036854775807 9223372036854775807", "leaves the image"),
        ("1 3 3 2", "Run 2, 3 2, begins before the end of the run in front of it"),
        ("5 2 1 2", "Run 2, 1 2, begins before the end of the run in front of it"),
        ("1 9223372036854775807 3 2", "Run 1, 1 9223372036854775807, leaves the image"),
    ],
)
def test_what_is_wrong_with_runs_is_told(text: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        decode(text, 3, 4)
    assert message in str(caught.value)
    assert caught.value.fix


def test_void_is_in_no_class() -> None:
    ids = np.array([[0, 255], [1, 255]], np.uint8)
    assert encode_classes(ids, 3, multilabel=False) == ["1 1", "2 1", ""]
    bits = np.array([[2, 255], [3, 255]], np.uint8)
    assert encode_classes(bits, 2, multilabel=True) == ["2 1", "1 2"]

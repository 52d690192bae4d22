"""The packed cache: byte-exact, shared, and given up where there is no room for it."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.train.sets import make_set
from train.data import cache
from train.data.cache import PADDING, PackedSet, open_store
from train.data.dataset import load_dataset
from train.data.samples import read_pair
from train.errors import DataError
from train.feed import ResidentSet


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of images of different sizes."""
    return make_set(tmp_path_factory.mktemp("mixed"), [(40, 30), (25, 61), (33, 33), (8, 90)])


def open_packed(folder: Path, room: int | None = None) -> PackedSet:
    dataset = load_dataset(folder)
    packed = PackedSet(dataset, folder, dataset.lists["train"])
    place, available = open_store(None, folder, packed.size_bytes)
    packed.keep_in(place, available if room is None else room)
    os.close(place)
    return packed


@pytest.mark.parametrize("room", [None, 0, 12_000])
def test_what_is_read_are_the_files_bytes(mixed: Path, room: int | None) -> None:
    dataset, packed = load_dataset(mixed), open_packed(mixed, room)
    for _ in range(2):
        for index, sample in enumerate(dataset.lists["train"]):
            for found, wanted in zip(
                packed.read_pair(index), read_pair(mixed, sample, None), strict=True
            ):
                np.testing.assert_array_equal(found, wanted)


def test_each_file_is_decoded_once(mixed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = open_packed(mixed)
    for index in range(4):
        packed.read(index)
    monkeypatch.setattr(cache, "read_image", None)
    for index in range(4):
        packed.read(index)


def test_processes_share_what_one_of_them_has_decoded(
    mixed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = load_dataset(mixed)
    one, other = (PackedSet(dataset, mixed, dataset.lists["train"]) for _ in range(2))
    place, room = open_store(None, mixed, one.size_bytes)
    for packed in (one, other):
        assert packed.keep_in(place, room) == 4
    decoded = one.read(2).copy()
    monkeypatch.setattr(cache, "read_image", None)
    np.testing.assert_array_equal(other.read(2), decoded)


def test_the_file_has_no_name_that_could_be_left_behind(mixed: Path, tmp_path: Path) -> None:
    place, _ = open_store(tmp_path, mixed, 1000)
    assert list(tmp_path.iterdir()) == []
    assert "(deleted)" in os.readlink(f"/proc/self/fd/{place}")
    os.close(place)


def test_a_full_disk_is_no_place(mixed: Path, tmp_path: Path) -> None:
    place, room = open_store(tmp_path, mixed, 10**18)
    assert 0 < room < 10**18
    os.close(place)
    assert open_store(tmp_path / "absent", mixed, 1000) == (-1, 0)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**31), side=st.integers(1, 70))
def test_a_window_is_the_square_with_padding_around(mixed: Path, seed: int, side: int) -> None:
    packed = open_packed(mixed)
    rng = np.random.default_rng(seed)
    index = int(rng.integers(4))
    top, left = (int(rng.integers(0, size)) for size in packed.sizes_N2[index])
    window = np.full((70, 70, 4), 77, np.uint8)
    packed.cut(index, top, left, side, window)
    wanted = np.tile(PADDING, (side, side, 1))
    piece = packed.read(index)[top : top + side, left : left + side]
    wanted[: piece.shape[0], : piece.shape[1]] = piece
    np.testing.assert_array_equal(window[:side, :side], wanted)
    assert (window[side:] == 77).all()


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**31), side=st.integers(1, 70))
def test_the_devices_own_memory_gives_the_same_windows(mixed: Path, seed: int, side: int) -> None:
    packed = open_packed(mixed)
    resident = ResidentSet(packed, torch.device("cpu"))
    rng = np.random.default_rng(seed)
    indices = rng.integers(0, 4, 6)
    corners = np.floor(rng.random((6, 2)) * packed.sizes_N2[indices]).astype(np.int64)
    places = np.concatenate([corners, np.full((6, 1), side)], axis=1)
    found = resident.cut(indices, places, side).numpy()
    for number, (top, left, _) in enumerate(places.tolist()):
        window = np.zeros((side, side, 4), np.uint8)
        packed.cut(int(indices[number]), top, left, side, window)
        np.testing.assert_array_equal(found[number], window)


def test_threads_may_read_the_same_sample(mixed: Path) -> None:
    packed = open_packed(mixed)
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(lambda _: packed.read(1).copy(), range(16)))
    assert all(np.array_equal(read[0], other) for other in read)


def _write_id(folder: Path) -> None:
    Image.fromarray(np.full((30, 40), 9, np.uint8)).save(folder / "masks" / "0.png")


def _shrink(folder: Path) -> None:
    Image.fromarray(np.zeros((5, 5, 3), np.uint8)).save(folder / "images" / "0.png")


def _cut_mask(folder: Path) -> None:
    path = folder / "masks" / "0.png"
    path.write_bytes(path.read_bytes()[:60])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_write_id, "masks/0.png: the mask holds 9; 3 classes end at 2."),
        (_shrink, "images/0.png is 5 x 5 pixels; dataset.json says 40 x 30."),
        (_cut_mask, "masks/0.png: the mask cannot be decoded"),
    ],
)
def test_a_spoilt_file_is_named(
    tmp_path: Path, spoil: Callable[[Path], None], message: str
) -> None:
    folder = make_set(tmp_path, [(40, 30)])
    spoil(folder)
    with pytest.raises(DataError, match=message.replace("(", r"\(")) as caught:
        open_packed(folder).read(0)
    assert caught.value.fix

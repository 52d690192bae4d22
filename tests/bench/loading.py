"""Random crops per second and core: the packed cache beside Pillow's decoding of the same images.

    python -m tests.bench.loading [--seconds N] [--rounds N] [--images N] [--archive FILE]

A crop is a random square of an image and of its mask. One thread, pinned to one core; seconds are
those that the core gave to it; A B A B, medians. `crops_per_s_core` is the packed cache's, in which
all was decoded before, as in every pass of a training but the first. `vs_pillow_png` and
`vs_pillow_jpeg` are how many times that is what Pillow reaches, which decodes the image (written as
PNG, as JPEG) and its mask (PNG, as the dataset has it) for each crop.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from tests.bench.peers.camvid import ARCHIVE, list_files, open_camvid
from tests.bench.peers.contest import Measurement, report
from train.data.cache import CHANNELS, PackedSet
from train.data.dataset import load_dataset
from train.data.samples import SampleStream, Zoom

LIMITS = {"crops_per_s_core": 10_000.0, "vs_pillow_png": 50.0}
BATCH, CROP = 8, 320
JPEG_QUALITY = 95
SEED = 1

Load = Callable[[int], None]
"""Makes the crops of the batch of this number."""


def main() -> None:
    """Measure all three in turn and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="of each turn")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=1000, help="of the train list, at most")
    parser.add_argument("--archive", type=Path, default=ARCHIVE)
    arguments = parser.parse_args()
    cores = os.sched_getaffinity(0)
    with open_camvid(arguments.archive) as (folder, scratch):
        loaders, count = make_loaders(folder, scratch, arguments.images)
        os.sched_setaffinity(0, {min(cores)})
        results: dict[str, list[Measurement]] = {name: [] for name in loaders}
        for _ in range(arguments.rounds):
            for name, load in loaders.items():
                results[name].append(measure(load, arguments.seconds))
        os.sched_setaffinity(0, cores)
    rates = {
        name: statistics.median(row.figures["crops_per_s"] for row in rows)
        for name, rows in results.items()
    }
    answer = {
        "crops_per_s_core": rates["packed"],
        "vs_pillow_png": rates["packed"] / rates["pillow_png"],
        "vs_pillow_jpeg": rates["packed"] / rates["pillow_jpeg"],
    }
    report(answer, LIMITS, results, crop=CROP, images=count, threads=1)


def make_loaders(folder: Path, scratch: Path, most: int) -> tuple[dict[str, Load], int]:
    """What is measured, and the number of images that each has."""
    dataset = load_dataset(folder)
    samples = dataset.lists["train"][:most]
    files = list_files(folder, dataset, "train")[: len(samples)]
    packed = PackedSet(dataset, folder, samples)
    with tempfile.TemporaryFile(dir=scratch) as file:
        if packed.keep_in(os.dup(file.fileno()), packed.size_bytes) < len(samples):
            raise SystemExit("The packed images find no room.")
    for index in range(len(samples)):
        packed.read(index)
    return {
        "packed": make_packed(packed),
        "pillow_png": make_pillow(write_images(files, scratch, "png")),
        "pillow_jpeg": make_pillow(write_images(files, scratch, "jpg")),
    }, len(samples)


def make_packed(packed: PackedSet) -> Load:
    """The trainer's way: chosen and placed for a whole batch at once, cut into one array."""
    zoom, stream = Zoom(CROP), SampleStream(len(packed.samples), SEED)
    windows_NHWC = np.empty((BATCH, CROP, CROP, CHANNELS), np.uint8)

    def load(number: int) -> None:
        indices, draws = stream.batch(number, BATCH)
        squares_N3 = zoom.place(draws, packed.sizes_N2[indices])
        for index, (top, left, side), window_HWC in zip(
            indices.tolist(), squares_N3.tolist(), windows_NHWC, strict=True
        ):
            packed.cut(index, top, left, side, window_HWC)

    return load


def make_pillow(files: list[tuple[Path, Path]]) -> Load:
    """Image and mask decoded, and then cut, for each crop."""
    rng = np.random.default_rng(SEED)
    images_NHWC = np.empty((BATCH, CROP, CROP, 3), np.uint8)
    ids_NHW = np.empty((BATCH, CROP, CROP), np.uint8)

    def load(number: int) -> None:
        for place in range(BATCH):
            image_path, mask_path = files[(number * BATCH + place) % len(files)]
            with Image.open(image_path) as image, Image.open(mask_path) as mask:
                left, top = (int(rng.integers(0, n - CROP + 1)) for n in image.size)
                box = (left, top, left + CROP, top + CROP)
                images_NHWC[place] = np.asarray(image.crop(box))
                ids_NHW[place] = np.asarray(mask.crop(box))

    return load


def write_images(
    files: list[tuple[Path, Path]], scratch: Path, suffix: str
) -> list[tuple[Path, Path]]:
    """The images once more in another format, each with its mask."""
    folder = scratch / suffix
    folder.mkdir()
    written = []
    for image_path, mask_path in files:
        target = folder / f"{image_path.stem}.{suffix}"
        with Image.open(image_path) as image:
            image.convert("RGB").save(target, quality=JPEG_QUALITY)
        written.append((target, mask_path))
    return written


def measure(load: Load, seconds: float) -> Measurement:
    """Crops per second of a turn; an unmeasured batch comes first."""
    load(0)
    began, done = time.process_time(), 0
    while (took := time.process_time() - began) < seconds:
        done += 1
        load(done)
    return Measurement(0, took, figures={"crops_per_s": BATCH * done / took})


if __name__ == "__main__":
    main()

"""Skies with clouds over a dark horizon, drawn by us: the demo's dataset, in VOC's layout.

Everything follows from the seed. The border of each cloud is void, as people annotate it.
"""

import io
import os
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from train.data.dataset import Color
from train.data.masks import VOID, write_mask

Floats = NDArray[np.float64]

SIZE = (192, 144)
COUNTS = {"train": 64, "val": 16, "unlabelled": 8}
CLASSES: dict[str, Color] = {
    "sky": (70, 130, 220),
    "cloud": (240, 240, 250),
    "ground": (60, 80, 40),
}
OCTAVES = 5
COVER_EDGE = 0.035


@dataclass(frozen=True)
class Sky:
    """A picture (H x W x 3) and its ids (H x W), both uint8."""

    image: NDArray[np.uint8]
    ids: NDArray[np.uint8]


def draw_archive(
    path: Path,
    seed: int = 0,
    counts: dict[str, int] | None = None,
    size: tuple[int, int] = SIZE,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> None:
    """Write a tar in the layout of VOC 2012; whole or not at all."""
    counts = counts or COUNTS
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    total, done = sum(counts.values()), 0
    with tarfile.open(partial, "w") as tar:
        for name, count in counts.items():
            ids = [f"{name}_{number:04}" for number in range(count)]
            for key in ids:
                sky = draw_sky(np.random.default_rng([seed, done]), size)
                _add(tar, f"JPEGImages/{key}.jpg", _encode_image(sky.image))
                if name != "unlabelled":
                    _add(tar, f"SegmentationClass/{key}.png", _encode_mask(sky.ids))
                done += 1
                progress(done, total)
            if name != "unlabelled":
                lines = "".join(f"{key}\n" for key in ids)
                _add(tar, f"ImageSets/Segmentation/{name}.txt", lines.encode())
        labels = "".join(f"{name}:{r},{g},{b}::\n" for name, (r, g, b) in CLASSES.items())
        _add(tar, "labelmap.txt", b"# label:color_rgb:parts:actions\n" + labels.encode())
    os.replace(partial, path)


def draw_sky(rng: np.random.Generator, size: tuple[int, int] = SIZE) -> Sky:
    """One picture: a gradient with a glow, clouds that thin out at their edges, a horizon."""
    width, height = size
    y, x = np.mgrid[0:height, 0:width] / max(size)
    air = _draw_air(rng, y, x)
    noise = _draw_noise(rng, height, width)
    edge = np.quantile(noise, rng.uniform(0.35, 0.8))
    thickness = np.clip((noise - edge) / 0.18 + 0.25, 0, 1) * (noise > edge - COVER_EDGE)
    lit = 0.78 + 0.22 * _draw_noise(rng, height, width) - 0.12 * thickness
    cloud = lit[..., None] * np.array([1.0, 0.98, 0.97]) * rng.uniform(0.85, 1.0)
    image = air * (1 - thickness[..., None]) + cloud * thickness[..., None]
    ids = np.where(noise > edge, 1, 0).astype(np.uint8)
    ids[np.abs(noise - edge) < COVER_EDGE / 2] = VOID
    ground = _draw_horizon(rng, y)
    image[ground] = rng.uniform(0.05, 0.25, 3) + 0.08 * noise[ground][:, None]
    ids[ground] = 2
    image += rng.normal(0, 0.012, image.shape)
    return Sky((np.clip(image, 0, 1) * 255).astype(np.uint8), ids)


def _draw_air(rng: np.random.Generator, y: Floats, x: Floats) -> Floats:
    high = np.array([0.16, 0.38, 0.78]) * rng.uniform(0.7, 1.15)
    low = np.array([0.62, 0.76, 0.92]) * rng.uniform(0.8, 1.0) + [rng.uniform(0, 0.15), 0, 0]
    share = (y / y.max())[..., None]
    glow = np.exp(-((x - rng.uniform(0, 1)) ** 2 + (y - rng.uniform(0, 0.4)) ** 2) / 0.02)
    sky: Floats = high * (1 - share) + low * share + 0.25 * glow[..., None]
    return sky


def _draw_noise(rng: np.random.Generator, height: int, width: int) -> Floats:
    """Fractal value noise between 0 and 1: random grids, enlarged smoothly and summed."""
    total = np.zeros((height, width))
    for octave in range(OCTAVES):
        cells = 3 * 2**octave
        grid = rng.random((cells, cells * 4 // 3 + 1)).astype(np.float32)
        layer = Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC)
        total += np.asarray(layer) * 0.55**octave
    low, high = total.min(), total.max()
    scaled: Floats = (total - low) / (high - low)
    return scaled


def _draw_horizon(rng: np.random.Generator, y: Floats) -> NDArray[np.bool_]:
    height, width = y.shape
    hills = np.cumsum(rng.normal(0, 0.6, width))
    line = height * rng.uniform(0.8, 0.95) + hills - hills.mean()
    below: NDArray[np.bool_] = np.arange(height)[:, None] > line
    return below


def _encode_image(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def _encode_mask(ids: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    write_mask(buffer, ids, list(CLASSES.values()))
    return buffer.getvalue()


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(f"VOCdevkit/VOC2012/{name}")
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))

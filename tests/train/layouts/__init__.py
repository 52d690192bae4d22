"""Tiny sets in every layout, written by us: one file a layout, called as the layout is.

Each has `write(folder, scenes) -> Written`: the scenes as that layout would publish them, and what
has to be read back of it.
"""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from train.data.dataset import ListName
from train.data.masks import VOID, Mask, voc_color

NAMES = ("background", "sky", "cloud", "ground")
COLORS = [voc_color(i) for i in range(len(NAMES))]
Box = tuple[int, int, int, int, int]
"""Class, left, top, right, bottom; the last two are beyond it."""


@dataclass(frozen=True)
class Scene:
    """An image, its ids, and the boxes that they were drawn of: the later over the earlier."""

    key: str
    image: np.ndarray
    ids: Mask
    boxes: list[Box]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.ids.shape[1], self.ids.shape[0]


@dataclass
class Written:
    """What has to be read back: ids (or bits) by key, classes, and lists where they are told."""

    folder: Path
    ids: dict[str, Mask]
    classes: Sequence[str] = NAMES
    lists: dict[ListName, list[str]] = field(default_factory=dict)
    unlabelled: set[str] = field(default_factory=set)
    task: str = "multiclass"


def make_scenes(count: int = 10, seed: int = 0) -> list[Scene]:
    """Scenes of several sizes, all classes in most of them; smaller boxes over larger ones."""
    return [make_scene(f"scene {n:02} ü", np.random.default_rng([seed, n])) for n in range(count)]


def make_scene(key: str, rng: np.random.Generator) -> Scene:
    width, height = (int(side) for side in rng.integers(48, 80, 2))
    boxes: list[Box] = []
    for number, side in enumerate((36, 24, 16, 10)):
        left, top = (int(rng.integers(0, limit - side)) for limit in (width, height))
        boxes.append((1 + number % 3, left, top, left + side, top + side))
    ids = np.zeros((height, width), np.uint8)
    for class_id, left, top, right, bottom in boxes:
        ids[top:bottom, left:right] = class_id
    colors = np.array(COLORS, np.int64)[ids]
    noise = rng.integers(-20, 20, colors.shape)
    return Scene(key, np.clip(colors + noise, 0, 255).astype(np.uint8), ids, boxes)


def write_layout(name: str, folder: Path, scenes: Sequence[Scene] = ()) -> Written:
    """A set in that layout."""
    module: Any = importlib.import_module(f"{__name__}.{name}")
    folder.mkdir(parents=True, exist_ok=True)
    written: Written = module.write(folder, list(scenes) or make_scenes())
    return written


def save(path: Path, pixels: np.ndarray, **options: Any) -> Path:
    """Write an array as the kind of image that the path's ending says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def with_void(scene: Scene) -> Mask:
    """Ids with a frame of void around the first box."""
    ids = scene.ids.copy()
    _, left, top, right, bottom = scene.boxes[0]
    ids[top, left:right] = VOID
    ids[bottom - 1, left:right] = VOID
    return ids


def cut(scenes: Sequence[Scene]) -> tuple[Sequence[Scene], Sequence[Scene]]:
    """Those for train, and those for val."""
    return scenes[:-3], scenes[-3:]

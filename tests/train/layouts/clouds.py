"""Kaggle's clouds: a table of runs; what overlaps stays overlapping."""

import csv
from pathlib import Path

import numpy as np

from tests.train.layouts import Scene, Written, save
from train.data.masks import Mask
from train.data.runlength import encode

NAMES = ("Fish", "Flower", "Gravel", "Sugar")


def write(folder: Path, scenes: list[Scene]) -> Written:
    *labelled, tested = scenes
    rows = [["Image_Label", "EncodedPixels"]]
    ids: dict[str, Mask] = {}
    for scene in labelled:
        name = f"{scene.key}.jpg"
        save(folder / "train_images" / name, scene.image)
        bits = np.zeros_like(scene.ids)
        for number, label in enumerate(NAMES):
            _, left, top, right, bottom = scene.boxes[number]
            there = np.zeros(scene.ids.shape, np.bool_)
            # Of every other image, one class is not there at all.
            if label != "Gravel" or len(ids) % 2:
                there[top:bottom, left:right] = True
            bits |= there.astype(np.uint8) << number
            rows.append([f"{name}_{label}", encode(there)])
        ids[scene.key] = bits
    save(folder / "test_images" / f"{tested.key}.jpg", tested.image)
    with (folder / "train.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return Written(folder, ids, NAMES, {}, {tested.key}, "multilabel")

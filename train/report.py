"""What a training leaves for people: metrics.csv, metrics.json and report.html."""

import base64
import csv
import html
import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from train.config import LENGTHS, TrainConfig
from train.data.dataset import Dataset, Sample
from train.data.masks import VOC_VOID, VOID, Mask, read_mask
from train.data.samples import read_pair
from train.events import Epoch
from train.metrics import DEFINITIONS, Scores
from train.predict import mix_colors, place_mask
from train.state import Progress, Row, write_atomically

TEST = "test_"
EXAMPLES = 6
EXAMPLE_SIDE = 320
OVERLAY = 0.5


def make_row(dataset: Dataset, progress: Progress, scores: Scores) -> Row:
    """One line of metrics.csv: an epoch and its validation."""
    row: Row = {
        "epoch": progress.epoch + 1,
        "step": progress.step,
        "loss": progress.loss_sum / max(1, progress.losses),
        **scores.as_numbers(),
    }
    return row | {
        f"iou_{name}": iou for name, iou in zip(dataset.class_names, scores.iou, strict=True)
    }


def make_epoch(dataset: Dataset, progress: Progress, scores: Scores, is_best: bool) -> Epoch:
    """The event of the epoch that `progress` has last counted."""
    return Epoch(
        epoch=progress.epoch,
        step=progress.step,
        loss=float(progress.rows[-1]["loss"] or 0),
        miou=scores.miou,
        pixel_accuracy=scores.pixel_accuracy,
        iou=dict(zip(dataset.class_names, scores.iou, strict=True)),
        best=is_best,
        metrics=scores.as_numbers(),
    )


def write_metrics_csv(path: Path, rows: Sequence[Row]) -> None:
    """All epochs so far, a line each; a class that never appeared has an empty field."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, text.getvalue().encode())


def write_metrics_json(
    path: Path, dataset: Dataset, metrics: dict[str, float], scores: Scores
) -> None:
    """The final metrics, IoU and Dice per class, and what each number means."""
    means = {name: f"{text} Val list, best checkpoint." for name, text in DEFINITIONS.items()}
    tests = [name for name in metrics if name.startswith(TEST)]
    means |= {name: f"As {name.removeprefix(TEST)}, of the test list." for name in tests}
    content = {
        **metrics,
        "iou": dict(zip(dataset.class_names, scores.iou, strict=True)),
        "class_dice": dict(zip(dataset.class_names, scores.class_dice, strict=True)),
        "definitions": means,
    }
    write_atomically(path, json.dumps(content, indent=1).encode() + b"\n")


def write_report(
    config: TrainConfig,
    dataset: Dataset,
    metrics: dict[str, float],
    scores: Scores,
    rows: Sequence[Row],
) -> None:
    """One page that needs nothing else: metrics, curves, classes and examples."""
    shown = _pick(dataset.lists["val"]) if "val" in config.predict else []
    body = "\n".join(
        [
            f"<h1>{html.escape(dataset.name)}</h1>",
            _headline(config, dataset, metrics),
            "<h2>Training</h2>",
            '<div class="curves">',
            _curve("mIoU (val)", [float(row["miou"] or 0) for row in rows], top=1.0),
            _curve("loss (train)", [float(row["loss"] or 0) for row in rows]),
            "</div>",
            "<h2>Classes</h2>",
            _class_table(dataset, scores),
            "<h2>Examples from the val list</h2>",
            "<p>Image, truth and prediction; void is beige in the truth.</p>",
            *(_example(config, dataset, sample) for sample in shown),
        ]
    )
    page = _PAGE.replace("TITLE", html.escape(dataset.name)).replace("BODY", body)
    write_atomically(config.output / "report.html", page.encode())


def _headline(config: TrainConfig, dataset: Dataset, metrics: dict[str, float]) -> str:
    name = next(name for name in LENGTHS if getattr(config, name) is not None)
    length = f"{getattr(config, name):g} {name}"
    counts = ", ".join(f"{count} {name}" for name, count in dataset.counts.items() if count)
    tiles = "".join(
        f"<div><b>{value:.3f}</b>{html.escape(name)}</div>"
        for name, value in metrics.items()
        if name.endswith(("miou", "accuracy"))
    )
    return (
        f"<p>{html.escape(config.model)}, {length}, crop {config.crop}, batch {config.batch}, "
        f"seed {config.seed}; {counts}</p><div class='tiles'>{tiles}</div>"
    )


def _curve(title: str, values: Sequence[float], top: float | None = None) -> str:
    """A line over the epochs as SVG, 360 x 160."""
    high = top or max([*values, 1e-9])
    across = 340 / max(1, len(values) - 1)
    points = [(10 + i * across, 140 - 120 * v / high) for i, v in enumerate(values)]
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in points)
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return (
        f'<figure><svg viewBox="0 0 360 160"><path d="M10 20V140H350"/>'
        f'<polyline points="{line}"/>{dots}</svg>'
        f"<figcaption>{title}: {values[-1]:.3f} after {len(values)} epochs, "
        f"axis 0 to {high:.2g}</figcaption></figure>"
    )


def _class_table(dataset: Dataset, scores: Scores) -> str:
    rows = []
    for info, iou in zip(dataset.classes, scores.iou, strict=True):
        shown = "absent" if iou is None else f"{iou:.3f}"
        rows.append(
            f'<tr><td><i style="background:rgb{info.color}"></i>{html.escape(info.name)}</td>'
            f"<td>{shown}</td><td>{dataset.pixel_share[info.name]:.1%}</td>"
            f'<td><s style="width:{100 * (iou or 0):.0f}px"></s></td></tr>'
        )
    head = "<tr><th>class</th><th>IoU</th><th>share of pixels</th><th></th></tr>"
    return f"<table>{head}{''.join(rows)}</table>"


def _pick(samples: list[Sample]) -> list[Sample]:
    """A few samples, evenly spread over the list."""
    step = max(1, len(samples) // EXAMPLES)
    return samples[::step][:EXAMPLES]


def _example(config: TrainConfig, dataset: Dataset, sample: Sample) -> str:
    image, truth = read_pair(config.dataset, sample, dataset.ignore_index)
    predicted = read_mask(place_mask(config.output, "val", sample))
    palette = [info.color for info in dataset.classes]
    if dataset.task == "multilabel":
        palette = mix_colors(palette)
    colors = np.zeros((256, 3), np.uint8)
    colors[: len(palette)] = palette
    colors[VOID] = VOC_VOID
    pictures = [image, _overlay(image, truth, colors), _overlay(image, predicted, colors)]
    shown = "".join(f'<img alt="" src="data:image/jpeg;base64,{_jpeg(p)}">' for p in pictures)
    return f"<figure>{shown}<figcaption>{html.escape(sample.id)}</figcaption></figure>"


def _overlay(image: NDArray[np.uint8], ids: Mask, colors: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return (image * (1 - OVERLAY) + colors[ids] * OVERLAY).astype(np.uint8)


def _jpeg(pixels: NDArray[np.uint8]) -> str:
    picture = Image.fromarray(pixels)
    picture.thumbnail((EXAMPLE_SIDE, EXAMPLE_SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    return base64.b64encode(buffer.getvalue()).decode()


_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>TITLE</title>
<meta name="viewport" content="width=device-width">
<style>
body{font:15px/1.5 system-ui,sans-serif;max-width:1000px;margin:2rem auto;padding:0 1rem;color:#222}
h1{margin:0}.tiles{display:flex;gap:1rem;flex-wrap:wrap}
.tiles div{background:#f2f5f8;border-radius:8px;padding:.6rem 1.2rem}
.tiles b{display:block;font-size:1.8rem}
.curves{display:flex;flex-wrap:wrap;gap:1rem}figure{margin:0 0 1rem}svg{width:360px}
path{fill:none;stroke:#bbb}polyline{fill:none;stroke:#0a64c8;stroke-width:2}circle{fill:#0a64c8}
figcaption{color:#666;font-size:13px}img{width:32%;margin-right:1%}
table{border-collapse:collapse}td,th{text-align:left;padding:.15rem 1.2rem .15rem 0}
i{display:inline-block;width:1em;height:1em;border-radius:3px;margin-right:.5em;vertical-align:-2px}
s{display:inline-block;height:.7em;background:#0a64c8;border-radius:3px}
</style>
BODY
</html>
"""

"""What training makes small: losses, one file each, found by file name, and weighted sums of them.

A loss is a module with two functions. `measure(pixels)` gives a short vector of sums over the
pixels or images of a batch; `value(sums, weights_C)` makes the loss of such sums. Between the two,
ranks add their sums up, so that all of them have the loss of the whole batch. A module may say
`SUMMED = True` (its loss grows with the batch) and `MULTILABEL = False` (one class a pixel only).
"""

import importlib
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Protocol, cast

import torch
from torch import Tensor

from train.config import TrainConfig
from train.data.dataset import Dataset
from train.errors import TrainError
from train.losses._pixels import Pixels, Task

Total = Callable[[Tensor], Tensor]


class Kind(Protocol):
    """What a file of this folder offers."""

    def measure(self, pixels: Pixels) -> Tensor: ...

    def value(self, sums: Tensor, weights_C: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Term:
    """One part of a loss: `factor` times the loss of the file `name`."""

    name: str
    factor: float

    @property
    def kind(self) -> Kind:
        return cast(Kind, importlib.import_module(f"{__name__}.{self.name}"))

    @property
    def is_summed(self) -> bool:
        return bool(getattr(self.kind, "SUMMED", False))

    @property
    def is_multilabel(self) -> bool:
        return bool(getattr(self.kind, "MULTILABEL", True))

    def weigh(self, share: float) -> float:
        """What the term counts in a micro-batch that is `share` of its batch."""
        return self.factor if self.is_summed else self.factor * share


class Loss:
    """A weighted sum of losses, ready to be called; `make_loss` makes it.

    `is_summed` tells whether a part of it grows with the number of pixels.
    """

    def __init__(self, terms: Sequence[Term], task: Task, weights: Sequence[float]) -> None:
        self._terms = tuple(terms)
        self._task = task
        self._weights_C = torch.tensor(weights, dtype=torch.float64)
        self.is_summed = any(term.is_summed for term in terms)

    def __call__(
        self,
        logits_NCHW: Tensor,
        truth_NHW: Tensor,
        total: Total = lambda sums: sums,
        share: float = 1.0,
    ) -> Tensor:
        """The loss of a batch; 0, with zero gradients, where every pixel is void (255).

        `total` adds a vector of sums (float64) up over all ranks, differentiably. `share` is the
        share of the batch that these images are: losses that are means are multiplied by it, summed
        ones are not. So the losses of micro-batches add up to the loss of the batch: exactly for
        sums, and for means over pixels or images where each micro-batch has its share of the pixels
        that are not void (weighted, where classes are). For Jaccard and Dice, which are ratios, the
        micro-batches' weighted mean stands for the batch's value.

        Shape:
            logits N x C x H x W, any floats (computed in float32, or float64 where they are);
            truth N x H x W, uint8: ids, or bit k for class k where multilabel -> a scalar.
        """
        if self._weights_C.device != logits_NCHW.device:
            self._weights_C = self._weights_C.to(logits_NCHW.device)
        with torch.autocast(logits_NCHW.device.type, enabled=False):
            pixels = Pixels(logits_NCHW, truth_NHW, self._task, self._weights_C)
            parts = [term.kind.measure(pixels) for term in self._terms]
            sums = torch.split(total(torch.cat(parts)), [len(part) for part in parts])
            values = [
                term.kind.value(part, self._weights_C) * term.weigh(share)
                for term, part in zip(self._terms, sums, strict=True)
            ]
            return torch.stack(values).sum().to(pixels.dtype)


def make_loss(
    expression: str, classes: int, task: Task, weights: Sequence[float] | None = None
) -> Loss:
    """The loss that `expression` names: `NAME`, or `W*NAME+W*NAME` with weights where wanted.

    `weights` holds a weight per class; None weighs all alike.

    Raises:
        TrainError: a part of the expression is no loss, or is none for this task; or the number of
            weights is not the number of classes.
    """
    if weights is not None and len(weights) != classes:
        raise TrainError(
            f"There are {len(weights)} class weights for {classes} classes.",
            fix=f"Give {classes} class weights, in the order of the dataset's classes.",
        )
    # A plus behind an e belongs to the number, as in 1e+2.
    parts = re.split(r"(?<![\d.][eE])\+", expression)
    terms = [_read_term(part.strip(), expression) for part in parts]
    for term in terms:
        if task == "multilabel" and not term.is_multilabel:
            raise TrainError(
                f"The loss {term.name} needs one class a pixel, and this dataset is multilabel.",
                fix="Use bce, the cross-entropy of each class on its own.",
            )
    return Loss(terms, task, [1.0] * classes if weights is None else weights)


def list_losses() -> list[str]:
    """The names of the losses: the files of this folder."""
    return sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py"))


def make_criterion(config: TrainConfig, dataset: Dataset) -> Loss:
    """The loss of a training, with the weights of its dataset's classes.

    Raises:
        TrainError: as `make_loss`.
    """
    weights: Sequence[float] | None
    if config.class_weights == "balanced":
        weights = balance_weights([dataset.pixels[name] for name in dataset.class_names])
    else:
        weights = None if config.class_weights == "none" else config.class_weights
    return make_loss(config.loss, len(dataset.classes), dataset.task, weights)


def balance_weights(pixels: Sequence[int]) -> list[float]:
    """Class weights that make up for rare classes, from the labelled pixels per class.

    A class weighs one over the root of its share of the pixels; the weights of the classes that
    have pixels are scaled to the mean 1. A class without pixels gets 0: nothing can be learnt of
    it, and its weight would be infinite.
    """
    raw = [1 / math.sqrt(count) if count > 0 else 0.0 for count in pixels]
    scale = sum(count > 0 for count in pixels) / (sum(raw) or 1)
    return [weight * scale for weight in raw]


def _read_term(part: str, expression: str) -> Term:
    factor, star, name = (piece.strip() for piece in part.rpartition("*"))
    if name not in list_losses():
        near = get_close_matches(name, list_losses(), n=2)
        raise TrainError(
            f"{name!r} in the loss {expression!r} is no loss.",
            fix=f"Use {' or '.join(near)}." if near else f"Known: {', '.join(list_losses())}.",
        )
    return Term(name, _read_factor(factor, expression) if star else 1.0)


def _read_factor(text: str, expression: str) -> float:
    try:
        factor = float(text)
    except ValueError:
        factor = math.nan
    if not 0 < factor < math.inf:
        raise TrainError(
            f"{text!r} in the loss {expression!r} is no weight.",
            fix="Write a number above 0 in front of the star, as in 0.5*dice.",
        )
    return factor

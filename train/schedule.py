"""The learning rate, and the end, as functions of where the training stands and of its history.

Nothing here has a state: what has been measured so far is all there is to know.
"""

import math
from collections.abc import Sequence

from train.config import TrainConfig

FLOOR = 0.01
POLY_POWER = 0.9
# One-cycle: what it begins and ends with, and when it is at its peak.
CYCLE_START, CYCLE_END, CYCLE_PEAK = 1 / 25, 1e-4, 0.3


def lr_factor(config: TrainConfig, progress: float, history: Sequence[float] = ()) -> float:
    """Share of the peak rate at `progress` (0 to 1), after validations that gave `history`.

    constant: 1. poly: (1 - progress) ** 0.9, as DeepLab's. cosine: a linear warm-up, then half a
    cosine down to a hundredth. one_cycle: up from a 25th in half a cosine, then down to nothing.
    plateau: 1, times `plateau_factor` for each time that nothing got better for long. All but
    one_cycle begin with a linear warm-up, where the config has one.

    Reference:
        Loshchilov and Hutter 2017, "SGDR"; Chen et al. 2017, "DeepLab"; Smith and Topin 2018,
        "Super-Convergence".
    """
    progress = min(1.0, progress)
    if config.schedule == "one_cycle":
        return _cycle(progress)
    warm = config.warmup if config.schedule == "cosine" else 0.0
    if progress < warm:
        return max(FLOOR, progress / warm)
    rest = (progress - warm) / (1 - warm)
    if config.schedule == "cosine":
        return FLOOR + (1 - FLOOR) * _fall(rest)
    if config.schedule == "poly":
        return max(FLOOR**2, math.pow(1 - rest, POLY_POWER))
    if config.schedule == "plateau":
        return math.pow(config.plateau_factor, count_drops(history, config.plateau_patience))
    return 1.0


def count_drops(history: Sequence[float], patience: int) -> int:
    """How often more than `patience` values in a row were no better than the best before them.

    The larger, the better. The count begins anew after each; so does torch's ReduceLROnPlateau.
    """
    best, waited, drops = -math.inf, 0, 0
    for value in history:
        if value > best:
            best, waited = value, 0
        else:
            waited += 1
        if waited > patience:
            drops, waited = drops + 1, 0
    return drops


def is_exhausted(history: Sequence[float], patience: int) -> bool:
    """Whether the last `patience` values were no better than the best before them; 0: never."""
    if not patience or len(history) <= patience:
        return False
    return max(history[-patience:]) <= max(history[:-patience])


def guess_validation(pixels: int, trained_pixels_per_s: float) -> float:
    """Seconds that a first validation takes: of a training step, the forward part is a third."""
    return pixels / max(1.0, trained_pixels_per_s) / 3


def _cycle(progress: float) -> float:
    if progress < CYCLE_PEAK:
        return 1 - (1 - CYCLE_START) * _fall(progress / CYCLE_PEAK)
    return CYCLE_END + (1 - CYCLE_END) * _fall((progress - CYCLE_PEAK) / (1 - CYCLE_PEAK))


def _fall(share: float) -> float:
    """From 1 to 0 as half a cosine."""
    return 0.5 * (1 + math.cos(math.pi * share))

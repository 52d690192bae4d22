"""The learning rate over the whole training."""

import math

WARMUP = 0.05
FLOOR = 0.01


def lr_factor(progress: float) -> float:
    """Share of the peak rate at `progress` (0 to 1): a linear warm-up, then half a cosine.

    Reference: Loshchilov and Hutter 2017, "SGDR".
    """
    if progress < WARMUP:
        return max(FLOOR, progress / WARMUP)
    falling = (min(1.0, progress) - WARMUP) / (1 - WARMUP)
    return FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * falling))

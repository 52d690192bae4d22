"""Runs of pixels to masks and back, beside the snippet that everyone copies and pycocotools.

    python -m tests.bench.runlength

One class of a 1400 x 2100 image with 2,000 runs; the median of many turns, A B A B.
`decode_vs_snippet` and `encode_vs_snippet` are how many times as quick ours is.
"""

import json
import statistics
import time
from collections.abc import Callable

import numpy as np
from pycocotools import mask as coco

from train.data.runlength import Bits, decode, encode

HEIGHT, WIDTH, RUNS = 1400, 2100, 2000
TURNS = 40
# 0.3 and 3 ms where the snippet takes 1.1 and 7.2.
LIMITS = {"decode_vs_snippet": 3.67, "encode_vs_snippet": 2.4}


def main() -> None:
    """Time all in turn and print the ratios."""
    mask = make_mask(np.random.default_rng(0))
    text = encode(mask)
    assert len(text.split()) == 2 * RUNS
    assert (decode(text, HEIGHT, WIDTH) == mask).all()
    assert (snippet_decode(text) == mask).all()
    assert snippet_encode(mask) == text
    runs = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    rows = np.ascontiguousarray(mask)
    times = measure(
        {
            "decode": lambda: decode(text, HEIGHT, WIDTH),
            "decode_snippet": lambda: snippet_decode(text),
            "decode_pycocotools": lambda: coco.decode(runs),
            "encode": lambda: encode(rows),
            "encode_snippet": lambda: snippet_encode(rows),
        }
    )
    answer = {
        "decode_vs_snippet": times["decode_snippet"] / times["decode"],
        "encode_vs_snippet": times["encode_snippet"] / times["encode"],
    }
    print(
        json.dumps(
            {
                **{name: round(value, 2) for name, value in answer.items()},
                "limits": LIMITS,
                "reached": {name: answer[name] >= limit for name, limit in LIMITS.items()},
                "ms": {name: round(1000 * value, 3) for name, value in times.items()},
            }
        )
    )


def make_mask(rng: np.random.Generator) -> Bits:
    """So many runs of random lengths, none of which touch."""
    places = np.sort(rng.choice(HEIGHT * WIDTH // 2, 2 * RUNS, replace=False) * 2)
    flat = np.zeros(HEIGHT * WIDTH, np.bool_)
    for start, end in places.reshape(-1, 2):
        flat[start:end] = True
    return flat.reshape(WIDTH, HEIGHT).T


def measure(works: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Seconds of each, the median."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(TURNS):
        for name, work in works.items():
            began = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in times.items()}


def snippet_decode(text: str) -> Bits:
    """As kernels of that competition have it: a slice a run."""
    words = text.split()
    starts, lengths = (np.asarray(part, dtype=int) for part in (words[0:][::2], words[1:][::2]))
    starts -= 1
    flat = np.zeros(HEIGHT * WIDTH, dtype=np.uint8)
    for low, high in zip(starts, starts + lengths, strict=True):
        flat[low:high] = 1
    return flat.reshape((HEIGHT, WIDTH), order="F").astype(np.bool_)


def snippet_encode(mask: Bits) -> str:
    """As kernels of that competition have it: the places where the value changes."""
    flat = np.concatenate([[0], mask.T.flatten(), [0]])
    runs = np.where(flat[1:] != flat[:-1])[0] + 1
    runs[1::2] -= runs[::2]
    return " ".join(str(number) for number in runs)


if __name__ == "__main__":
    main()

"""How many images a step can take: found by taking a few steps, on images of noise."""

import resource
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import torch
from torch import nn

from train.augment import to_input
from train.config import TrainConfig
from train.data.cache import measure_memory
from train.data.dataset import Dataset
from train.device import is_out_of_memory
from train.losses import Loss
from train.ranks import Ranks

MOST_IMAGES = 256
LIMIT_S = 12.0
# What is left to the allocator's gaps, to validation and to others.
USABLE_SHARE = 0.75
# A step that changes weights keeps two more numbers for each of them.
OPTIMIZER_NUMBERS = 2


def choose_batch(
    config: TrainConfig,
    dataset: Dataset,
    model: nn.Module,
    criterion: Loss,
    context: Callable[[], AbstractContextManager[object]],
    device: torch.device,
    ranks: Ranks,
) -> int:
    """The config's batch; for `auto` the largest that fits, but no more than the train list has.

    Each rank looks for what its own memory holds of it; the first one's word counts. Leaves the
    model as it was. Takes 15 s at most.
    """
    if config.batch != "auto":
        return config.batch
    most = max(1, min(MOST_IMAGES, len(dataset.lists["train"]) // ranks.size))
    kept = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    used_bytes = _used_bytes(device)
    model.train()

    def measure(count: int) -> int:
        """Bytes that a step of so many images takes at most, beside the model."""
        images = torch.randint(0, 256, (count, config.crop, config.crop, 3), dtype=torch.uint8)
        with context():
            outputs = model(to_input(images.to(device)))
        first = outputs[0] if isinstance(outputs, tuple) else outputs
        truth = torch.zeros((count, config.crop, config.crop), dtype=torch.uint8, device=device)
        criterion(first, truth).backward()  # type: ignore[no-untyped-call]  # torch's own stubs lack it
        model.zero_grad()
        return _peak_bytes(device) - used_bytes

    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    room = USABLE_SHARE * _free_bytes(device) - OPTIMIZER_NUMBERS * weights
    batch = search_batch(measure, most, room)
    model.load_state_dict(kept)
    return batch * ranks.size


def search_batch(measure: Callable[[int], int], most: int, room_bytes: float) -> int:
    """The largest batch, up to `most`, that `measure` (bytes of a batch) finds room for.

    Doubles it while it fits and there is time; then takes what is used for a line. Where memory was
    refused, the largest that was not.
    """
    began = time.monotonic()
    fitting, bytes_per_image = 1, 1.0
    count = 1
    while count <= most and time.monotonic() - began < LIMIT_S / 3:
        try:
            used = measure(count)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            return fitting
        if used > room_bytes:
            most = count - 1
            break
        fitting, bytes_per_image = count, max(bytes_per_image, used / count)
        count *= 2
    return max(fitting, min(most, int(room_bytes / bytes_per_image)))


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return measure_memory()


def _used_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return int(torch.cuda.memory_allocated(device))
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def _peak_bytes(device: torch.device) -> int:
    """The most that has been used; on a CPU since the process began, so probes must grow."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

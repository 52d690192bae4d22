"""What the training computes on, and how it is made fast there."""

import contextlib
import ctypes
import os
import random
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from train.config import TrainConfig
from train.errors import TrainError

# glibc's mallopt.h. Gradients and activations are as large in each step: memory that is given
# back after one is zeroed by the kernel, page by page, for the next.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
KEPT_BYTES = 2**31 - 1
PADDED_BYTES = 64 << 20
# A compilation takes a minute or more and makes steps a tenth to a third shorter.
COMPILE_EARNS_S = 15 * 60.0
NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


def choose_device(name: str, local_rank: int = 0) -> torch.device:
    """The GPU of this rank where there is one and it may be used, else the CPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda":
        if not torch.cuda.is_available():
            raise TrainError("No GPU is visible to torch.", fix="Set device to cpu or auto.")
        device = torch.device("cuda", local_rank)
        torch.cuda.set_device(device)
        return device
    return torch.device(name)


def make_deterministic(seed: int, device: torch.device, strict: bool) -> None:
    """Same seed, same machine, same weights. Without `strict`, only the same start."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    if strict and device.type == "cuda":
        # A few operations have no such form on a GPU: they are still better than no training.
        warnings.filterwarnings("ignore", message=".*does not have a deterministic implementation")
    torch.use_deterministic_algorithms(strict, warn_only=device.type == "cuda")
    # Nothing here reads memory that it has not written: to fill it first costs a tenth of the time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # stubs lack it
    torch.backends.cudnn.benchmark = not strict


def keep_memory() -> None:
    """Tell glibc's allocator to keep what is freed, for the next step. Elsewhere: nothing."""
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
        libc.mallopt(M_TOP_PAD, PADDED_BYTES)


def computes_bf16(device: torch.device) -> bool:
    """Whether the hardware multiplies bfloat16 itself."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())


def choose_precision(config: TrainConfig, device: torch.device) -> str:
    """bf16 or fp32; and TF32 for what is left in 32 bits on a GPU, unless fp32 was asked for."""
    if config.precision != "fp32":
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.allow_tf32 = True
    if config.precision == "auto":
        return "bf16" if computes_bf16(device) else "fp32"
    return config.precision


def autocast(device: torch.device, precision: str) -> Callable[[], AbstractContextManager[object]]:
    """Makes the context that forward passes run in."""
    if precision == "fp32":
        return contextlib.nullcontext
    return lambda: torch.autocast(device.type, dtype=torch.bfloat16)


def earns_compile(config: TrainConfig, device: torch.device, left_s: float) -> bool:
    """Whether torch.compile is to be used with that much of the training left.

    On CPUs compiled steps of these models were measured to be slower.
    """
    if config.compile == "auto":
        return device.type == "cuda" and left_s >= COMPILE_EARNS_S
    return config.compile == "on"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether this is memory that could not be had; on a CPU torch has no class for it."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in NO_MEMORY)


def average_weights(model: nn.Module, decay: float) -> AveragedModel:
    """A copy of the model that follows it: after each update, `decay` of what it was."""
    averaging = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]  # torch's own stubs lack it
    return AveragedModel(model, multi_avg_fn=averaging, use_buffers=True)


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """The optimiser that the config names, in its fused form. One-dimensional weights, which are
    those of norms and biases, do not decay; in sgd's form, as Waggle's trainer had it, all do.
    """
    weights = [p for p in model.parameters() if p.requires_grad]
    if config.optimizer == "sgd":
        return torch.optim.SGD(
            weights,
            lr=config.lr,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            fused=True,
        )
    groups = [
        {"params": [p for p in weights if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in weights if p.ndim <= 1], "weight_decay": 0.0},
    ]
    kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=config.lr, fused=True)

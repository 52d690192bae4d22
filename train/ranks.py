"""Several processes that train one model: what they add up, agree on and do only once.

The sums that a loss is made of, and the statistics of batch normalisation, are those of the whole
batch: a step is the same on any number of ranks, but for the rounding of sums.
"""

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from train.config import TrainConfig
from train.errors import TrainError

TIMEOUT = timedelta(minutes=10)


@dataclass(frozen=True)
class Ranks:
    """All processes of a training; `rank` is this one's. One process is a world of its own."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    # Agreements go by the CPU: they do not wait for what a GPU is computing.
    control: Any = None
    sums: Any = None

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def total(self, values: Tensor) -> Tensor:
        """The sum over the ranks; its gradient is that of the sum of all ranks' results."""
        if self.size == 1:
            return values
        summed: Tensor = _Total.apply(values, self.sums)
        return summed

    def agree(self, value: float) -> float:
        """What the first rank says."""
        if self.size == 1:
            return value
        told = torch.tensor([value], dtype=torch.float64)
        dist.broadcast(told, 0, group=self.control)
        return float(told)

    def any(self, flag: bool) -> bool:
        """Whether one of them says so."""
        if self.size == 1:
            return flag
        told = torch.tensor([int(flag)])
        dist.all_reduce(told, dist.ReduceOp.MAX, group=self.control)
        return bool(told)

    def share(self, value: Any) -> Any:
        """An object of the first rank's."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, 0, group=self.control)
        return box[0]

    def gather(self, value: Any) -> list[Any]:
        """Everyone's object, by rank."""
        if self.size == 1:
            return [value]
        boxes: list[Any] = [None] * self.size
        dist.all_gather_object(boxes, value, group=self.control)
        return boxes

    def wait(self) -> None:
        """Until all are here."""
        if self.size > 1:
            dist.barrier(group=self.control)

    def wrap(self, model: nn.Module, device: torch.device) -> nn.Module:
        """The model whose gradients are averaged over the ranks when they are computed."""
        if self.size == 1:
            return model
        ids = [device.index] if device.type == "cuda" else None
        with warnings.catch_warnings():
            # Newer torchs have another name for it, which older ones do not know.
            warnings.simplefilter("ignore", FutureWarning)
            return nn.parallel.DistributedDataParallel(
                model, device_ids=ids, broadcast_buffers=False
            )

    def leave(self) -> None:
        if self.size > 1:
            dist.destroy_process_group()


def join_ranks(config: TrainConfig) -> Ranks:
    """The world that torchrun, or `train.launch`, says we are in; waits until all have come.

    Raises:
        TrainError: the others did not come.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return Ranks()
    use_cuda = config.device != "cpu" and torch.cuda.is_available()
    try:
        dist.init_process_group("nccl" if use_cuda else "gloo", timeout=TIMEOUT)
        control = dist.new_group(backend="gloo", timeout=TIMEOUT)
        sums = dist.new_group(timeout=TIMEOUT)
    except (RuntimeError, ValueError) as error:
        raise TrainError(
            f"The {size} processes of this training did not find each other ({error}).",
            fix="Start them with torchrun, or one alone with WORLD_SIZE unset.",
        ) from error
    local = int(os.environ.get("LOCAL_RANK", "0"))
    return Ranks(dist.get_rank(), size, local, control, sums)


def synchronise_norms(model: nn.Module, total: Callable[[Tensor], Tensor]) -> None:
    """Replace batch normalisation by one over the whole batch, in place; its state stays.

    torch's own SyncBatchNorm needs a GPU, and ours must be the same on every device.
    """
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            setattr(module, "forward", _WholeBatch(module, total))  # noqa: B010  # mypy: a method


class _WholeBatch:
    """The forward of a BatchNorm2d over all ranks' images."""

    def __init__(self, norm: nn.BatchNorm2d, total: Callable[[Tensor], Tensor]) -> None:
        self._norm, self._total = norm, total

    def __call__(self, x_NCHW: Tensor) -> Tensor:
        norm = self._norm
        if not norm.training:
            return type(norm).forward(norm, x_NCHW)
        wide = x_NCHW.float()
        count = x_NCHW.numel() // x_NCHW.shape[1]
        sums = torch.cat([wide.sum((0, 2, 3)), wide.new_tensor([count])])
        sums = self._total(sums)
        whole = sums[-1]
        mean_C = sums[:-1] / whole
        centred_NCHW = wide - mean_C.view(1, -1, 1, 1)
        # Not from the squares' mean: the difference of two large numbers would be lost.
        variance_C = self._total(centred_NCHW.square().sum((0, 2, 3))) / whole
        self._track(mean_C.detach(), variance_C.detach() * whole / (whole - 1).clamp(min=1))
        scale_C = torch.rsqrt(variance_C + norm.eps)
        y = centred_NCHW * scale_C.view(1, -1, 1, 1)
        if norm.affine:
            y = y * norm.weight.view(1, -1, 1, 1) + norm.bias.view(1, -1, 1, 1)
        y = y.to(x_NCHW.dtype)
        # timm's norms have their activation in them.
        for name in ("drop", "act"):
            y = getattr(norm, name, nn.Identity())(y)
        return y

    @torch.no_grad()
    def _track(self, mean_C: Tensor, variance_C: Tensor) -> None:
        norm = self._norm
        if norm.running_mean is None or norm.running_var is None:
            return
        assert norm.num_batches_tracked is not None
        norm.num_batches_tracked.add_(1)
        momentum = norm.momentum or 1 / float(norm.num_batches_tracked)
        norm.running_mean.lerp_(mean_C.to(norm.running_mean.dtype), momentum)
        norm.running_var.lerp_(variance_C.to(norm.running_var.dtype), momentum)


class _Total(torch.autograd.Function):
    """A sum over ranks. Backwards, each rank has a part of the gradient: they are summed, too."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, group: Any) -> Tensor:
        ctx.group = group
        summed = values.clone()
        dist.all_reduce(summed, group=group)
        return summed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        summed = gradients[0].clone()
        dist.all_reduce(summed, group=ctx.group)
        return summed, None

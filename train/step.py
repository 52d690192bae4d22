"""One optimiser step: the gradients of a batch, in as many parts as memory asks for."""

import contextlib
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from train.augment import augment
from train.config import TrainConfig
from train.device import is_out_of_memory
from train.errors import TrainError
from train.feed import Fed
from train.losses import Loss
from train.ranks import Ranks
from train.state import Progress

KEPT = "The last checkpoint is kept."
MEND = "Look at these files, or start again with a lower learning rate."


@dataclass
class Stepper:
    """Takes the steps of a training. `net` is the model, or what averages its gradients."""

    net: nn.Module
    criterion: Loss
    optimizer: torch.optim.Optimizer
    config: TrainConfig
    context: Callable[[], AbstractContextManager[object]]
    micro_batch: int
    ranks: Ranks
    warn: Callable[[str], None]

    def take(self, fed: Fed, lr: float) -> Tensor:
        """Change the weights by one batch; its loss before that, which nobody has waited for.

        Where memory does not hold the batch, it is computed in parts, from here on: the gradients
        are those of the batch, but for batch normalisation, which sees a part at a time.
        """
        loss = self._compute(fed)
        while loss is None:
            loss = self._compute(fed)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        if self.config.clip_norm:
            nn.utils.clip_grad_norm_(self.net.parameters(), self.config.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss

    def _compute(self, fed: Fed) -> Tensor | None:
        """The loss, and the model's gradients; None where it has to be tried again."""
        try:
            return self._add_gradients(
                *augment(fed.windows_NHWC, fed.draws_NK, fed.sides_N, self.config)
            )
        except Exception as error:
            # Ranks that wait for each other cannot try again one by one.
            if not is_out_of_memory(error) or self.micro_batch == 1 or self.ranks.size > 1:
                raise
        self.micro_batch = math.ceil(self.micro_batch / 2)
        self.optimizer.zero_grad()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self.warn(
            f"Memory does not hold more than {self.micro_batch} images at a time: a batch is "
            "computed in parts. It stays as large as it was."
        )
        return None

    def _add_gradients(self, images_NCHW: Tensor, truth_NHW: Tensor) -> Tensor:
        count, whole = len(images_NCHW), torch.zeros((), device=images_NCHW.device)
        for start in range(0, count, self.micro_batch):
            part = slice(start, start + self.micro_batch)
            is_last = start + self.micro_batch >= count
            with self._apart(is_last):
                loss = self._lose(images_NCHW[part], truth_NHW[part], count)
                loss.backward()  # type: ignore[no-untyped-call]  # torch's own stubs lack it
            whole += loss.detach()
        return whole

    def _lose(self, images_NCHW: Tensor, truth_NHW: Tensor, count: int) -> Tensor:
        with self.context():
            outputs = self.net(images_NCHW)
        main, *others = outputs if isinstance(outputs, tuple) else (outputs,)
        share, total = len(truth_NHW) / count, self.ranks.total
        loss = self.criterion(main, truth_NHW, total, share)
        for other in others:
            loss = loss + self.config.auxiliary * self.criterion(other, truth_NHW, total, share)
        return loss

    def _apart(self, is_last: bool) -> AbstractContextManager[object]:
        """Ranks add up their gradients once a batch."""
        if is_last or self.ranks.size == 1:
            return contextlib.nullcontext()
        assert isinstance(self.net, nn.parallel.DistributedDataParallel)
        return self.net.no_sync()


def check_weights(model: nn.Module, step: int, names: list[str]) -> None:
    """Refuse to go on, or to save, when the last step has ruined the model.

    Raises:
        TrainError: a weight is not finite; names the images of the step.
    """
    if all(bool(p.isfinite().all()) for p in model.parameters()):
        return
    raise TrainError(
        f"The weights are no numbers any more after step {step}, on {', '.join(names)}. {KEPT}",
        fix=MEND,
    )


def add_losses(progress: Progress, pending: list[tuple[Tensor, list[str]]]) -> None:
    """Wait for the losses of the last steps, and count them.

    Raises:
        TrainError: one is not finite; names the images that it is of.
    """
    first = progress.step - len(pending) + 1
    for place, (loss, names) in enumerate(pending):
        value = float(loss)
        if not math.isfinite(value):
            raise TrainError(
                f"The loss is {value} at step {first + place}, on {', '.join(names)}. {KEPT}",
                fix=MEND,
            )
        progress.losses += 1
        progress.loss_sum += value
    pending.clear()

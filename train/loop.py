"""The training, top to bottom: data, model, epochs of steps and validation, masks, report."""

import math
import os
import random
import signal
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from train import events
from train.config import TrainConfig
from train.data.dataset import ListName, load_dataset
from train.data.samples import crop_pair, make_rng, order_epoch, prefetch, read_pair
from train.errors import TrainError
from train.events import EventLog
from train.losses import jaccard_loss
from train.models import build_model
from train.predict import evaluate, predict_masks, score_masks, to_input, write_samples
from train.report import make_row, write_metrics_csv, write_metrics_json, write_report
from train.schedule import lr_factor
from train.state import Progress, load_checkpoint, save_checkpoint

CHECKPOINTS = "checkpoints"
PREDICTED: tuple[ListName, ...] = ("val", "test", "unlabelled")
STEP_EVENT_S = 1.0


class Stopped(Exception):
    """SIGTERM came; the checkpoint is on disk."""


def train(config: TrainConfig, log: EventLog) -> dict[str, float]:
    """Train as `config` says, from the last checkpoint where there is one; the final metrics.

    Leaves in `config.output`: checkpoints/last.pt and best.pt, metrics.csv, metrics.json,
    predictions/LIST/ID.png and report.html.

    Raises:
        TrainError: something that the message names is wrong with config, data or disk.
        Stopped: SIGTERM came.
    """
    began = time.monotonic()
    dataset = load_dataset(config.dataset)
    device = choose_device(config.device)
    make_deterministic(config.seed)

    model = build_model(len(dataset.classes), config)
    model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # stubs lack it
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.lr, weight_decay=config.weight_decay
    )

    folder = config.output / CHECKPOINTS
    folder.mkdir(parents=True, exist_ok=True)
    last, best = folder / "last.pt", folder / "best.pt"
    progress = Progress()
    if last.exists():
        progress = load_checkpoint(last, config, dataset, model, optimizer)

    train_samples = dataset.lists["train"]
    batches = math.ceil(len(train_samples) / config.batch)
    log.emit(
        events.Started(
            dataset=dataset.name,
            counts=dataset.counts,
            classes=dataset.class_names,
            model=config.model,
            parameters=sum(p.numel() for p in model.parameters()),
            device=str(device),
            epochs=config.epochs,
            steps=config.epochs * batches if config.epochs else None,
            step=progress.step,
            seed=config.seed,
        )
    )
    print(f"{dataset.name}: {dataset.counts}, {len(dataset.classes)} classes, on {device}")
    stop = StopFlag()
    told = time.monotonic()
    clock_offset = told - progress.elapsed_s

    def share_done() -> float:
        if config.epochs:
            return progress.step / (config.epochs * batches)
        assert config.minutes is not None  # the config has one of the two
        return (time.monotonic() - clock_offset) / (60 * config.minutes)

    def save(path: Path) -> None:
        progress.elapsed_s = time.monotonic() - clock_offset
        save_checkpoint(path, config, dataset, model, optimizer, progress)
        relative = path.relative_to(config.output).as_posix()
        log.emit(events.Checkpoint(path=relative, epoch=progress.epoch, step=progress.step))

    def stop_if_asked() -> None:
        if stop.asked:
            save(last)
            raise Stopped

    # A run resumed behind an epoch's last step goes on with that epoch's validation.
    while share_done() < 1 or progress.batch:
        epoch = progress.epoch
        order = order_epoch(len(train_samples), config.seed, epoch)
        rest = [order[i : i + config.batch] for i in range(0, len(order), config.batch)]
        rest = rest[progress.batch :]

        def load(index: int, epoch: int = epoch) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
            pair = read_pair(config.dataset, train_samples[index], dataset.ignore_index)
            return crop_pair(*pair, config.crop, make_rng(config.seed, epoch, index))

        pairs = prefetch(load, (int(i) for batch in rest for i in batch), ahead=2 * config.batch)
        model.train()
        told, images_since = time.monotonic(), 0
        for batch in rest:
            if share_done() >= 1:
                break
            images, ids = zip(*(next(pairs) for _ in batch), strict=True)
            lr = config.lr * lr_factor(share_done())
            loss = take_step(model, optimizer, np.stack(images), np.stack(ids), lr, device)
            if not math.isfinite(loss):
                names = ", ".join(train_samples[i].image for i in batch)
                raise TrainError(
                    f"The loss is {loss} at step {progress.step}, on {names}. "
                    "The last checkpoint is kept.",
                    fix="Look at these files, or start again with a lower learning rate.",
                )
            progress.step += 1
            progress.batch += 1
            progress.loss_sum += loss
            images_since += len(batch)
            since = time.monotonic() - told
            if since >= STEP_EVENT_S or progress.step == 1:
                log.emit(
                    events.Step(
                        epoch=epoch + 1,
                        step=progress.step,
                        progress=min(1.0, share_done()),
                        loss=round(progress.loss_sum / progress.batch, 6),
                        lr=lr,
                        images_per_s=round(images_since / since, 2),
                    )
                )
                told, images_since = time.monotonic(), 0
            stop_if_asked()
        pairs.close()

        scores = evaluate(
            model, dataset, config.dataset, dataset.lists["val"], device, check=stop_if_asked
        )
        row = make_row(dataset, progress, scores)
        is_best = scores.miou > progress.best_miou
        if is_best:
            progress.best_miou, progress.best_epoch = scores.miou, epoch + 1
        progress = Progress(
            epoch=epoch + 1,
            step=progress.step,
            best_miou=progress.best_miou,
            best_epoch=progress.best_epoch,
            rows=[*progress.rows, row],
        )
        if is_best:
            save(best)
        save(last)
        write_metrics_csv(config.output / "metrics.csv", progress.rows)
        write_samples(model, dataset, config.dataset, config.output, device)
        log.emit(
            events.Epoch(
                epoch=epoch + 1,
                step=progress.step,
                loss=float(row["loss"] or 0),
                miou=scores.miou,
                pixel_accuracy=scores.pixel_accuracy,
                iou=dict(zip(dataset.class_names, scores.iou, strict=True)),
                best=is_best,
            )
        )
        print(
            f"epoch {epoch + 1} loss {row['loss']:.4f} mIoU {scores.miou:.4f} "
            f"pixel accuracy {scores.pixel_accuracy:.4f}{' (best)' if is_best else ''}",
            flush=True,
        )

    load_checkpoint(best, config, dataset, model)
    total = sum(len(dataset.lists[name]) for name in PREDICTED)
    for done in predict_masks(model, dataset, config.dataset, config.output, PREDICTED, device):
        if done == total or time.monotonic() - told >= STEP_EVENT_S:
            log.emit(events.Image(done=done, total=total))
            told = time.monotonic()

    scores = score_masks(dataset, config.dataset, config.output, "val")
    metrics: dict[str, float] = {
        "miou": scores.miou,
        "pixel_accuracy": scores.pixel_accuracy,
        "best_epoch": progress.best_epoch,
        "epochs": progress.epoch,
    }
    if dataset.lists["test"]:
        test = score_masks(dataset, config.dataset, config.output, "test")
        metrics |= {"test_miou": test.miou, "test_pixel_accuracy": test.pixel_accuracy}
    write_metrics_json(config.output / "metrics.json", dataset, metrics, scores)
    write_report(config, dataset, metrics, scores, progress.rows)
    seconds = round(time.monotonic() - began, 3)
    log.emit(events.Finished(metrics=metrics, seconds=seconds))
    print(f"finished in {seconds:.0f} s: mIoU {metrics['miou']:.4f}", flush=True)
    return metrics


class StopFlag:
    """Whether SIGTERM has come. The first one asks; a second one kills."""

    def __init__(self) -> None:
        self.asked = False
        signal.signal(signal.SIGTERM, self._ask)

    def _ask(self, _number: int, _frame: object) -> None:
        self.asked = True
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def choose_device(name: str) -> torch.device:
    """The GPU where there is one and it may be used, else the CPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise TrainError("No GPU is visible to torch.", fix="Set device to cpu or auto.")
    return torch.device(name)


def make_deterministic(seed: int) -> None:
    """Same seed, same machine, same weights."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True)
    # Nothing here reads memory that it has not written: to fill it first costs a tenth of the time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # stubs lack it
    torch.backends.cudnn.benchmark = False


def take_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    images_NHWC: NDArray[np.uint8],
    ids_NHW: NDArray[np.uint8],
    lr: float,
    device: torch.device,
) -> float:
    """One optimiser step; the loss before it."""
    for group in optimizer.param_groups:
        group["lr"] = lr
    inputs = to_input(images_NHWC, device)
    truth: Tensor = torch.from_numpy(ids_NHW).to(device)
    loss = jaccard_loss(model(inputs), truth)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]  # torch's own stubs lack it
    optimizer.step()
    return float(loss.detach())

"""The training, top to bottom: data, model, epochs of steps and validation, masks, report.

An epoch is what lies between two validations. Where the training stands is one number, the step:
which samples it takes, how they are varied and how fast it learns all follow from it, so that a
training which was killed anywhere goes on as if it had not been.
"""

import time
from dataclasses import asdict, replace

import torch
from torch import Tensor, nn

from train import events
from train.config import TrainConfig
from train.data.dataset import load_dataset
from train.data.samples import SampleStream, draw_seed
from train.device import (
    autocast,
    average_weights,
    choose_device,
    choose_precision,
    earns_compile,
    keep_memory,
    make_deterministic,
    make_optimizer,
)
from train.errors import TrainError
from train.events import Event, EventLog, SilentLog
from train.feed import Feed, check_lists, find_resident, open_list
from train.losses import make_criterion
from train.metrics import Scoreboard
from train.models import build_model
from train.outcome import predict, tune, write_results
from train.predict import evaluate, write_samples
from train.probe import choose_batch
from train.ranks import Ranks, synchronise_norms
from train.report import make_epoch, make_row, write_metrics_csv
from train.schedule import guess_validation, is_exhausted, lr_factor
from train.state import Checkpoints, Progress, hash_identity
from train.status import StatusReporter
from train.step import Stepper, add_losses, check_weights
from train.stop import StopFlag, Stopped
from train.tiles import Predictor

STEP_EVENT_S = 1.0
STEP_EVENTS, LONGEST_SILENCE = 1000, 20
COMPILE_AFTER = 10


def train(
    config: TrainConfig, log: EventLog | SilentLog, ranks: Ranks | None = None
) -> dict[str, float]:
    """Train as `config` says, from the last checkpoint where there is one; the final metrics.

    Leaves in `config.output`: checkpoints/last.pt and best.pt, metrics.csv, metrics.json,
    samples/ID.png, predictions/LIST/ID.png and report.html.

    Raises:
        TrainError: something that the message names is wrong with config, data or disk.
        Stopped: SIGTERM came.
    """
    began = time.monotonic()
    ranks = ranks or Ranks()
    stop = StopFlag()
    dataset = load_dataset(config.dataset)
    check_lists(dataset, config)
    device = choose_device(config.device, ranks.local_rank)
    keep_memory()
    make_deterministic(config.seed, device, config.deterministic)
    precision = choose_precision(config, device)
    context = autocast(device, precision)

    classes = len(dataset.classes)
    checkpoints = Checkpoints(config, dataset)
    # Weights to begin with are of use to a training that begins.
    begins = not checkpoints.last.exists()
    model = build_model(classes, config if begins else config.model_copy(update={"pretrained": ""}))
    model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # stubs lack it
    criterion = make_criterion(config, dataset)
    optimizer = make_optimizer(model, config)
    average = average_weights(model, config.ema) if config.ema else None
    best_model: nn.Module = average.module if average else model

    def warn(message: str) -> None:
        log.emit(events.Warned(message=message))

    progress = checkpoints.restore(model, optimizer, average, warn)
    if progress is None:
        batch = choose_batch(config, dataset, model, criterion, context, device, ranks)
        progress = Progress(int(ranks.agree(batch)))
    batch = progress.batch
    if batch % ranks.size:
        raise TrainError(
            f"A batch of {batch} images cannot be shared by {ranks.size} processes.",
            fix=f"Take a batch that is a multiple of {ranks.size}, or fewer ranks.",
        )
    micro_batch = min(config.micro_batch or batch, batch // ranks.size)
    if ranks.size > 1:
        synchronise_norms(model, ranks.total)
    net = ranks.wrap(model, device)
    stepper = Stepper(net, criterion, optimizer, config, context, micro_batch, ranks, warn)

    train_set = open_list(dataset, config, "train", ranks)
    val_set = open_list(dataset, config, "val", ranks)
    stream = SampleStream(len(train_set.samples), config.seed)
    feed = Feed(train_set, stream, config, batch, device, ranks.rank, ranks.size)
    total_steps = config.steps
    if config.epochs:
        total_steps = stream.count_steps(config.epochs, batch)
    steps_per_epoch = config.validate_steps or stream.count_steps(1, batch)
    event_steps = max(1, min(LONGEST_SILENCE, (total_steps or 0) // STEP_EVENTS))

    def forward(images_NCHW: Tensor) -> Tensor:
        with context():
            logits_NCHW: Tensor = best_model(images_NCHW)
        return logits_NCHW

    predictor = Predictor(
        forward,
        device,
        dataset.task == "multilabel",
        tile=config.tile,
        flip_average=config.flip_average,
    )
    log.emit(
        events.Started(
            dataset=dataset.name,
            counts=dataset.counts,
            classes=dataset.class_names,
            model=config.model,
            parameters=sum(p.numel() for p in model.parameters()),
            device=str(device),
            epochs=config.epochs,
            steps=total_steps,
            step=progress.step,
            seed=config.seed,
            batch=batch,
            precision=precision,
            ranks=ranks.size,
            identity=hash_identity(config, dataset),
        )
    )
    # Those that a training which was killed had no time to say.
    log.repeat(progress.events)
    if ranks.is_first:
        print(f"{dataset.name}: {dataset.counts}, {classes} classes, {precision} on {device}")
    reports = config.status_url and ranks.is_first
    reporter = StatusReporter(config.status_url) if reports else None
    clock_offset = time.monotonic() - progress.elapsed_s
    saved_at, saved_step, begun_step = time.monotonic(), progress.step, progress.step

    def share_done() -> float:
        if total_steps:
            return progress.step / total_steps
        assert config.minutes is not None  # the config has one of the three
        # The last validation belongs to the time that was asked for.
        usable_s = max(1.0, 60 * config.minutes - progress.validation_s)
        return ranks.agree((time.monotonic() - clock_offset) / usable_s)

    def is_over() -> bool:
        exhausted = is_exhausted(progress.history(config.monitor), config.early_stop)
        return exhausted or share_done() >= 1

    def epoch_end() -> int:
        end = (progress.epoch + 1) * (config.validate_steps or 0)
        end = end or stream.count_steps(progress.epoch + 1, batch)
        return min(end, total_steps) if total_steps else end

    def name_batch(step: int) -> list[str]:
        return [train_set.samples[i].image for i in stream.batch(step, batch).indices]

    def save(*said: Event) -> None:
        """Make all that was done last; `said` and the checkpoint's own event follow at once."""
        nonlocal saved_at, saved_step
        if ranks.is_first:
            check_weights(model, progress.step, name_batch(progress.step - 1))
            told = [*said, checkpoints.announce(checkpoints.last, progress)]
            progress.events = [event.model_dump_json() for event in told]
            progress.elapsed_s = time.monotonic() - clock_offset
            checkpoints.save_last(model, optimizer, average, progress)
            log.repeat(progress.events)
        saved_at, saved_step = time.monotonic(), progress.step

    def stop_if_asked() -> None:
        if ranks.any(stop.asked):
            add_losses(progress, pending)
            save()
            if reporter:
                reporter.close(timeout_s=1.0)
            raise Stopped

    pending: list[tuple[Tensor, list[str]]] = []
    step_event: events.Step | None = None
    # A run resumed behind an epoch's last step goes on with that epoch's validation.
    while not is_over() or progress.losses:
        epoch = progress.epoch
        if epoch and feed.resident is None:
            feed.resident = find_resident(train_set, config, device)
        history = progress.history(config.monitor)
        model.train()
        told, images_since, end = time.monotonic(), 0, epoch_end()
        for fed in feed.batches(progress.step, end):
            if (share := share_done()) >= 1:
                break
            lr = config.lr * lr_factor(config, share, history)
            # Dropout: drawn from the step, like everything else that is drawn.
            torch.manual_seed(draw_seed(config.seed, progress.step, ranks.rank))
            loss = stepper.take(fed, lr)
            if average:
                average.update_parameters(model)

            pending.append((loss, name_batch(progress.step)))
            progress.step += 1
            images_since += batch
            since_s = time.monotonic() - told
            tells = progress.step % event_steps == 0 if total_steps else since_s >= STEP_EVENT_S
            tells = tells or progress.step in (1, end)
            # A loss that is looked at is waited for: on a GPU, not after each step.
            if tells or device.type == "cpu" or stop.asked:
                add_losses(progress, pending)
            if tells:
                since_s = time.monotonic() - told
                step_event = events.Step(
                    epoch=epoch + 1,
                    step=progress.step,
                    progress=progress.step / total_steps if total_steps else share,
                    loss=round(progress.loss_sum / progress.losses, 6),
                    lr=lr,
                    images_per_s=round(images_since / since_s, 2),
                )
                log.emit(step_event)
                if reporter:
                    reporter.update(step_event, config.epochs, total_steps, steps_per_epoch)
                told, images_since = time.monotonic(), 0
                if not epoch:
                    trained_pixels_per_s = step_event.images_per_s * config.crop**2
                    progress.validation_s = guess_validation(val_set.pixels, trained_pixels_per_s)
            if progress.step == begun_step + COMPILE_AFTER:
                left_s = (1 / max(share, 1e-6) - 1) * (time.monotonic() - clock_offset)
                if earns_compile(config, device, left_s):
                    model.compile()
            stop_if_asked()
            is_due = time.monotonic() - saved_at >= 60 * config.checkpoint_minutes
            if config.checkpoint_steps:
                is_due = progress.step - saved_step >= config.checkpoint_steps
            # An epoch ends with one anyway.
            if is_due and ranks.is_first and progress.step < end:
                add_losses(progress, pending)
                save()
        add_losses(progress, pending)

        validated_at = time.monotonic()
        board = Scoreboard(classes, dataset.task, device)
        best_model.eval()
        evaluate(
            predictor,
            val_set.read_pair,
            len(val_set.samples),
            board,
            shard=(ranks.rank, ranks.size),
            # Ranks have validations of different lengths: they agree when all are done.
            check=stop_if_asked if ranks.size == 1 else lambda: None,
        )
        scores = board.over_ranks(ranks).scores()
        row = make_row(dataset, progress, scores)
        progress.rows = [*progress.rows, row]
        progress.epoch, progress.losses, progress.loss_sum = epoch + 1, 0, 0.0
        value = progress.history(config.monitor)[-1]
        said: list[Event] = []
        is_best = progress.best is None or value > progress.best
        if is_best:
            progress.best, progress.best_epoch = value, progress.epoch
            progress.best_scores = asdict(scores)
            if ranks.is_first:
                checkpoints.save_best(best_model, progress)
            said.append(checkpoints.announce(checkpoints.best, progress))
        save(make_epoch(dataset, progress, scores, is_best), *said)
        if ranks.is_first:
            write_metrics_csv(config.output / "metrics.csv", progress.rows)
            write_samples(predictor, dataset, config.dataset, config.output)
            print(
                f"epoch {progress.epoch} loss {row['loss']:.4f} mIoU {scores.miou:.4f} "
                f"pixel accuracy {scores.pixel_accuracy:.4f}{' (best)' if is_best else ''}",
                flush=True,
            )
        progress.validation_s = time.monotonic() - validated_at

    if reporter and step_event:
        over = step_event.model_copy(update={"progress": 1.0})
        reporter.update(over, config.epochs, total_steps, steps_per_epoch)
        if problem := reporter.close():
            warn(problem)
    # It is the first rank that has written it.
    ranks.wait()
    best_model.load_state_dict(checkpoints.read_best()["model"])
    best_model.eval()
    if predictor.multilabel:
        predictor = replace(predictor, postprocess=tune(dataset, config, predictor, ranks))
        if ranks.is_first:
            checkpoints.add_postprocess(predictor.postprocess)
    predict(config, dataset, predictor, log, ranks)
    if not ranks.is_first:
        return {}
    metrics = write_results(config, dataset, progress)
    seconds = round(time.monotonic() - began, 3)
    log.emit(events.Finished(metrics=metrics, seconds=seconds))
    print(f"finished in {seconds:.0f} s: mIoU {metrics['miou']:.4f}", flush=True)
    return metrics

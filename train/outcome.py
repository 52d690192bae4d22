"""What is left when the training is over: thresholds, masks, metrics and the report."""

import numpy as np

from train import events
from train.config import TrainConfig
from train.data.dataset import Dataset, ListName
from train.events import EventLog, SilentLog
from train.metrics import Scoreboard, Scores
from train.postprocess import Postprocess
from train.predict import predict_masks, score_masks, write_runlengths
from train.ranks import Ranks
from train.report import write_metrics_json, write_report
from train.state import Progress
from train.thresholds import choose_postprocess, count_val
from train.tiles import Predictor

IMAGE_EVENTS = 50


def tune(dataset: Dataset, config: TrainConfig, predictor: Predictor, ranks: Ranks) -> Postprocess:
    """Thresholds and least sizes of a multilabel dataset, chosen on its val list alone."""
    shard = (ranks.rank, ranks.size)
    counts = ranks.gather(count_val(predictor, dataset, config.dataset, shard))
    return choose_postprocess(np.concatenate(counts))


def predict(
    config: TrainConfig,
    dataset: Dataset,
    predictor: Predictor,
    log: EventLog | SilentLog,
    ranks: Ranks,
) -> None:
    """The masks of the lists that were asked for, each list's by all ranks; returns with them all.

    Of a multilabel dataset, as runs of pixels too.
    """
    total = sum(len(dataset.lists[name]) for name in config.predict)
    shard = (ranks.rank, ranks.size)
    every = max(1, total // IMAGE_EVENTS)
    masks = predict_masks(predictor, dataset, config.dataset, config.output, config.predict, shard)
    for done in masks:
        if done % every == 0 and ranks.size == 1:
            log.emit(events.Image(done=done, total=total))
    ranks.wait()
    if total:
        log.emit(events.Image(done=total, total=total))
    if predictor.multilabel and ranks.is_first:
        write_runlengths(dataset, config.output, config.predict)


def score(config: TrainConfig, dataset: Dataset, name: ListName) -> Scores:
    """What the masks of a labelled list are worth, read back from their files."""
    board = Scoreboard(len(dataset.classes), dataset.task)
    score_masks(dataset, config.dataset, config.output, name, board)
    return board.scores()


def write_results(config: TrainConfig, dataset: Dataset, progress: Progress) -> dict[str, float]:
    """metrics.json and report.html; the final metrics.

    They are those of the masks that are left; where the val list was not predicted, those of the
    best epoch's validation.
    """
    labelled = [name for name in config.predict if name in ("val", "test") and dataset.lists[name]]
    found = {name: score(config, dataset, name) for name in labelled}
    val = found.get("val") or Scores(**progress.best_scores)
    metrics = val.as_numbers()
    metrics |= {"best_epoch": progress.best_epoch, "epochs": progress.epoch}
    if "test" in found:
        metrics |= {f"test_{name}": value for name, value in found["test"].as_numbers().items()}
    write_metrics_json(config.output / "metrics.json", dataset, metrics, val)
    write_report(config, dataset, metrics, val, progress.rows)
    return metrics

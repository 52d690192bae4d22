"""The contract of `train/models`, and what each of its files promises beyond."""

from pathlib import Path
from typing import Any

from train.config import TrainConfig


def make_config(model: str, **settings: Any) -> TrainConfig:
    """A config for a model; nothing else in it matters here."""
    return TrainConfig(
        **{"dataset": Path(), "output": Path(), "epochs": 1, "model": model, **settings}
    )

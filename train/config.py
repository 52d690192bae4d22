"""What one training is asked to do: the first of the trainer's two doors. No torch here."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from train.errors import TrainError

DEFAULT_EPOCHS = 20


def list_models() -> list[str]:
    """The names of the model families: the files of `train/models`, without importing any."""
    folder = Path(__file__).parent / "models"
    return sorted(path.stem for path in folder.glob("*.py") if not path.stem.startswith("_"))


class TrainConfig(BaseModel):
    """The whole of `CONFIG.json`. Paths are the node's; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: Path = Field(description="Folder that holds dataset.json.")
    output: Path = Field(description="Folder for events, log, checkpoints, masks and report.")
    model: str = Field("resunet", description="Model family: a file of train/models.")
    epochs: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Passes over the train list."
    )
    minutes: Annotated[float, Field(gt=0)] | None = Field(
        None, description="Training time, validations included, instead of epochs."
    )
    crop: int = Field(256, ge=32, le=4096, description="Side of the square training crop, px.")
    batch: int = Field(8, ge=1, description="Images per optimiser step.")
    seed: int = Field(
        0, ge=0, lt=2**32, description="Seeds the weights, the order and the augmentation."
    )
    lr: float = Field(5e-3, gt=0, description="Peak learning rate of AdamW.")
    weight_decay: float = Field(1e-4, ge=0)
    width: int = Field(
        16, ge=4, description="Channels of the first level; each next level doubles them."
    )
    depth: int = Field(4, ge=1, le=6, description="Number of times the resolution is halved.")
    device: Literal["auto", "cpu", "cuda"] = "auto"

    @model_validator(mode="after")
    def _check_has_one_length(self) -> Self:
        if (self.epochs is None) == (self.minutes is None):
            raise ValueError("give either epochs or minutes")
        return self


def read_config(path: Path) -> TrainConfig:
    """The config in `path`.

    Raises:
        TrainError: the file is missing, no JSON, or says what no training can do.
    """
    try:
        return TrainConfig.model_validate_json(path.read_bytes())
    except OSError as error:
        raise TrainError(
            f"{path}: {error.strerror}.", fix="Give the path of a config JSON."
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "config"
        raise TrainError(
            f"{path}: {where}: {first['msg']}.",
            fix=f"Mend {where} in that file; known keys: {', '.join(TrainConfig.model_fields)}.",
        ) from error

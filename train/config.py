"""What one training is asked to do: the first of the trainer's two doors. No torch here."""

from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from train.errors import TrainError

DEFAULT_EPOCHS = 20
AUTO: Final = "auto"
LENGTHS = ("epochs", "minutes", "steps")
# The architectures of segmentation_models_pytorch, by the names of its `create_model`.
ARCHITECTURES = (
    "deeplabv3",
    "deeplabv3plus",
    "dpt",
    "fpn",
    "linknet",
    "manet",
    "pan",
    "pspnet",
    "segformer",
    "unet",
    "unetplusplus",
    "upernet",
)

Metric = Literal[
    "miou",
    "pixel_accuracy",
    "micro_iou",
    "mean_accuracy",
    "fw_iou",
    "dice",
    "image_dice",
    "loss",
]
ListToPredict = Literal["train", "val", "test", "unlabelled"]


def list_models() -> list[str]:
    """The names of the model families: the files of `train/models`, without importing any."""
    folder = Path(__file__).parent / "models"
    stems = {path.stem for path in folder.glob("*.py") if not path.stem.startswith("_")}
    # That file serves names with a slash: ARCHITECTURE/ENCODER.
    return sorted(stems - {"smp"})


class TrainConfig(BaseModel):
    """The whole of `CONFIG.json`. Paths are the node's; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: Path = Field(description="Folder that holds dataset.json.")
    output: Path = Field(description="Folder for events, log, checkpoints, masks and report.")

    model: str = Field(
        "resunet",
        description="resunet, fcn_resnet50, fcn_resnet101, or as unet/resnet34: "
        "ARCHITECTURE/ENCODER.",
    )
    pretrained: str = Field(
        "",
        description="Weights to begin with: imagenet, coco (fcn models), or a file on the node; "
        "empty: none.",
    )
    width: int = Field(
        16, ge=4, description="resunet: channels of the first level; each next level doubles them."
    )
    depth: int = Field(
        4, ge=1, le=6, description="resunet: number of times the resolution is halved."
    )
    deep_supervision: bool = Field(
        False, description="resunet: also learn from the decoder's coarser levels."
    )

    epochs: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Passes over the train list."
    )
    minutes: Annotated[float, Field(gt=0)] | None = Field(
        None, description="Training time, validations included, instead of epochs."
    )
    steps: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Optimiser steps, instead of epochs."
    )
    validate_steps: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Steps between validations; default: one pass over the train list."
    )

    crop: int = Field(256, ge=32, le=4096, description="Side of the square training crop, px.")
    batch: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        8, description="Images per optimiser step; auto: as many as the memory holds."
    )
    micro_batch: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Images computed at a time, where a batch is more than memory holds."
    )
    seed: int = Field(
        0, ge=0, lt=2**32, description="Seeds the weights, the order and the augmentation."
    )
    flip: bool = Field(True, description="Mirror half of the crops.")
    scale_min: float = Field(1.0, gt=0.1, le=1, description="Smallest random zoom of a crop.")
    scale_max: float = Field(1.0, ge=1, lt=10, description="Largest random zoom of a crop.")
    jitter: float = Field(
        0.0, ge=0, lt=1, description="Largest random change of brightness, contrast, saturation."
    )

    loss: str = Field(
        "log_jaccard",
        description="A loss, or a sum of weighted ones: 1.0*dice+0.8*bce. Known: cross_entropy, "
        "cross_entropy_sum, jaccard, log_jaccard, dice, bce, focal, lovasz.",
    )
    auxiliary: float = Field(
        0.4, ge=0, description="What a model's outputs beside the main one count in the loss."
    )
    class_weights: list[Annotated[float, Field(ge=0)]] | Literal["none", "balanced"] = Field(
        "none",
        description="A weight per class; balanced: one over the root of its share of pixels.",
    )
    allow_absent: bool = Field(
        False, description="Train also where a class has no pixel in any mask."
    )
    optimizer: Literal["adamw", "adam", "sgd"] = Field("adamw", description="Optimiser.")
    lr: float = Field(5e-3, gt=0, description="Peak learning rate.")
    momentum: float = Field(0.9, ge=0, lt=1, description="sgd: momentum.")
    weight_decay: float = Field(1e-4, ge=0, description="Decay of the weights in each step.")
    clip_norm: float = Field(0.0, ge=0, description="Largest norm of the gradient; 0: any.")
    schedule: Literal["constant", "poly", "cosine", "one_cycle", "plateau"] = Field(
        "cosine", description="Course of the learning rate; cosine has a warm-up."
    )
    warmup: float = Field(0.05, ge=0, lt=1, description="Share of the training that warms up.")
    plateau_patience: int = Field(
        5, ge=0, description="plateau: validations without a better one that are waited for."
    )
    plateau_factor: float = Field(0.1, gt=0, lt=1, description="plateau: what the rate falls to.")
    monitor: Metric = Field(
        "miou", description="Validation metric that best, plateau and early stop go by."
    )
    early_stop: int = Field(
        0, ge=0, description="Validations without a better one that end the training; 0: none do."
    )
    ema: float = Field(
        0.0, ge=0, lt=1, description="Decay of the moving average of the weights; 0: no average."
    )

    device: Literal["auto", "cpu", "cuda"] = Field(
        AUTO, description="What is computed on; auto: a GPU where there is one."
    )
    ranks: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Processes that train together; default: one for each GPU."
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        AUTO, description="auto: bf16 where the hardware computes in it."
    )
    compile: Literal["auto", "on", "off"] = Field(
        AUTO, description="auto: on a GPU, when the run is long enough to earn it back."
    )
    deterministic: bool = Field(
        True, description="Same seed, same weights, on the same kind of machine."
    )
    cache: Path | None = Field(
        None, description="Folder for decoded images; default: a temporary one with room."
    )
    resident: Literal["auto", "on", "off"] = Field(
        AUTO, description="Hold the whole set in the GPU's memory; auto: where it fits."
    )

    checkpoint_minutes: float = Field(5.0, gt=0, description="Minutes between checkpoints.")
    checkpoint_steps: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Steps between checkpoints, instead of minutes."
    )
    keep: int = Field(
        1, ge=1, description="Checkpoints to go on from that are kept, beside the best."
    )
    predict: list[ListToPredict] = Field(
        ["val", "test", "unlabelled"], description="Lists that masks are written for at the end."
    )
    tile: int = Field(
        1024, ge=64, description="Side of the tiles in which large images are predicted, px."
    )
    flip_average: bool = Field(
        False, description="Predict each image and its mirror image, and average."
    )
    status_url: str = Field("", description="URL that progress is POSTed to.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if sum(getattr(self, name) is not None for name in LENGTHS) != 1:
            raise ValueError("give one of epochs, minutes and steps")
        if self.status_url and not self.status_url.startswith(("http://", "https://")):
            raise ValueError("status_url has to begin with http:// or https://")
        return self

    @property
    def needs_network(self) -> bool:
        """Whether the trainer has to reach something outside its node."""
        return bool(self.status_url) or self.pretrained in ("imagenet", "coco")


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

"""Images -> masks, one whole image at a time."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from train.data.dataset import Dataset, ListName, Sample
from train.data.masks import Mask, read_mask, write_mask
from train.data.samples import prefetch, read_image, read_pair, read_truth
from train.metrics import ConfusionMatrix, Scores

PREDICTIONS = "predictions"
SAMPLES = "samples"
SAMPLE_COUNT = 4


def to_input(images_NHWC: NDArray[np.uint8], device: torch.device) -> Tensor:
    """Model input of uint8 images: N x 3 x H x W floats, about -2 to 2."""
    images = torch.from_numpy(np.array(images_NHWC)).to(device)
    return (images.permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.25


@torch.inference_mode()
def predict_ids(model: nn.Module, image_HWC: NDArray[np.uint8], device: torch.device) -> Tensor:
    """The most likely class of every pixel, H x W."""
    logits_NCHW: Tensor = model(to_input(image_HWC[None], device))
    return logits_NCHW.max(dim=1).indices[0]


def evaluate(
    model: nn.Module,
    dataset: Dataset,
    folder: Path,
    samples: list[Sample],
    device: torch.device,
    check: Callable[[], None] = lambda: None,
) -> Scores:
    """Scores of `model` on whole labelled images, one matrix over all of them.

    `check` is called before each image and may raise to stop.
    """
    model.eval()
    matrix = ConfusionMatrix(len(dataset.classes), device)
    pairs = prefetch(lambda s: read_pair(folder, s, dataset.ignore_index), samples)
    for image, ids in pairs:
        check()
        matrix.update(predict_ids(model, image, device), torch.from_numpy(ids.copy()).to(device))
    return matrix.scores()


def write_samples(
    model: nn.Module,
    dataset: Dataset,
    folder: Path,
    output: Path,
    device: torch.device,
) -> None:
    """Write `samples/ID.png`, the masks of the first few validation images as the model sees them.

    Each is replaced as a whole: they are looked at, and sent home, while training goes on.
    """
    model.eval()
    (output / SAMPLES).mkdir(exist_ok=True)
    colors = [info.color for info in dataset.classes]
    for sample in dataset.lists["val"][:SAMPLE_COUNT]:
        ids = predict_ids(model, read_image(folder / sample.image), device).cpu().numpy()
        path = output / SAMPLES / f"{sample.id}.png"
        partial = path.with_name(path.name + ".partial")
        write_mask(partial, ids.astype(np.uint8), colors)
        partial.replace(path)


def predict_masks(
    model: nn.Module,
    dataset: Dataset,
    folder: Path,
    output: Path,
    lists: tuple[ListName, ...],
    device: torch.device,
) -> Iterator[int]:
    """Write `predictions/LIST/ID.png` for every image of `lists`; yields the number done.

    Palette PNGs in the dataset's colours, as large as their images.
    """
    model.eval()
    colors = [info.color for info in dataset.classes]
    done = 0
    for name in lists:
        samples = dataset.lists[name]
        target = output / PREDICTIONS / name
        target.mkdir(parents=True, exist_ok=True)
        images = prefetch(lambda sample: read_image(folder / sample.image), samples)
        for sample, image in zip(samples, images, strict=True):
            ids = predict_ids(model, image, device).cpu().numpy().astype(np.uint8)
            write_mask(target / f"{sample.id}.png", ids, colors)
            done += 1
            yield done


def score_masks(dataset: Dataset, folder: Path, output: Path, name: ListName) -> Scores:
    """Scores of the masks that `predict_masks` has written for the labelled list `name`."""

    def read(sample: Sample) -> tuple[Mask, Mask]:
        predicted = read_mask(output / PREDICTIONS / name / f"{sample.id}.png")
        return predicted, read_truth(folder, sample, dataset.ignore_index)

    matrix = ConfusionMatrix(len(dataset.classes))
    for predicted, truth in prefetch(read, dataset.lists[name]):
        matrix.update(torch.from_numpy(predicted.copy()), torch.from_numpy(truth.copy()))
    return matrix.scores()

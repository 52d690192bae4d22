"""Masks of any image files, with nothing but a checkpoint: the command `python -m train.predict`.

Exit code 0: all are written; 1: some could not be, each named on stderr, and all others are.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from train.checkpoint import ModelInfo, open_model
from train.data.samples import prefetch, read_image
from train.device import autocast, choose_device, choose_precision
from train.errors import DataError, TrainError
from train.predict import replace_mask, write_csv
from train.tiles import ImageArray, Predictor, label_stream

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
CSV_NAME = "predictions.csv"

Plan = dict[Path, Path]
"""Image files and, relative to where masks go, their masks."""


def main(argv: Sequence[str]) -> int:
    """Predict as the arguments say."""
    options = _parse(argv)
    try:
        return predict_files(options)
    except TrainError as error:
        print(f"Error: {error} {error.fix}".strip(), file=sys.stderr)
    except OSError as error:
        reason = error.strerror or error
        print(f"Error: {error.filename or options.to}: {reason}.", file=sys.stderr)
    return 1


def predict_files(options: argparse.Namespace) -> int:
    """The exit code; see the module.

    Raises:
        TrainError: nothing can be done, and nothing was.
    """
    plan = find_images(options.images, options.to)
    device = choose_device(options.device)
    model, info = open_model(options.checkpoint, device)
    predictor = make_predictor(model, info, device, options.tile, options.flip_average)
    unreadable = write_masks(predictor, info, plan, options.to, _warn)
    written = [source for source in plan if source not in unreadable]
    if options.csv:
        files = [(_name(plan, source), options.to / plan[source]) for source in written]
        write_csv(options.to / CSV_NAME, files, info.classes, predictor.multilabel)
    print(f"{len(written)} of {len(plan)} masks are in {options.to}.")
    return 1 if unreadable else 0


def find_images(inputs: Sequence[Path], target: Path) -> Plan:
    """The images among files and in folders, sorted; where their masks go, below `target`.

    A folder is searched to its depths, but for `target` itself, and its structure is kept.

    Raises:
        TrainError: there are none; or masks would replace each other, or an image.
    """
    plan: Plan = {}
    for given in inputs:
        if not given.exists():
            raise TrainError(f"There is no {given}.", fix="Give images, or folders of images.")
        found = _search(given, target) if given.is_dir() else [given]
        root = given if given.is_dir() else given.parent
        plan |= {path: path.relative_to(root).with_suffix(".png") for path in found}
    if not plan:
        raise TrainError(
            f"No images were found in {', '.join(map(str, inputs))}.",
            fix=f"Give files, or folders with files that end in {', '.join(SUFFIXES)}.",
        )
    if target.exists() and not target.is_dir():
        raise TrainError(f"{target} is no folder.", fix="Give another one with --to.")
    _refuse_losses(plan, target)
    return plan


def make_predictor(
    model: nn.Module, info: ModelInfo, device: torch.device, tile: int | None, flip_average: bool
) -> Predictor:
    """Predicts as the training did, in its precision, unless other tiles are asked for."""
    model = model.to(memory_format=torch.channels_last)
    precise = autocast(device, choose_precision(info.config, device))

    def forward(images_NCHW: Tensor) -> Tensor:
        with precise():
            logits_NCHW: Tensor = model(images_NCHW)
        return logits_NCHW

    return Predictor(
        forward,
        device,
        multilabel=info.task == "multilabel",
        postprocess=info.postprocess,
        tile=tile or info.config.tile,
        flip_average=flip_average or info.config.flip_average,
        prepare=info.prepare,
    )


def write_masks(
    predictor: Predictor, info: ModelInfo, plan: Plan, target: Path, warn: Callable[[str], None]
) -> set[Path]:
    """Write the masks of `plan`; the images that could not be read, each told to `warn`."""
    unreadable: set[Path] = set()
    colors = [] if predictor.multilabel else [each.color for each in info.classes]

    def read(path: Path) -> ImageArray | str:
        try:
            return read_image(path)
        except DataError as error:
            return str(error)

    def images() -> Iterator[tuple[Path, ImageArray]]:
        for path, image in zip(plan, prefetch(read, plan, 2), strict=True):
            if isinstance(image, str):
                unreadable.add(path)
                warn(image)
            else:
                yield path, image

    def write(labelled: tuple[Path, Tensor]) -> None:
        path, mask_HW = labelled
        replace_mask(target / plan[path], mask_HW.cpu().numpy(), colors)

    for _ in prefetch(write, label_stream(predictor, images()), 2):
        pass
    return unreadable


def _search(folder: Path, target: Path) -> list[Path]:
    mine = target.resolve()
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in SUFFIXES and path.is_file() and mine not in path.resolve().parents
    ]


def _refuse_losses(plan: Plan, target: Path) -> None:
    """See to it that no mask takes the place of another, or of an image."""
    sources = {path.resolve() for path in plan}
    taken: dict[Path, Path] = {}
    for source, mask in plan.items():
        other = taken.setdefault(mask, source)
        if other != source:
            raise TrainError(
                f"{other} and {source} would have the same mask, {target / mask}.",
                fix="Predict them one after the other, into two folders.",
            )
        if (target / mask).resolve() in sources:
            raise TrainError(
                f"The mask of {source} would replace the image {target / mask}.",
                fix="Give another folder with --to.",
            )


def _name(plan: Plan, source: Path) -> str:
    """What the CSV calls an image: its path below the folder that was given."""
    return (plan[source].parent / source.name).as_posix()


def _warn(message: str) -> None:
    print(f"Error: {message}", file=sys.stderr)


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m train.predict", description="Write the masks of images."
    )
    parser.add_argument("checkpoint", type=Path, help="as checkpoints/best.pt in a run's folder")
    parser.add_argument("images", type=Path, nargs="+", help="images, or folders of images")
    parser.add_argument("--to", type=Path, required=True, help="folder that the masks go to")
    parser.add_argument("--tile", type=_tile, help="side of the tiles of large images, px")
    parser.add_argument("--flip-average", action="store_true", help="average with mirror images")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--csv", action="store_true", help=f"write {CSV_NAME}, too: runs of pixels")
    return parser.parse_args(argv)


def _tile(text: str) -> int:
    side = int(text)
    if side < 64:
        raise argparse.ArgumentTypeError("a tile has 64 px or more")
    return side

"""Masks as files: of a dataset's lists, each image once; and of any image, with a checkpoint."""

import csv
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from tests.train.sets import make_set
from train import augment
from train.checkpoint import open_model
from train.config import TrainConfig
from train.data.dataset import Dataset, ListName, load_dataset
from train.data.masks import VOID, read_mask, read_palette
from train.data.runlength import decode
from train.data.samples import read_image, read_pair
from train.errors import DataError, TrainError
from train.files import main
from train.models import build_model
from train.postprocess import Postprocess
from train.predict import (
    evaluate,
    mix_colors,
    place_mask,
    predict_masks,
    score_masks,
    write_runlengths,
    write_samples,
)
from train.tiles import Predictor, label_images

CPU = torch.device("cpu")
SIZES = [(30, 20), (20, 30), (40, 17), (30, 20), (20, 30), (30, 20), (20, 30)]
LISTS: tuple[ListName, ...] = ("val", "test", "unlabelled")
TOTAL = 11  # images in these lists


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_set(tmp_path / "data", SIZES * 2, val=7)


@pytest.fixture
def dataset(folder: Path) -> Dataset:
    """Seven images to validate, two to test and two without a mask."""
    made = load_dataset(folder)
    spare = made.lists["train"]
    bare = [sample.model_copy(update={"mask": None}) for sample in spare[4:6]]
    lists = {**made.lists, "train": spare[:2], "test": spare[2:4], "unlabelled": bare}
    return made.model_copy(update={"lists": lists})


def make_predictor(multilabel: bool = False, **more: Any) -> Predictor:
    torch.manual_seed(0)
    return Predictor(nn.Conv2d(3, 3, 3, padding=1).eval(), CPU, multilabel, **more)


@dataclass
class Notes:
    """A board that notes what it is told, image by image."""

    masks: dict[int, Tensor] = field(default_factory=dict)
    truths: dict[int, Tensor] = field(default_factory=dict)

    def update(self, predicted: Tensor, truth: Tensor, first_index: int = 0) -> None:
        assert predicted.shape == truth.shape
        assert predicted.dtype == truth.dtype == torch.uint8
        for place in range(len(predicted)):
            assert first_index + place not in self.masks
            self.masks[first_index + place] = predicted[place].clone()
            self.truths[first_index + place] = truth[place].clone()

    def same_as(self, other: "Notes") -> bool:
        return self.masks.keys() == other.masks.keys() and all(
            torch.equal(self.masks[i], other.masks[i])
            and torch.equal(self.truths[i], other.truths[i])
            for i in self.masks
        )


def judge(
    predictor: Predictor, dataset: Dataset, folder: Path, shard: tuple[int, int] = (0, 1)
) -> Notes:
    notes, samples = Notes(), dataset.lists["val"]
    evaluate(predictor, lambda i: read_pair(folder, samples[i], VOID), len(samples), notes, shard)
    return notes


@pytest.mark.parametrize("batch_pixels", [1, 1300])
def test_the_judgement_is_the_same_however_images_are_batched(
    dataset: Dataset, folder: Path, batch_pixels: int
) -> None:
    found = judge(make_predictor(batch_pixels=batch_pixels), dataset, folder)
    assert sorted(found.masks) == list(range(7))
    assert found.same_as(judge(make_predictor(), dataset, folder))


def test_images_are_judged_as_they_are_predicted(dataset: Dataset, folder: Path) -> None:
    predictor = make_predictor(tile=25)  # some images are larger, some are not
    found = judge(predictor, dataset, folder)
    for index, sample in enumerate(dataset.lists["val"]):
        image, truth = read_pair(folder, sample, VOID)
        assert torch.equal(found.masks[index], label_images(predictor, image[None])[0])
        np.testing.assert_array_equal(found.truths[index].numpy(), truth)


@pytest.mark.parametrize("size", [2, 3, 10])
def test_ranks_judge_each_image_exactly_once(dataset: Dataset, folder: Path, size: int) -> None:
    together = Notes()
    for rank in range(size):
        part = judge(make_predictor(), dataset, folder, (rank, size))
        assert not part.masks.keys() & together.masks.keys()
        together.masks |= part.masks
        together.truths |= part.truths
    assert together.same_as(judge(make_predictor(), dataset, folder))


def test_a_check_may_stop_the_judgement(dataset: Dataset, folder: Path) -> None:
    def check() -> None:
        raise KeyboardInterrupt

    samples, notes = dataset.lists["val"], Notes()
    with pytest.raises(KeyboardInterrupt):
        evaluate(
            make_predictor(), lambda i: read_pair(folder, samples[i], 255), 7, notes, check=check
        )
    assert not notes.masks


def read_rows(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def write_all(
    predictor: Predictor, dataset: Dataset, folder: Path, output: Path, **more: Any
) -> list[int]:
    return list(predict_masks(predictor, dataset, folder, output, LISTS, **more))


@pytest.mark.parametrize("tile", [64, 16])
def test_every_image_gets_a_mask_of_its_size_in_the_classes_colours(
    dataset: Dataset, folder: Path, tmp_path: Path, tile: int
) -> None:
    predictor = make_predictor(tile=tile)
    assert write_all(predictor, dataset, folder, tmp_path) == list(range(1, TOTAL + 1))
    for name in LISTS:
        for sample in dataset.lists[name]:
            path = tmp_path / "predictions" / name / f"{sample.id}.png"
            expected = label_images(predictor, read_image(folder / sample.image)[None])[0]
            np.testing.assert_array_equal(read_mask(path), expected.numpy())
            assert read_palette(path)[:3] == [info.color for info in dataset.classes]
            with Image.open(path) as image:
                assert (image.mode, image.size) == ("P", (sample.width, sample.height))
    assert not list(tmp_path.rglob("*.partial"))


def test_classes_that_overlap_are_the_bits_of_a_grey_mask(
    dataset: Dataset, folder: Path, tmp_path: Path
) -> None:
    rule = Postprocess([0.4, 0.5, 0.6], [0.0, 0.0, 0.6])
    predictor = make_predictor(multilabel=True, postprocess=rule)
    write_all(predictor, dataset, folder, tmp_path)
    seen = 0
    for sample in dataset.lists["val"]:
        path = place_mask(tmp_path, "val", sample)
        with Image.open(path) as image:
            assert image.mode == "L"
        mask = read_mask(path)
        expected = label_images(predictor, read_image(folder / sample.image)[None])[0]
        np.testing.assert_array_equal(mask, expected.numpy())
        seen |= int(np.bitwise_or.reduce(mask, axis=None))
    assert seen & 0b11 == 0b11


def test_ranks_write_each_mask_once(dataset: Dataset, folder: Path, tmp_path: Path) -> None:
    alone, together = tmp_path / "alone", tmp_path / "together"
    write_all(make_predictor(), dataset, folder, alone)
    counts = [
        len(write_all(make_predictor(), dataset, folder, together, shard=(rank, 3)))
        for rank in range(3)
    ]
    assert sum(counts) == TOTAL
    masks = {path.relative_to(alone): path.read_bytes() for path in alone.rglob("*.png")}
    assert masks == {p.relative_to(together): p.read_bytes() for p in together.rglob("*.png")}


def test_whole_masks_are_found_done_and_broken_ones_are_not(
    dataset: Dataset, folder: Path, tmp_path: Path
) -> None:
    write_all(make_predictor(), dataset, folder, tmp_path)
    expected = {path: path.read_bytes() for path in tmp_path.rglob("predictions/**/*.png")}
    missing, cut, empty, other, *whole = expected
    missing.unlink()
    cut.write_bytes(expected[cut][:-1])
    empty.write_bytes(b"")
    Image.new("P", (3, 3)).save(other)
    before = {path: path.stat().st_mtime_ns for path in whole}
    done = write_all(make_predictor(), dataset, folder, tmp_path, resume=True)
    assert done == list(range(TOTAL - 4, TOTAL + 1))
    assert {path: path.read_bytes() for path in expected} == expected
    assert {path: path.stat().st_mtime_ns for path in whole} == before


def test_without_resume_masks_of_another_model_are_replaced(
    dataset: Dataset, folder: Path, tmp_path: Path
) -> None:
    path = place_mask(tmp_path, "val", dataset.lists["val"][0])
    write_all(make_predictor(flip_average=True), dataset, folder, tmp_path)
    before = path.read_bytes()
    write_all(make_predictor(), dataset, folder, tmp_path)
    assert path.read_bytes() != before


def test_an_image_that_cannot_be_decoded_is_named(
    dataset: Dataset, folder: Path, tmp_path: Path
) -> None:
    image = dataset.lists["test"][0].image
    (folder / image).write_bytes(b"no image")
    with pytest.raises(DataError, match=f"{image}: the image cannot be decoded"):
        write_all(make_predictor(), dataset, folder, tmp_path)


def test_masks_are_judged_from_their_files_as_they_were_before(
    dataset: Dataset, folder: Path, tmp_path: Path
) -> None:
    write_all(make_predictor(), dataset, folder, tmp_path)
    notes = Notes()
    score_masks(dataset, folder, tmp_path, "val", notes)
    assert notes.same_as(judge(make_predictor(), dataset, folder))


@pytest.mark.parametrize("multilabel", [False, True])
def test_the_csv_says_what_the_masks_say(
    dataset: Dataset, folder: Path, tmp_path: Path, multilabel: bool
) -> None:
    if multilabel:
        dataset = dataset.model_copy(update={"task": "multilabel"})
    write_all(make_predictor(multilabel), dataset, folder, tmp_path)
    write_runlengths(dataset, tmp_path, ["val"])
    header, *rows = read_rows(tmp_path / "predictions" / "val.csv")
    assert header == ["Image_Label", "EncodedPixels"]
    runs = dict(rows)
    assert len(rows) == len(runs) == 7 * 3
    for sample in dataset.lists["val"]:
        mask = read_mask(place_mask(tmp_path, "val", sample))
        for k, name in enumerate(dataset.class_names):
            text = runs[f"{sample.id}.png_{name}"]
            there = decode(text, sample.height, sample.width)
            np.testing.assert_array_equal(there, mask >> k & 1 if multilabel else mask == k)


def test_samples_are_the_first_validation_images(
    dataset: Dataset, folder: Path, tmp_path: Path
) -> None:
    predictor = make_predictor()
    write_samples(predictor, dataset, folder, tmp_path)
    first = dataset.lists["val"][:4]
    assert {path.name for path in (tmp_path / "samples").iterdir()} == {
        f"{sample.id}.png" for sample in first
    }
    for sample in first:
        expected = label_images(predictor, read_image(folder / sample.image)[None])[0]
        mask = read_mask(tmp_path / "samples" / f"{sample.id}.png")
        np.testing.assert_array_equal(mask, expected.numpy())


def test_a_set_of_classes_has_the_mean_of_their_colours() -> None:
    mixed = mix_colors([(200, 0, 0), (0, 100, 0), (100, 200, 60)])
    assert mixed[0] == (0, 0, 0)
    assert (mixed[0b001], mixed[0b011], mixed[0b111]) == ((200, 0, 0), (100, 50, 0), (100, 100, 20))


# The command: masks of any image with a checkpoint.


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder with images of several sizes and kinds, in two levels."""
    rng = np.random.default_rng(0)
    root = tmp_path / "pictures"
    (root / "deep er").mkdir(parents=True)
    for name, (height, width) in {
        "a.jpg": (40, 60),
        "b.PNG": (100, 70),
        "deep er/ü.webp": (40, 60),
    }.items():
        pixels = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(root / name)
    (root / "notes.txt").write_text("no image")
    return root


def save_checkpoint(path: Path, task: str = "multiclass", **changes: Any) -> Path:
    """What a finished training of a tiny model leaves."""
    config = TrainConfig(
        dataset=Path(), output=Path(), epochs=1, width=4, depth=1, tile=64, precision="fp32"
    )
    torch.manual_seed(1)
    names = ("sky", "sea", "sand")
    content = {
        "version": 2,
        "config": config.model_dump(mode="json", exclude={"dataset", "output"}),
        "dataset": {
            "name": "beach",
            "task": task,
            "ignore_index": VOID,
            "classes": [{"name": n, "color": [9 * k, 0, k]} for k, n in enumerate(names)],
        },
        "normalisation": {"mean": list(augment.MEAN), "std": list(augment.STD)},
        "postprocess": Postprocess([0.4, 0.5, 0.6], [0.0, 0.1, 0.2]).as_dict()
        if task == "multilabel"
        else None,
        "model": build_model(3, config).state_dict(),
    }
    torch.save(content | changes, path)
    return path


def predict_alone(checkpoint: Path, image: Path, **more: Any) -> Any:
    """The mask, put together here from the model and what the checkpoint says."""
    model, info = open_model(checkpoint, CPU)
    multilabel = info.task == "multilabel"
    predictor = Predictor(model, CPU, multilabel, info.postprocess, tile=64, **more)
    return label_images(predictor, read_image(image)[None])[0].numpy()


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
@pytest.mark.parametrize("flip", [False, True])
def test_a_checkpoint_is_all_it_takes(
    pictures: Path, tmp_path: Path, task: str, flip: bool
) -> None:
    checkpoint, to = save_checkpoint(tmp_path / "best.pt", task), tmp_path / "masks"
    flags = ["--flip-average"] if flip else []
    assert main([str(checkpoint), str(pictures), "--to", str(to), "--device", "cpu", *flags]) == 0
    made = sorted(path.relative_to(to).as_posix() for path in to.rglob("*.*"))
    assert made == ["a.png", "b.png", "deep er/ü.png"]
    for image, mask in zip(["a.jpg", "b.PNG", "deep er/ü.webp"], made, strict=True):
        expected = predict_alone(checkpoint, pictures / image, flip_average=flip)
        np.testing.assert_array_equal(read_mask(to / mask), expected)
    if task == "multiclass":
        assert read_palette(to / "a.png")[:3] == [(0, 0, 0), (9, 0, 1), (18, 0, 2)]


def test_the_command_runs_as_a_program(pictures: Path, tmp_path: Path) -> None:
    checkpoint = save_checkpoint(tmp_path / "best.pt")
    command: list[str | Path] = [sys.executable, "-m", "train.predict", checkpoint]
    command += [pictures / "a.jpg", "--to", tmp_path / "masks", "--device", "cpu", "--csv"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr == ""
    assert answer.stdout == f"1 of 1 masks are in {tmp_path / 'masks'}.\n"
    assert read_mask(tmp_path / "masks" / "a.png").shape == (40, 60)
    rows = read_rows(tmp_path / "masks" / "predictions.csv")
    assert [row[0] for row in rows] == ["Image_Label", "a.jpg_sky", "a.jpg_sea", "a.jpg_sand"]


def test_an_unreadable_image_is_named_and_the_others_are_done(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (pictures / "c.jpg").write_bytes((pictures / "a.jpg").read_bytes()[:100])
    checkpoint, to = save_checkpoint(tmp_path / "best.pt"), tmp_path / "masks"
    assert main([str(checkpoint), str(pictures), "--to", str(to), "--csv"]) == 1
    captured = capsys.readouterr()
    assert f"Error: {pictures / 'c.jpg'}: the image cannot be decoded" in captured.err
    assert f"3 of 4 masks are in {to}." in captured.out
    assert len(list(to.rglob("*.png"))) == 3
    labels = [row[0] for row in read_rows(to / "predictions.csv")]
    assert "deep er/ü.webp_sky" in labels
    assert "c.jpg_sky" not in labels


def test_masks_that_are_there_are_not_taken_for_images(pictures: Path, tmp_path: Path) -> None:
    checkpoint, to = save_checkpoint(tmp_path / "best.pt"), pictures / "masks"
    for _ in range(2):
        assert main([str(checkpoint), str(pictures), "--to", str(to)]) == 0
    assert len(list(to.rglob("*.png"))) == 3


def test_the_average_of_the_weights_is_what_predicts(tmp_path: Path) -> None:
    plain = torch.load(save_checkpoint(tmp_path / "plain.pt"), weights_only=True)["model"]
    average = {name: value + 1 for name, value in plain.items()}
    model, _ = open_model(save_checkpoint(tmp_path / "last.pt", average=average), CPU)
    assert torch.equal(model.state_dict()["head.weight"], average["head.weight"])


def test_images_are_normalised_as_the_checkpoint_says(tmp_path: Path) -> None:
    images = torch.randint(0, 256, (1, 5, 6, 3), dtype=torch.uint8)
    _, info = open_model(save_checkpoint(tmp_path / "usual.pt"), CPU)
    assert torch.equal(info.prepare(images), augment.to_input(images))
    other = {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.25, 1.0]}
    _, info = open_model(save_checkpoint(tmp_path / "other.pt", normalisation=other), CPU)
    expected = (images.numpy() / 255 - other["mean"]) / other["std"]
    np.testing.assert_allclose(
        info.prepare(images).permute(0, 2, 3, 1).numpy(), expected, atol=1e-5
    )


def test_weights_that_were_pretrained_are_not_fetched_again(tmp_path: Path) -> None:
    content = torch.load(save_checkpoint(tmp_path / "best.pt"), weights_only=True)
    config = {**content["config"], "pretrained": "/nowhere/weights.pt"}
    _, info = open_model(save_checkpoint(tmp_path / "best.pt", config=config), CPU)
    assert info.config.pretrained == ""


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda whole: None, "There is no"),
        (lambda whole: b"", "is no checkpoint that can be read"),
        (lambda whole: b"\x89PNG and so on", "is no checkpoint that can be read"),
        (lambda whole: whole[:-300], "is no checkpoint that can be read"),
    ],
)
def test_a_file_that_is_no_checkpoint_is_refused(
    pictures: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    make: Callable[[bytes], bytes | None],
    message: str,
) -> None:
    content = make(save_checkpoint(tmp_path / "whole.pt").read_bytes())
    if content is not None:
        (tmp_path / "best.pt").write_bytes(content)
    arguments = [str(tmp_path / "best.pt"), str(pictures), "--to", str(tmp_path / "masks")]
    assert main(arguments) == 1
    told = capsys.readouterr().err
    assert message in told
    assert str(tmp_path / "best.pt") in told
    assert not (tmp_path / "masks").exists()


class Harmful:
    """What would write a file if its pickle were trusted."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    checkpoint = save_checkpoint(tmp_path / "bad.pt", model=Harmful(tmp_path / "harm"))
    with pytest.raises(TrainError, match="is no checkpoint that can be read"):
        open_model(checkpoint, CPU)
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 3}, "is a checkpoint of version 3; this is version 2"),
        ({"model": {}}, "does not hold what it takes to predict"),
        ({"dataset": None}, "does not hold what it takes to predict"),
        ({"config": {"model": "resunet", "epochs": 1, "new": 2}}, "does not hold what it takes"),
        ({"postprocess": {"thresholds": [0.5]}}, "does not hold what it takes to predict"),
        ({"normalisation": {}}, "does not hold what it takes to predict"),
    ],
)
def test_a_checkpoint_that_cannot_predict_says_why(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(TrainError, match=message) as caught:
        open_model(save_checkpoint(tmp_path / "best.pt", **change), CPU)
    assert caught.value.fix


def test_another_kind_of_file_of_torch_is_no_checkpoint(tmp_path: Path) -> None:
    torch.save(torch.zeros(3), tmp_path / "tensor.pt")
    with pytest.raises(TrainError, match="is no checkpoint of a segaway training"):
        open_model(tmp_path / "tensor.pt", CPU)


def test_what_would_be_lost_is_refused_before_anything_is_done(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = str(save_checkpoint(tmp_path / "best.pt"))
    (tmp_path / "empty").mkdir()
    Image.new("RGB", (9, 9)).save(pictures / "a.bmp")
    Image.new("RGB", (9, 9)).save(pictures / "d.png")
    before = {path: path.read_bytes() for path in pictures.rglob("*.*")}
    for inputs, to, message in (
        ([pictures / "none"], tmp_path / "to", f"There is no {pictures / 'none'}"),
        ([tmp_path / "empty"], tmp_path / "to", f"No images were found in {tmp_path / 'empty'}"),
        ([pictures], tmp_path / "to", "would have the same mask"),
        ([pictures / "b.PNG"], Path(checkpoint), f"{checkpoint} is no folder"),
        ([pictures / "d.png"], pictures, f"would replace the image {pictures / 'd.png'}"),
    ):
        assert main([checkpoint, *map(str, inputs), "--to", str(to)]) == 1
        assert message in capsys.readouterr().err
        assert not (tmp_path / "to").exists()
    assert {path: path.read_bytes() for path in pictures.rglob("*.*")} == before


def test_a_disk_that_cannot_be_written_is_named(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint, to = str(save_checkpoint(tmp_path / "best.pt")), tmp_path / "masks"
    (to / "b.png.partial").mkdir(parents=True)  # a file cannot be written in its place
    assert main([checkpoint, str(pictures), "--to", str(to)]) == 1
    assert f"Error: {to / 'b.png.partial'}: Is a directory." in capsys.readouterr().err


@pytest.mark.parametrize("tile", ["0", "63", "many"])
def test_a_tile_that_is_none_is_a_usage_error(
    tile: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["best.pt", "a.jpg", "--to", "masks", "--tile", tile])
    assert caught.value.code == 2
    assert "--tile" in capsys.readouterr().err

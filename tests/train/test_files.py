"""The command `python -m train.predict`: masks of any image, with a checkpoint."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.train.sets import read_rows
from train import augment
from train.checkpoint import open_model
from train.config import TrainConfig
from train.data.masks import VOID, read_mask, read_palette
from train.data.samples import read_image
from train.errors import TrainError
from train.files import main
from train.models import build_model
from train.postprocess import Postprocess
from train.tiles import Predictor, label_images

CPU = torch.device("cpu")


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

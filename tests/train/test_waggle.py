"""Waggle's config.list: what it becomes, what is said of it, and what of it is refused."""

import json
import math
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import need_shared
from train.config import TrainConfig
from train.errors import TrainError
from train.waggle import CROP, find_config_list, translate_config_list

# As the HYTA dataset is published with it.
HYTA = {
    "max_iteration": 8000,
    "lr": 1e-10,
    "momentum": 0.99,
    "weight_decay": 0.0005,
    "interval_validate": 4000,
    "backbone": "resnet",
    "fcn": "101",
    "log_dir": "resnet101",
}
NAMES = st.text("abcdefghijklmnopqrstuvwxyz_/-", max_size=12)
FILES = st.fixed_dictionaries(
    {},
    optional={
        "max_iteration": st.integers(1, 10**7),
        "lr": st.floats(1e-12, 1.0),
        "momentum": st.floats(0, 0.999),
        "weight_decay": st.floats(0, 1),
        "interval_validate": st.none() | st.integers(1, 10**6),
        "backbone": st.just("resnet"),
        "fcn": st.sampled_from(["50", "101", 50, 101]),
        "batch_size": st.integers(1, 64),
        "pretrained": st.booleans() | st.sampled_from(["", "true", "coco", "imagenet", "net.pth"]),
        "pretrained_net": st.sampled_from(["", "/storage/net.pth"]),
        "log_dir": NAMES,
        "output_dir": NAMES,
        "cuda": st.booleans(),
    },
)


def write(folder: Path, **content: Any) -> Path:
    path = folder / "config.list"
    path.write_text(json.dumps(content))
    return path


def test_the_published_file_keeps_its_meaning(tmp_path: Path) -> None:
    settings, _ = translate_config_list(write(tmp_path, **HYTA))
    assert settings == {
        "model": "fcn_resnet101",
        "pretrained": "",
        "steps": 8000,
        "validate_steps": 4000,
        "crop": CROP,
        "batch": 1,
        "flip": False,
        "jitter": 0.0,
        "auxiliary": 0.0,
        "loss": "cross_entropy_sum",
        "optimizer": "sgd",
        "lr": 1e-10,
        "momentum": 0.99,
        "weight_decay": 0.0005,
        "schedule": "constant",
    }


def test_the_file_in_the_hyta_archive_runs_unmodified(tmp_path: Path) -> None:
    with zipfile.ZipFile(need_shared("hyta-waggle.zip")) as archive:
        content = json.loads(archive.read("storage/config.list"))
    settings, notes = translate_config_list(write(tmp_path, **content))
    assert content == HYTA
    assert TrainConfig(dataset=Path(), output=Path(), **settings).model == "fcn_resnet101"
    assert not any("left out" in note for note in notes)


@given(FILES)
def test_whatever_waggle_reads_is_a_config(tmp_path_factory: Any, content: dict[str, Any]) -> None:
    path = write(tmp_path_factory.mktemp("waggle"), **content)
    settings, notes = translate_config_list(path)
    config = TrainConfig(dataset=Path(), output=Path(), **settings)
    assert config.lr == content.get("lr", 1e-10)
    assert config.steps == content.get("max_iteration", 100_000)
    assert config.validate_steps == content.get("interval_validate", 4000)
    assert all(note.endswith(".") for note in notes)


def read_words(notes: list[str]) -> dict[str, str]:
    """The --set words that the first of the notes offers."""
    words = notes[0].replace(";", " ").split()
    return dict(words[i + 1].split("=") for i, word in enumerate(words) if word == "--set")


@given(FILES, st.integers(32, 4096))
def test_the_mean_form_that_is_offered_takes_the_same_steps(
    tmp_path_factory: Any, content: dict[str, Any], crop: int
) -> None:
    """SGD moves by lr (gradient + weight_decay w); a sum's gradient is P times a mean's."""
    path = write(tmp_path_factory.mktemp("waggle"), **content)
    settings, notes = translate_config_list(path, crop)
    offered, pixels = read_words(notes), crop * crop * settings["batch"]
    TrainConfig(dataset=Path(), output=Path(), **{**settings, **offered})
    assert offered["loss"] == "cross_entropy"
    lr, decay = float(offered["lr"]), float(offered["weight_decay"])
    assert math.isclose(lr, settings["lr"] * pixels, rel_tol=1e-5)
    # A decay that is too small for a float with all its digits is none.
    wanted = settings["lr"] * settings["weight_decay"]
    assert math.isclose(lr * decay, wanted, rel_tol=1e-4, abs_tol=1e-290)


def test_the_crop_of_the_notes_is_the_one_that_is_trained_with(tmp_path: Path) -> None:
    settings, notes = translate_config_list(write(tmp_path, **HYTA), crop=600)
    assert settings["crop"] == 600
    assert "360,000 pixels a step" in notes[0]
    assert "--set lr=3.6e-05" in notes[0]


@pytest.mark.parametrize(
    ("content", "pretrained", "note"),
    [
        ({}, "", "--set pretrained=coco"),
        ({"pretrained": False, "pretrained_net": ""}, "", "The weights begin at random"),
        ({"pretrained": True}, "coco", "downloads torchvision's weights (coco)"),
        ({"pretrained": "True"}, "coco", "downloads torchvision's weights (coco)"),
        ({"pretrained": "imagenet"}, "imagenet", "downloads torchvision's weights (imagenet)"),
        ({"pretrained_net": "/storage/a.pth"}, "/storage/a.pth", "has to be a file on the node"),
        ({"pretrained": True, "pretrained_net": "a.pth"}, "a.pth", "has to be a file on the node"),
    ],
)
def test_pretrained_weights_are_those_that_the_file_means(
    tmp_path: Path, content: dict[str, Any], pretrained: str, note: str
) -> None:
    settings, notes = translate_config_list(write(tmp_path, **content))
    assert settings["pretrained"] == pretrained
    assert any(note in line for line in notes)


def test_unknown_keys_and_other_folders_are_said(tmp_path: Path) -> None:
    path = write(tmp_path, **HYTA, gpu=1, cuda=True, output_dir="/storage/deep")
    _, notes = translate_config_list(path)
    assert "These keys mean nothing here and are left out: cuda, gpu." in notes
    assert any("not to '/storage/deep'; --name deep begins RUN" in note for note in notes)


def test_what_the_file_does_not_say_is_said(tmp_path: Path) -> None:
    _, notes = translate_config_list(write(tmp_path, lr=1e-10, max_iteration=1, fcn="50"))
    (line,) = [note for note in notes if note.startswith("Not in the file")]
    assert line.endswith("momentum 0.99, weight_decay 0.0005, interval_validate 4000.")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"fcn": "18"}', "fcn is '18': Input should be '50' or '101'"),
        ('{"backbone": "vgg"}', "backbone is 'vgg': Input should be 'resnet'"),
        ('{"lr": -1}', "lr is -1: Input should be greater than 0"),
        ('{"lr": NaN}', "lr is nan: Input should be a finite number"),
        ('{"max_iteration": "many"}', "max_iteration is 'many'"),
        ("[1]", "is not Waggle's config.list"),
        ("max_iteration: 8000", "is not Waggle's config.list"),
    ],
)
def test_a_bad_value_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "config.list"
    path.write_text(text)
    with pytest.raises(TrainError) as refused:
        translate_config_list(path)
    assert message in str(refused.value)
    assert str(path) in str(refused.value)
    assert refused.value.fix


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainError, match="No such file") as refused:
        translate_config_list(tmp_path / "config.list")
    assert "config.list" in refused.value.fix


def test_the_file_beside_the_images_is_found(tmp_path: Path) -> None:
    storage = tmp_path / "raw" / "storage"
    (storage / "image").mkdir(parents=True)
    write(storage, **HYTA)
    assert find_config_list(tmp_path) is None
    (storage / "gt_image").mkdir()
    assert find_config_list(tmp_path) == storage / "config.list"
    assert find_config_list(storage) == storage / "config.list"
    assert find_config_list(tmp_path / "nothing") is None


def run_door(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "train.waggle", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_door_prints_a_config_and_says_what_there_is_to_know(tmp_path: Path) -> None:
    answer = run_door(str(write(tmp_path, **HYTA)), "data", "out")
    config = TrainConfig.model_validate_json(answer.stdout)
    assert (config.dataset, config.output, config.steps) == (Path("data"), Path("out"), 8000)
    assert answer.stderr.startswith("Note: lr 1e-10 belongs to a loss that is summed")


def test_the_door_refuses_what_it_cannot_read(tmp_path: Path) -> None:
    assert run_door().returncode == 2
    answer = run_door(str(write(tmp_path, fcn="18")), "data", "out")
    assert answer.returncode == 1
    assert answer.stdout == ""
    assert "fcn is '18'" in answer.stderr

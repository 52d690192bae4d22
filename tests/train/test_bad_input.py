"""What is wrong with data, settings or disk is said; what was reached before is kept."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.train.sets import make_set
from tests.train.test_trainer import events, run_here, write_config
from train.events import Failed

SETTINGS: dict[str, Any] = {"epochs": 1, "precision": "fp32"}


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_set(tmp_path_factory.mktemp("noise") / "set", [(48, 40)] * 10, val=2)


def checkpoints(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "checkpoints").iterdir()}


def fail(config: Path) -> Failed:
    """What a training that has to fail says last."""
    code, err = run_here(config)
    assert code == 1
    assert "Traceback" not in err
    last = events(config.parent)[-1]
    assert isinstance(last, Failed)
    assert last.message in err
    assert last.fix
    return last


def test_a_loss_that_is_no_number_names_its_images_and_keeps_the_checkpoint(
    noise: Path, tmp_path: Path
) -> None:
    assert run_here(write_config(tmp_path, noise, **SETTINGS))[0] == 0
    before = checkpoints(tmp_path)
    wild = {"epochs": 9, "lr": 1e30, "schedule": "constant"}
    said = fail(write_config(tmp_path, noise, **SETTINGS | wild))
    assert "The loss is nan at step" in said.message
    assert "images/" in said.message
    assert "lower learning rate" in said.fix
    assert checkpoints(tmp_path) == before
    assert run_here(write_config(tmp_path, noise, **SETTINGS | {"epochs": 2}))[0] == 0


def test_weights_that_are_no_numbers_are_never_saved(noise: Path, tmp_path: Path) -> None:
    assert run_here(write_config(tmp_path, noise, **SETTINGS))[0] == 0
    before = checkpoints(tmp_path)
    wild = {"epochs": 9, "lr": 1e39, "schedule": "constant", "checkpoint_steps": 1}
    said = fail(write_config(tmp_path, noise, **SETTINGS | wild))
    assert "The weights are no numbers any more after step" in said.message
    assert "images/" in said.message
    assert checkpoints(tmp_path) == before


def test_a_class_that_never_appears_is_named(tmp_path: Path) -> None:
    folder = make_set(tmp_path / "set", [(48, 40)] * 4, val=1)
    manifest = json.loads((folder / "dataset.json").read_text())
    manifest["classes"].append({"name": "unicorn", "color": [9, 9, 9]})
    manifest["pixels"]["unicorn"] = 0
    (folder / "dataset.json").write_text(json.dumps(manifest))
    said = fail(write_config(tmp_path / "run", folder, **SETTINGS))
    assert "No mask has a pixel of unicorn" in said.message
    assert "allow_absent=true" in said.fix
    assert said.cause == "data"
    assert run_here(write_config(tmp_path / "run", folder, **SETTINGS, allow_absent=True))[0] == 0


def test_a_class_of_the_layouts_own_may_appear_nowhere(tmp_path: Path) -> None:
    folder = make_set(tmp_path / "set", [(48, 40)] * 4, val=1)
    manifest = json.loads((folder / "dataset.json").read_text())
    manifest["classes"].append({"name": "unicorn", "color": [9, 9, 9]})
    manifest |= {"pixels": {**manifest["pixels"], "unicorn": 0}, "fixed_classes": True}
    (folder / "dataset.json").write_text(json.dumps(manifest))
    assert run_here(write_config(tmp_path / "run", folder, **SETTINGS))[0] == 0


def test_more_classes_that_overlap_than_a_mask_has_bits_are_refused(tmp_path: Path) -> None:
    folder = make_set(tmp_path / "set", [(48, 40)] * 4, val=1, multilabel=True)
    manifest = json.loads((folder / "dataset.json").read_text())
    more = [{"name": f"more{n}", "color": [9, 9, n]} for n in range(5)]
    manifest["classes"] += more
    (folder / "dataset.json").write_text(json.dumps(manifest))
    said = fail(write_config(tmp_path / "run", folder, **SETTINGS))
    assert "8 classes that overlap: a mask has room for 7 of them" in said.message


def test_an_empty_list_is_named(tmp_path: Path) -> None:
    folder = make_set(tmp_path / "set", [(48, 40)] * 4)
    said = fail(write_config(tmp_path / "run", folder, **SETTINGS))
    assert "has no labelled image in its val list" in said.message


def test_an_id_out_of_range_is_named_with_its_file(noise: Path, tmp_path: Path) -> None:
    folder = make_set(tmp_path / "set", [(48, 40)] * 10, val=2)
    config = write_config(tmp_path / "run", folder, **SETTINGS)
    assert run_here(config)[0] == 0
    before = checkpoints(tmp_path / "run")
    Image.fromarray(np.full((40, 48), 7, np.uint8)).save(folder / "masks" / "3.png")
    said = fail(write_config(tmp_path / "run", folder, **SETTINGS | {"epochs": 2}))
    assert "masks/3.png: the mask holds 7; 3 classes end at 2." in said.message
    assert checkpoints(tmp_path / "run") == before


def test_a_truncated_image_leaves_the_checkpoints_as_they_are(tmp_path: Path) -> None:
    folder = make_set(tmp_path / "set", [(48, 40)] * 10, val=2)
    assert run_here(write_config(tmp_path / "run", folder, **SETTINGS))[0] == 0
    before = checkpoints(tmp_path / "run")
    path = folder / "images" / "5.png"
    path.write_bytes(path.read_bytes()[:300])
    said = fail(write_config(tmp_path / "run", folder, **SETTINGS | {"epochs": 2}))
    assert "images/5.png: the image cannot be decoded" in said.message
    assert checkpoints(tmp_path / "run") == before


def test_a_checkpoint_of_another_architecture_is_refused_and_kept(
    noise: Path, tmp_path: Path
) -> None:
    assert run_here(write_config(tmp_path, noise, **SETTINGS))[0] == 0
    before = checkpoints(tmp_path)
    said = fail(write_config(tmp_path, noise, **SETTINGS, model="unet/resnet18"))
    assert "its model is resunet, not unet/resnet18" in said.message
    assert checkpoints(tmp_path) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss": "dise"}, "dise"),
        ({"class_weights": [1.0]}, "weight"),
        ({"monitor": "mios"}, "monitor: Input should be"),
        ({"monitor": "image_dice"}, "image_dice is a metric of multilabel datasets"),
        ({"status_url": "ftp://x"}, "status_url"),
        ({"model": "unett/resnet18"}, "unett/resnet18"),
    ],
)
def test_a_setting_that_no_training_has_is_named(
    noise: Path, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    code, err = run_here(write_config(tmp_path, noise, **SETTINGS | change))
    assert code == 1
    assert message in err
    assert "Traceback" not in err

"""Which family serves which name, and what is imported for it."""

import json
import subprocess
import sys

import pytest

from tests.train.models import make_config
from train.config import ARCHITECTURES
from train.errors import TrainError
from train.models import build_model, find_family


def test_the_architectures_are_those_of_the_installed_package() -> None:
    import segmentation_models_pytorch as smp  # type: ignore[import-untyped]  # it ships no types

    assert sorted(smp.MODEL_ARCHITECTURES_MAPPING) == list(ARCHITECTURES)


def test_a_name_with_a_slash_finds_its_family() -> None:
    assert find_family("unet/resnet34").WEIGHTS == ("imagenet",)


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("resnet", "--model resunet"),
        ("fcn_resnet34", "--model fcn_resnet50"),
        ("unet", "--model unet/resnet34"),
        ("unet/", "--model unet/resnet34"),
        ("unett/mit_b0", "--model unet/mit_b0"),
        ("smp", "as unet/resnet34"),
        ("../models/resunet", "as unet/resnet34"),
        ("unet/tu-hf-hub:somebody/something", "--model unet/resnet34"),
    ],
)
def test_an_unknown_model_is_refused_with_a_near_one(name: str, fix: str) -> None:
    with pytest.raises(TrainError, match="There is no model") as caught:
        find_family(name)
    assert fix in caught.value.fix


@pytest.mark.parametrize(
    ("model", "weights"), [("resunet", "imagenet"), ("resunet", "coco"), ("unet/resnet18", "coco")]
)
def test_weights_that_a_model_does_not_have_are_refused(model: str, weights: str) -> None:
    with pytest.raises(TrainError, match=f"no weights {weights} for {model}") as caught:
        build_model(2, make_config(model, pretrained=weights))
    assert "the path of a file" in caught.value.fix


def test_nothing_is_imported_before_a_model_asks() -> None:
    code = """
import json, sys
from pathlib import Path
from train.config import TrainConfig
from train.models import build_model, find_family, list_files
for file in list_files():
    __import__(f"train.models.{file}")
build_model(2, TrainConfig(dataset=Path(), output=Path(), epochs=1))
print(json.dumps([name for name in sys.modules if "." not in name]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    loaded = set(json.loads(done.stdout))
    assert "torch" in loaded
    assert not loaded & {"torchvision", "segmentation_models_pytorch", "timm", "huggingface_hub"}

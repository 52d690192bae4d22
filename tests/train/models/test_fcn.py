"""torchvision's FCN: where it begins, and whose weights it takes."""

import math
import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from tests.train.models import make_config
from train.errors import TrainError
from train.models import build_model


@pytest.mark.parametrize(
    "name", ["fcn_resnet50", pytest.param("fcn_resnet101", marks=pytest.mark.slow)]
)
def test_the_first_loss_summed_over_two_classes_is_ln_2_a_pixel(name: str) -> None:
    height, width = 24, 40
    truth_NHW = torch.randint(0, 2, (2, height, width))
    main, aux = build_model(2, make_config(name)).train()(torch.randn(2, 3, height, width))
    for logits in (main, aux):
        loss = functional.cross_entropy(logits, truth_NHW, reduction="sum")
        assert loss.item() == pytest.approx(math.log(2) * 2 * height * width, rel=1e-6)
    # Of an image of 360,000 pixels it is what Waggle's trainer began with.
    loss = functional.cross_entropy(main, truth_NHW, reduction="sum")
    assert round(loss.item() / truth_NHW.numel() * 360_000) == 249_533


def put_in_cache(
    folder: Path, monkeypatch: pytest.MonkeyPatch, url: str, state: dict[str, torch.Tensor]
) -> None:
    """As if torch.hub had downloaded it before."""
    monkeypatch.setenv("TORCH_HOME", str(folder))
    monkeypatch.setattr("torch.hub._hub_dir", None)
    checkpoints = folder / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    torch.save(state, checkpoints / url.rpartition("/")[2])


@pytest.mark.slow
def test_imagenet_gives_the_backbone_its_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.models import (  # type: ignore[import-untyped]  # it ships no types
        ResNet50_Weights,
        resnet50,
    )

    resnet = resnet50()
    put_in_cache(tmp_path, monkeypatch, ResNet50_Weights.IMAGENET1K_V1.url, resnet.state_dict())
    model = build_model(2, make_config("fcn_resnet50", pretrained="imagenet"))
    own = model.state_dict()
    given = {k: v for k, v in resnet.state_dict().items() if not k.startswith("fc.")}
    assert all(torch.equal(own[f"backbone.{name}"], value) for name, value in given.items())
    assert not own["classifier.4.weight"].any()


@pytest.mark.slow
@pytest.mark.parametrize("classes", [21, 3])
def test_coco_gives_all_weights_but_the_scores_of_other_classes(
    classes: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from torchvision.models.segmentation import (  # type: ignore[import-untyped]  # it ships no types
        FCN_ResNet50_Weights,
        fcn_resnet50,
    )

    whole = fcn_resnet50(weights_backbone=None, aux_loss=True).state_dict()
    url = FCN_ResNet50_Weights.COCO_WITH_VOC_LABELS_V1.url
    put_in_cache(tmp_path, monkeypatch, url, whole)
    own = build_model(classes, make_config("fcn_resnet50", pretrained="coco")).state_dict()
    scores = ("classifier.4.", "aux_classifier.4.")
    assert own.keys() == whole.keys()
    body = [name for name in own if not name.startswith(scores)]
    assert all(torch.equal(own[name], whole[name]) for name in body)
    assert bool(own["classifier.4.weight"].any()) == (classes == 21)
    assert ("not taken" in capsys.readouterr().out) == (classes != 21)


def test_without_torchvision_the_error_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "torchvision.models", None)
    with pytest.raises(TrainError, match="fcn_resnet50 needs torchvision on the node") as caught:
        build_model(2, make_config("fcn_resnet50"))
    assert caught.value.fix == "pip install 'segaway[train]'"

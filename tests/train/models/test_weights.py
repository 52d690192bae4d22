"""Weights from a file: what is taken, what is left, what is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.train.models import make_config
from train.errors import TrainError
from train.models import build_model

State = dict[str, Tensor]
SMALL = {"width": 4, "depth": 2}


def make_state(classes: int = 2, **settings: Any) -> State:
    torch.manual_seed(7)
    return build_model(classes, make_config("resunet", **{**SMALL, **settings})).state_dict()


def begin(path: Path, classes: int = 2, **settings: Any) -> nn.Module:
    torch.manual_seed(8)
    config = make_config("resunet", **{**SMALL, **settings}, pretrained=str(path))
    return build_model(classes, config)


def save(content: object, folder: Path) -> Path:
    path = folder / "weights.pt"
    torch.save(content, path)
    return path


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"model": state, "version": 2, "optimizer": {"lr": 1.0}},
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {f"module.{name}": value for name, value in state.items()},
        lambda state: {f"module._orig_mod.{name}": value for name, value in state.items()},
        lambda state: {
            "state_dict": {
                "mean": torch.zeros(3),
                **{f"model.{name}": value for name, value in state.items()},
            }
        },
    ],
    ids=["plain", "ours", "state_dict", "DDP", "DDP and compile", "Lightning"],
)
def test_a_file_of_any_usual_form_is_taken(wrap: Callable[[State], object], tmp_path: Path) -> None:
    state = make_state()
    own = begin(save(wrap(state), tmp_path)).state_dict()
    assert all(torch.equal(value, own[name]) for name, value in state.items())


def test_scores_of_other_classes_begin_fresh_and_it_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state, path = make_state(classes=5), tmp_path / "weights.pt"
    torch.save(state, path)
    own = begin(path).state_dict()
    assert own["head.weight"].shape[0] == 2
    assert torch.equal(own["stem.weight"], state["stem.weight"])
    out = capsys.readouterr().out
    assert str(path) in out
    assert "head.weight, head.bias" in out


def test_heads_of_deep_supervision_may_be_missing_or_too_many(tmp_path: Path) -> None:
    state = make_state()
    deep = begin(save(state, tmp_path), deep_supervision=True).state_dict()
    assert torch.equal(deep["head.weight"], state["head.weight"])
    plain = begin(save(deep, tmp_path)).state_dict()
    assert torch.equal(plain["stem.weight"], state["stem.weight"])


def test_counters_may_be_missing(tmp_path: Path) -> None:
    state = {k: v for k, v in make_state().items() if not k.endswith("num_batches_tracked")}
    assert torch.equal(begin(save(state, tmp_path)).state_dict()["norm.bias"], state["norm.bias"])


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda state: state.pop("stem.weight"), "it has no stem.weight"),
        (lambda state: state.update(more=torch.ones(1)), "the model has no more"),
        (
            lambda state: state.update({"stem.weight": torch.ones(8, 3, 3, 3)}),
            r"stem.weight is \(8, 3, 3, 3\) there and \(4, 3, 3, 3\) in the model",
        ),
    ],
    ids=["missing", "too many", "another shape"],
)
def test_what_does_not_fit_is_refused_with_its_name(
    spoil: Callable[[State], object], told: str, tmp_path: Path
) -> None:
    state = make_state()
    spoil(state)
    path = save(state, tmp_path)
    with pytest.raises(TrainError, match=told) as caught:
        begin(path)
    assert str(path) in str(caught.value)
    assert "leave pretrained empty" in caught.value.fix


@pytest.mark.parametrize("content", [{"stem.weight": [1.0]}, [1, 2], {}, {"model": {}}, "text"])
def test_what_is_no_state_dict_is_refused(content: object, tmp_path: Path) -> None:
    path = save(content, tmp_path)
    with pytest.raises(TrainError, match="holds no state dict") as caught:
        begin(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"no weights", b"PK\x03\x04 and then nothing"])
def test_what_torch_cannot_read_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(content)
    with pytest.raises(TrainError, match=r"weights\.pt cannot be read"):
        begin(path)


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_file_never_runs_code(tmp_path: Path) -> None:
    path = save({"stem.weight": Trap(tmp_path / "ran")}, tmp_path)
    with pytest.raises(TrainError, match="cannot be read"):
        begin(path)
    assert not (tmp_path / "ran").exists()


def test_a_misspelt_name_is_told_as_a_missing_file() -> None:
    with pytest.raises(TrainError, match="There is no file imagnet with weights") as caught:
        begin(Path("imagnet"))
    assert "imagenet" in caught.value.fix


def test_a_file_of_the_package_itself_fits(tmp_path: Path) -> None:
    import segmentation_models_pytorch as smp  # type: ignore[import-untyped]  # it ships no types

    theirs = smp.create_model("unet", "resnet18", encoder_weights=None, classes=19).state_dict()
    path = save(theirs, tmp_path)
    model = build_model(2, make_config("unet/resnet18", pretrained=str(path)))
    own = model.state_dict()
    body = [name for name in own if not name.startswith("segmentation_head.")]
    assert all(torch.equal(own[name], theirs[name]) for name in body)

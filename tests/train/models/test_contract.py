"""What every family of `train/models` has to keep. A new file is judged with no line here."""

import io
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.train.models import make_config
from train.models import build_model, find_family, list_files

CLASSES = 2
# A file that serves many names is judged by some of them.
SAMPLES: dict[str, list[Any]] = {
    "smp": [
        "unet/resnet18",
        "unet/mobilenet_v2",
        "deeplabv3plus/resnet18",
        "fpn/tu-mobilenetv3_small_100",
        "pan/mobilenet_v2",
        "pspnet/resnet18",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in (
                "deeplabv3/resnet18",
                "dpt/tu-vit_tiny_patch16_224",
                "linknet/resnet18",
                "manet/mobilenet_v2",
                "segformer/mit_b0",
                "unet/timm-resnest14d",
                "unet/tu-swin_tiny_patch4_window7_224",
                "unetplusplus/efficientnet-b0",
                "upernet/resnet18",
            )
        ),
    ],
    "resunet": ["resunet", "resunet+deep_supervision", "resunet+deep_supervision+depth"],
    "fcn_resnet101": [pytest.param("fcn_resnet101", marks=pytest.mark.slow)],
}
SETTINGS: dict[str, Any] = {"deep_supervision": True, "depth": 1}
CASES = [case for file in list_files() for case in SAMPLES.get(file, [file])]
SIZES = [(33, 47), (64, 64), (16, 100)]


def make(case: str, seed: int = 0) -> nn.Module:
    name, *others = case.split("+")
    settings = {"width": 8, "depth": 3, **{key: SETTINGS[key] for key in others}}
    torch.manual_seed(seed)
    return build_model(CLASSES, make_config(name, **settings))


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def model(case: str) -> nn.Module:
    """One that all tests look at; none of them may depend on its statistics."""
    return make(case)


def draw(count: int, size: tuple[int, int]) -> Tensor:
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(1))


def as_tuple(result: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (result,) if isinstance(result, Tensor) else result


@pytest.mark.parametrize("size", SIZES)
def test_logits_have_the_size_of_the_image(model: nn.Module, size: tuple[int, int]) -> None:
    model.eval()
    with torch.inference_mode():
        logits = model(draw(1, size))
    assert isinstance(logits, Tensor)
    assert logits.shape == (1, CLASSES, *size)
    assert logits.isfinite().all()


@pytest.mark.parametrize("size", SIZES[:2])
def test_main_and_auxiliary_logits_have_one_shape(model: nn.Module, size: tuple[int, int]) -> None:
    results = as_tuple(model.train()(draw(2, size)))
    assert {result.shape for result in results} == {(2, CLASSES, *size)}


def test_a_batch_may_be_a_single_image(model: nn.Module) -> None:
    results = as_tuple(model.train()(draw(1, (64, 64))))
    assert {result.shape for result in results} == {(1, CLASSES, 64, 64)}
    assert all(result.isfinite().all() for result in results)


def test_every_trainable_weight_gets_a_finite_gradient(model: nn.Module) -> None:
    model.train().zero_grad()
    total = sum(
        result.square().mean() + result.mean() for result in as_tuple(model(draw(2, SIZES[0])))
    )
    assert isinstance(total, Tensor)
    total.backward()  # type: ignore[no-untyped-call]  # torch's own stubs lack it
    trainable = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    assert trainable
    assert [name for name, grad in trainable.items() if grad is None] == []
    assert all(grad is not None and grad.isfinite().all() for grad in trainable.values())


def test_the_seed_decides_the_weights(case: str, model: nn.Module) -> None:
    same, other = dict(make(case).named_parameters()), make(case, seed=1)
    assert all(torch.equal(value, same[name]) for name, value in model.named_parameters())
    assert any(not torch.equal(value, same[name]) for name, value in other.named_parameters())


def test_a_state_dict_makes_the_same_model_of_another(case: str, model: nn.Module) -> None:
    other = make(case, seed=1)
    model.train()(draw(2, (64, 64)))
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True), strict=True)
    image = draw(1, SIZES[0])
    with torch.inference_mode():
        assert torch.equal(model.eval()(image), other.eval()(image))


def test_channels_last_changes_nothing_but_rounding(model: nn.Module) -> None:
    model.eval()
    image = draw(1, (40, 40))
    with torch.inference_mode():
        plain, last = model(image), model(image.to(memory_format=torch.channels_last))
    assert torch.allclose(plain, last, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("file", list_files())
def test_every_file_says_which_weights_it_has(file: str) -> None:
    case = SAMPLES[file][0] if file == "smp" else file
    family = find_family(case)
    assert set(family.WEIGHTS) <= {"imagenet", "coco"}
    names = make(case).state_dict()
    assert all(any(name.startswith(head) for name in names) for head in family.HEADS[:1])

"""Losses against plain NumPy in float64, one formula each."""

import re
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import segmentation_models_pytorch as smp  # type: ignore[import-untyped]  # it ships no types
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from train.errors import TrainError
from train.losses import Loss, balance_weights, list_losses, make_loss
from train.losses._pixels import Task

Array = NDArray[np.float64]
Formula = Callable[[Array, Array, Array, Array], float]
ALIKE = [1.0, 1.0, 1.0]
WEIGHTS = [0.5, 2.0, 1.25]
CASES: list[tuple[str, Task]] = [
    *((name, "multiclass") for name in list_losses()),
    *((name, "multilabel") for name in list_losses() if not name.startswith("cross_entropy")),
]
each_loss = pytest.mark.parametrize(("name", "task"), CASES)
each_weights = pytest.mark.parametrize("weights", [ALIKE, WEIGHTS])


def draw(seed: int, task: Task, void: bool = True, images: int = 2) -> tuple[Tensor, Tensor]:
    """Logits (float64) of three classes and their truth; a class may be nowhere."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (images, 3, 4, 5))
    truth = rng.integers(0, 8 if task == "multilabel" else rng.integers(2, 4), (images, 4, 5))
    if void:
        truth[rng.random(truth.shape) < 0.3] = 255
    return torch.from_numpy(logits), torch.from_numpy(truth.astype(np.uint8))


# The formulas: logits, truth as 0 and 1, both C x P, and class weights; void is left out before.


def softmax(x: Array) -> Array:
    e = np.exp(x - x.max(0))
    return np.asarray(e / e.sum(0))


def sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def cross_entropy_sum(x: Array, t: Array, w: Array) -> float:
    return float(-(w[:, None] * t * np.log(softmax(x))).sum())


def cross_entropy(x: Array, t: Array, w: Array) -> float:
    return cross_entropy_sum(x, t, w) / float((w[:, None] * t).sum())


def bce(x: Array, t: Array, w: Array) -> float:
    p = sigmoid(x)
    each = -(t * np.log(p) + (1 - t) * np.log(1 - p))
    return float((w[:, None] * each).sum() / (w.sum() * x.shape[1]))


def focal_softmax(x: Array, t: Array, w: Array) -> float:
    p = (t * softmax(x)).sum(0)
    weight = (w[:, None] * t).sum(0)
    return float((weight * -np.log(p) * (1 - p) ** 2).sum() / weight.sum())


def focal_sigmoid(x: Array, t: Array, w: Array) -> float:
    p = np.where(t == 1, sigmoid(x), 1 - sigmoid(x))
    return float((w[:, None] * -np.log(p) * (1 - p) ** 2).sum() / (w.sum() * x.shape[1]))


def region(score: Callable[[float, float, float], float], p: Array, t: Array, w: Array) -> float:
    here = [c for c in range(len(p)) if t[c].sum()]
    each = [w[c] * score((p[c] * t[c]).sum(), p[c].sum(), t[c].sum()) for c in here]
    return float(sum(each) / sum(w[c] for c in here))


def jaccard(both: float, p: float, t: float) -> float:
    return 1 - (both + 1) / (p + t - both + 1)


def log_jaccard(both: float, p: float, t: float) -> float:
    return float(-np.log((both + 1) / (p + t - both + 1)))


def dice(both: float, p: float, t: float) -> float:
    return 1 - (2 * both + 1) / (p + t + 1)


def extension(errors: Array, t: Array) -> float:
    """Errors from the largest on, each times what its pixel adds to the Jaccard loss."""
    value, before, wrong = 0.0, 0.0, np.zeros(len(t), bool)
    for place in np.argsort(-errors):
        wrong[place] = True
        union = (t == 1) | wrong
        loss = 1 - ((t == 1) & ~wrong).sum() / union.sum()
        value += errors[place] * (loss - before)
        before = loss
    return value


def lovasz_softmax(x: Array, t: Array, w: Array) -> float:
    here = [c for c in range(len(x)) if t[c].sum()]
    each = [w[c] * extension(np.abs(t[c] - softmax(x)[c]), t[c]) for c in here]
    return float(sum(each) / sum(w[c] for c in here))


def lovasz_hinge(x: Array, t: Array, w: Array) -> float:
    errors = np.maximum(0, 1 - x * (2 * t - 1))
    return float(sum(w[c] * extension(errors[c], t[c]) for c in range(len(x))) / w.sum())


REGIONS = {"jaccard": jaccard, "log_jaccard": log_jaccard, "dice": dice}
PIXELS: dict[str, Callable[[Array, Array, Array], float]] = {
    "cross_entropy multiclass": cross_entropy,
    "cross_entropy_sum multiclass": cross_entropy_sum,
    "bce multiclass": bce,
    "bce multilabel": bce,
    "focal multiclass": focal_softmax,
    "focal multilabel": focal_sigmoid,
    "lovasz multiclass": lovasz_softmax,
    "lovasz multilabel": lovasz_hinge,
}


def flatten(logits: Tensor, truth: Tensor, task: Task) -> tuple[Array, Array]:
    """C x P logits and truth of the pixels that are not void."""
    known = truth.numpy().ravel() != 255
    x = logits.detach().double().numpy().transpose(1, 0, 2, 3).reshape(3, -1)[:, known]
    ids = truth.numpy().ravel()[known]
    rows = [(ids >> c) & 1 if task == "multilabel" else ids == c for c in range(3)]
    return x, np.array(rows, float)


def compute(name: str, logits: Tensor, truth: Tensor, task: Task, weights: list[float]) -> float:
    w = np.array(weights)
    if name == "lovasz":
        images = [flatten(logits[n : n + 1], truth[n : n + 1], task) for n in range(len(truth))]
        formula = PIXELS[f"{name} {task}"]
        return float(np.mean([formula(x, t, w) for x, t in images if x.size]))
    x, t = flatten(logits, truth, task)
    if name in REGIONS:
        return region(REGIONS[name], sigmoid(x) if task == "multilabel" else softmax(x), t, w)
    return PIXELS[f"{name} {task}"](x, t, w)


def gradient(loss: Tensor, logits: Tensor) -> Tensor:
    (grad,) = torch.autograd.grad(loss, logits)
    return grad


@pytest.fixture
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@each_loss
@each_weights
@given(seed=st.integers(0, 2**31), void=st.booleans())
def test_a_loss_equals_its_formula(
    name: str, task: Task, weights: list[float], seed: int, void: bool
) -> None:
    logits, truth = draw(seed, task, void)
    found = make_loss(name, 3, task, weights)(logits, truth)
    assert float(found) == pytest.approx(compute(name, logits, truth, task, weights), abs=1e-9)


@each_loss
@each_weights
@pytest.mark.usefixtures("deterministic")
def test_a_gradient_equals_finite_differences(name: str, task: Task, weights: list[float]) -> None:
    logits, truth = draw(3, task)
    loss = make_loss(name, 3, task, weights)
    assert torch.autograd.gradcheck(lambda x: loss(x, truth), logits.requires_grad_(True))


@each_loss
def test_a_batch_that_is_void_everywhere_changes_nothing(name: str, task: Task) -> None:
    logits = draw(0, task)[0].float().requires_grad_(True)
    loss = make_loss(name, 3, task)(logits, torch.full((2, 4, 5), 255, dtype=torch.uint8))
    assert float(loss.detach()) == 0
    assert torch.equal(gradient(loss, logits), torch.zeros_like(logits))


@each_loss
def test_an_image_that_is_void_everywhere_counts_nowhere(name: str, task: Task) -> None:
    logits, truth = draw(5, task)
    loss = make_loss(name, 3, task)
    beside = torch.cat([truth, torch.full_like(truth, 255)])
    both = loss(torch.cat([logits, logits.flip(1)]), beside)
    assert float(both) == pytest.approx(float(loss(logits, truth)))


@each_loss
@each_weights
def test_two_halves_that_add_up_their_sums_have_the_loss_of_the_whole(
    name: str, task: Task, weights: list[float]
) -> None:
    logits, truth = draw(7, task, images=4)
    logits.requires_grad_(True)
    loss = make_loss(name, 3, task, weights)
    whole = loss(logits, truth)
    expected = gradient(whole, logits)
    for here, there in ((slice(0, 2), slice(2, 4)), (slice(2, 4), slice(0, 2))):
        kept: list[Tensor] = []

        def keep(sums: Tensor, kept: list[Tensor] = kept) -> Tensor:
            kept.append(sums.detach())
            return sums

        def add(sums: Tensor, kept: list[Tensor] = kept) -> Tensor:
            return sums + kept[0]

        loss(logits[there], truth[there], keep)
        half = loss(logits[here], truth[here], add)
        assert float(half.detach()) == pytest.approx(float(whole.detach()), rel=1e-12)
        torch.testing.assert_close(gradient(half, logits)[here], expected[here])


@pytest.mark.parametrize("name", ["cross_entropy", "cross_entropy_sum", "bce", "focal", "lovasz"])
def test_micro_batches_add_up_to_the_batch(name: str) -> None:
    logits, truth = draw(9, "multiclass", void=False, images=4)
    loss = make_loss(f"0.5*{name}", 3, "multiclass")
    parts = [(slice(0, 1), 0.25), (slice(1, 4), 0.75)]
    found = sum(float(loss(logits[at], truth[at], share=share)) for at, share in parts)
    assert found == pytest.approx(float(loss(logits, truth)))


@pytest.mark.parametrize("name", ["jaccard", "log_jaccard", "dice"])
def test_micro_batches_share_what_is_no_plain_mean(name: str) -> None:
    logits, truth = draw(9, "multiclass")
    loss = make_loss(name, 3, "multiclass")
    assert float(loss(logits, truth, share=0.25)) == pytest.approx(
        0.25 * float(loss(logits, truth))
    )


def test_the_summed_cross_entropy_begins_as_waggles() -> None:
    truth = (torch.arange(360_000) % 2).byte().view(1, 600, 600)
    loss = make_loss("cross_entropy_sum", 2, "multiclass")
    assert float(loss(torch.zeros(1, 2, 600, 600), truth)) == pytest.approx(249_533, abs=0.1)


def test_log_jaccard_is_what_it_was_before_there_were_others() -> None:
    logits = 3 * torch.sin(torch.arange(120, dtype=torch.float64)).view(2, 3, 4, 5)
    truth = (torch.arange(40) % 4).view(2, 4, 5).byte()
    truth[truth == 3] = 255
    found = make_loss("log_jaccard", 3, "multiclass")(logits, truth)
    assert float(found) == pytest.approx(1.396778870097907, rel=1e-12)


@pytest.mark.parametrize(
    ("expression", "parts"),
    [
        ("1.0*dice+1.0*jaccard+0.8*bce", {"dice": 1, "jaccard": 1, "bce": 0.8}),
        (" dice + 2 * focal", {"dice": 1, "focal": 2}),
        ("1e+1*dice+1E-1*lovasz", {"dice": 10, "lovasz": 0.1}),
        (".5*cross_entropy_sum", {"cross_entropy_sum": 0.5}),
    ],
)
def test_an_expression_is_a_weighted_sum(expression: str, parts: dict[str, float]) -> None:
    logits, truth = draw(11, "multiclass")
    alone = {name: make_loss(name, 3, "multiclass", WEIGHTS) for name in parts}
    expected = sum(factor * alone[name](logits, truth) for name, factor in parts.items())
    found = make_loss(expression, 3, "multiclass", WEIGHTS)(logits, truth)
    assert float(found) == pytest.approx(float(expected))


@pytest.mark.parametrize(
    ("expression", "named", "fix"),
    [
        ("dise", "'dise'", "dice"),
        ("dice+0.5*jacard", "'jacard'", "jaccard"),
        ("dice+", "''", "Known: bce"),
        ("", "''", "Known: bce"),
        ("x*dice", "'x'", "0.5*dice"),
        ("*dice", "''", "0.5*dice"),
        ("-1*dice", "'-1'", "0.5*dice"),
        ("nan*dice", "'nan'", "0.5*dice"),
        ("_pixels", "'_pixels'", "Known: bce"),
    ],
)
def test_a_wrong_expression_names_the_wrong_part(expression: str, named: str, fix: str) -> None:
    with pytest.raises(TrainError, match=f"^{re.escape(named)} in the loss") as raised:
        make_loss(expression, 3, "multiclass")
    assert fix in raised.value.fix


@pytest.mark.parametrize("name", ["cross_entropy", "dice+cross_entropy_sum"])
def test_cross_entropy_of_several_classes_a_pixel_is_refused(name: str) -> None:
    with pytest.raises(TrainError, match="multilabel") as raised:
        make_loss(name, 3, "multilabel")
    assert "bce" in raised.value.fix


def test_as_many_weights_as_classes_are_wanted() -> None:
    with pytest.raises(TrainError, match="2 class weights for 3 classes"):
        make_loss("dice", 3, "multiclass", [1.0, 2.0])


def test_only_the_sum_is_summed() -> None:
    summed = [name for name in list_losses() if make_loss(name, 2, "multiclass").is_summed]
    assert summed == ["cross_entropy_sum"]
    assert make_loss("dice+cross_entropy_sum", 2, "multiclass").is_summed


@each_loss
def test_half_precision_is_computed_in_single(name: str, task: Task) -> None:
    logits, truth = draw(13, task)
    loss = make_loss(name, 3, task)
    half = logits.to(torch.bfloat16, memory_format=torch.channels_last).requires_grad_(True)
    full = half.detach().float().requires_grad_(True)
    with torch.autocast("cpu", torch.bfloat16):
        found = loss(half, truth)
    assert found.dtype == torch.float32
    assert torch.equal(found, loss(full, truth))
    grad = gradient(found, half)
    assert grad.dtype == torch.bfloat16
    assert torch.equal(grad, gradient(loss(full, truth), full).bfloat16())


@each_weights
def test_cross_entropy_is_torchs(weights: list[float]) -> None:
    logits, truth = draw(15, "multiclass")
    found = make_loss("cross_entropy", 3, "multiclass", weights)(logits, truth)
    weight = torch.tensor(weights, dtype=torch.float64)
    expected = functional.cross_entropy(logits, truth.long(), weight, ignore_index=255)
    assert float(found) == pytest.approx(float(expected))


def spread(truth: Tensor, task: Task) -> Tensor:
    """The truth as smp's losses want it."""
    if task == "multiclass":
        return truth.long()
    return torch.stack([truth >> c & 1 for c in range(3)], 1).float()


# Where smp has the same definition: all classes there, no void where it knows none. Its smoothing
# of Dice is added to half of each fraction; its Lovasz-softmax computes in float32.
PEERS: list[tuple[str, Task, torch.nn.Module]] = [
    ("jaccard", "multiclass", smp.losses.JaccardLoss("multiclass", smooth=1.0)),
    ("jaccard", "multilabel", smp.losses.JaccardLoss("multilabel", smooth=1.0)),
    ("log_jaccard", "multiclass", smp.losses.JaccardLoss("multiclass", log_loss=True, smooth=1.0)),
    ("dice", "multiclass", smp.losses.DiceLoss("multiclass", smooth=0.5)),
    ("dice", "multilabel", smp.losses.DiceLoss("multilabel", smooth=0.5)),
    ("focal", "multilabel", smp.losses.FocalLoss("multilabel", gamma=2.0)),
    ("bce", "multilabel", smp.losses.SoftBCEWithLogitsLoss()),
    ("lovasz", "multiclass", smp.losses.LovaszLoss("multiclass", per_image=True)),
]


@pytest.mark.parametrize(("name", "task", "peer"), PEERS)
def test_a_loss_equals_smps_where_that_is_the_same(
    name: str, task: Task, peer: torch.nn.Module
) -> None:
    logits, truth = draw(17, task, void=False)
    logits = logits.float()
    truth[:, 0, :3] = torch.tensor([0, 1, 2] if task == "multiclass" else [1, 2, 4]).byte()
    found = make_loss(name, 3, task)(logits, truth)
    assert float(found) == pytest.approx(float(peer(logits, spread(truth, task))), rel=1e-5)


def test_a_rare_class_weighs_more() -> None:
    weights = balance_weights([900, 100, 0])
    assert weights == pytest.approx([0.5, 1.5, 0.0])
    assert balance_weights([0, 0]) == [0.0, 0.0]


def test_a_class_that_weighs_nothing_changes_nothing() -> None:
    logits, _ = draw(19, "multiclass")
    logits.requires_grad_(True)
    truth = torch.full((2, 4, 5), 2, dtype=torch.uint8)
    for name in list_losses():
        if name == "bce":  # there the other classes learn that they are not meant
            continue
        loss: Loss = make_loss(name, 3, "multiclass", [1.0, 1.0, 0.0])
        assert not gradient(loss(logits, truth), logits).any()

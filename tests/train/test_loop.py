"""What a whole training does with its settings."""

import csv
import json
import math
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
import torch
from torch import nn

from tests.conftest import SHARED_DATA
from tests.train.sets import make_set
from tests.train.test_augment import make_config
from tests.train.test_trainer import events, run_here, write_config
from train.config import TrainConfig
from train.data.dataset import load_dataset, save_dataset
from train.data.extract import extract_archive
from train.data.separate import separate_dataset
from train.device import earns_compile
from train.events import Epoch, Finished, Started, Step, Warned
from train.feed import Fed
from train.losses import make_loss
from train.probe import search_batch
from train.ranks import Ranks
from train.step import Stepper
from train.waggle import translate_config_list


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_set(tmp_path_factory.mktemp("noise") / "set", [(48, 40)] * 12, val=4)


def said(folder: Path, kind: type[Any]) -> list[Any]:
    return [event for event in events(folder) if isinstance(event, kind)]


def train_on(dataset: Path, folder: Path, **settings: Any) -> Path:
    code, err = run_here(write_config(folder, dataset, **{"lr": 1e-3, **settings}))
    assert code == 0, err
    return folder


def test_a_plateau_lowers_the_rate(noise: Path, tmp_path: Path) -> None:
    settings = {"schedule": "plateau", "plateau_patience": 0, "plateau_factor": 0.5, "epochs": 8}
    train_on(noise, tmp_path, **settings, lr=1e-9)
    rates = [step.lr for step in said(tmp_path, Step)]
    values = [epoch.miou for epoch in said(tmp_path, Epoch)]
    drops = sum(value <= max(values[:n]) for n, value in enumerate(values[:-1]) if n)
    assert drops
    assert rates[0] == 1e-9
    assert rates[-1] == pytest.approx(1e-9 * 0.5**drops)


def test_an_early_stop_stops(noise: Path, tmp_path: Path) -> None:
    train_on(noise, tmp_path, epochs=30, early_stop=2, lr=1e-9)
    epochs = said(tmp_path, Epoch)
    assert 3 <= len(epochs) < 30
    best = max(epoch.miou for epoch in epochs)
    assert best not in [epoch.miou for epoch in epochs[-2:]] or epochs[-3].miou == best
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["miou"] == pytest.approx(best)


def test_another_metric_can_decide_what_is_best(noise: Path, tmp_path: Path) -> None:
    train_on(noise, tmp_path, epochs=4, monitor="loss")
    epochs = said(tmp_path, Epoch)
    lowest = min(range(4), key=lambda n: epochs[n].loss)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["best_epoch"] == lowest + 1


def test_the_average_of_the_weights_is_what_is_validated_and_kept(
    noise: Path, tmp_path: Path
) -> None:
    train_on(noise, tmp_path, epochs=3, ema=0.9, keep=1)
    last = torch.load(tmp_path / "checkpoints" / "last.pt", weights_only=True)
    best = torch.load(tmp_path / "checkpoints" / "best.pt", weights_only=True)
    assert not torch.equal(last["model"]["head.weight"], last["average"]["head.weight"])
    if best["progress"]["epoch"] == last["progress"]["epoch"]:
        assert torch.equal(best["model"]["head.weight"], last["average"]["head.weight"])
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    epochs = said(tmp_path, Epoch)
    assert metrics["miou"] == pytest.approx(epochs[best["progress"]["epoch"] - 1].miou)


def test_steps_and_validations_come_when_asked(noise: Path, tmp_path: Path) -> None:
    train_on(noise, tmp_path, epochs=None, steps=7, validate_steps=3)
    assert [epoch.step for epoch in said(tmp_path, Epoch)] == [3, 6, 7]
    assert said(tmp_path, Step)[-1].step == 7
    assert said(tmp_path, Step)[-1].progress == 1


def test_gradients_are_clipped(noise: Path, tmp_path: Path) -> None:
    clipped = {"optimizer": "sgd", "momentum": 0, "weight_decay": 0, "clip_norm": 1e-6, "lr": 1.0}
    train_on(noise, tmp_path, epochs=1, **clipped, schedule="constant")
    (tmp_path / "none").mkdir()
    train_on(noise, tmp_path / "none", epochs=1, **clipped | {"lr": 1e-12})
    after, before = (
        torch.load(folder / "checkpoints" / "last.pt", weights_only=True)["model"]
        for folder in (tmp_path, tmp_path / "none")
    )
    moved = [(after[k] - before[k]).norm() for k in after if after[k].ndim == 4]
    assert 0 < float(torch.stack(moved).norm()) <= 2e-6 * 1.1


def test_two_classes_that_overlap_are_learnt_by_thresholds_of_their_own(tmp_path: Path) -> None:
    folder = make_set(tmp_path / "set", [(48, 40)] * 14, val=4, classes=2, multilabel=True)
    out = train_on(folder, tmp_path / "run", epochs=6, loss="dice+bce", lr=5e-3)
    best = torch.load(out / "checkpoints" / "best.pt", weights_only=True)
    assert len(best["postprocess"]["thresholds"]) == 2
    metrics = json.loads((out / "metrics.json").read_text())
    assert 0.5 < metrics["image_dice"] <= 1
    assert "both empty" in metrics["definitions"]["image_dice"]
    rows = list(csv.reader((out / "predictions" / "val.csv").open()))
    assert rows[0] == ["Image_Label", "EncodedPixels"]
    assert len(rows) == 1 + 4 * 2


class _Count(nn.Module):
    """A model without normalisation: its parts are those of the whole."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.most = 0

    def forward(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        self.most = max(self.most, len(images_NCHW))
        if len(images_NCHW) > 2 and self.most < 99:
            raise torch.OutOfMemoryError("out of memory")
        logits_NCHW: torch.Tensor = self.conv(images_NCHW)
        return logits_NCHW


@pytest.mark.parametrize("loss", ["cross_entropy", "cross_entropy_sum", "bce+focal"])
def test_too_little_memory_makes_parts_with_the_gradients_of_the_whole(loss: str) -> None:
    config = make_config(crop=32, flip=False, lr=1.0)
    torch.manual_seed(0)
    windows = torch.randint(0, 256, (8, 32, 32, 4), dtype=torch.uint8)
    windows[..., 3] %= 3
    fed = Fed(windows, torch.zeros(8, 7), torch.full((8,), 32))
    found = []
    for memory in (2, 99):
        torch.manual_seed(1)
        model = _Count()
        warnings: list[str] = []
        model.most = memory
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        criterion = make_loss(loss, 3, "multiclass", None)
        context = torch.enable_grad
        stepper = Stepper(model, criterion, optimizer, config, context, 8, Ranks(), warnings.append)
        value = float(stepper.take(fed, lr=1e-3))
        found.append((value, model.conv.weight.detach().clone()))
        assert len(warnings) == (2 if memory == 2 else 0)
        assert stepper.micro_batch == (2 if memory == 2 else 8)
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    torch.testing.assert_close(found[0][1], found[1][1], atol=1e-5, rtol=1e-5)


def test_the_largest_batch_is_found_by_doubling_and_then_by_the_line() -> None:
    tried = []

    def measure(count: int) -> int:
        tried.append(count)
        return 1000 * count

    assert search_batch(measure, most=256, room_bytes=50_500) == 50
    assert tried == [1, 2, 4, 8, 16, 32, 64]
    assert search_batch(measure, most=20, room_bytes=10**9) == 20
    assert search_batch(measure, most=20, room_bytes=500) == 1


def test_a_batch_that_runs_out_of_memory_is_too_large() -> None:
    def measure(count: int) -> int:
        if count > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return count

    assert search_batch(measure, most=256, room_bytes=10**9) == 4


def test_looking_for_a_batch_leaves_the_model_as_it_was(noise: Path, tmp_path: Path) -> None:
    out = train_on(noise, tmp_path, epochs=1, batch="auto")
    started = said(out, Started)[0]
    assert 1 <= started.batch <= 8
    same = train_on(noise, tmp_path / "same", epochs=1, batch=started.batch)
    one, other = (
        torch.load(folder / "checkpoints" / "last.pt", weights_only=True)["model"]
        for folder in (out, same)
    )
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_compiling_is_for_long_trainings_on_gpus() -> None:
    gpu, cpu = torch.device("cuda"), torch.device("cpu")
    auto = make_config()
    assert earns_compile(auto, gpu, 3600)
    assert not earns_compile(auto, gpu, 60)
    assert not earns_compile(auto, cpu, 3600)
    assert earns_compile(make_config(compile="on"), cpu, 1)
    assert not earns_compile(make_config(compile="off"), gpu, 3600)


def test_the_loop_is_imported_without_what_only_some_models_need() -> None:
    code = (
        "import sys, train.loop;"
        "names = ('torchvision', 'segmentation_models_pytorch', 'timm');"
        "print([name for name in names if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.fixture
def listener() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A status URL, and what has been POSTed to it."""
    posted: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # its name there
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/status", posted
    server.shutdown()


def test_a_url_is_told_how_far_it_is(
    noise: Path, tmp_path: Path, listener: tuple[str, list[dict[str, Any]]]
) -> None:
    url, posted = listener
    train_on(noise, tmp_path, epochs=3, batch=4, status_url=url)
    assert posted[-1] == {
        "progress": 1.0,
        "epoch_current": 3,
        "epoch_total": 3,
        "step_current": 6,
        "step_total": 6,
        "classification_loss": pytest.approx(said(tmp_path, Step)[-1].loss),
        "steps_per_epoch": 2,
    }
    assert not said(tmp_path, Warned)


def test_a_url_that_nobody_answers_is_one_warning(noise: Path, tmp_path: Path) -> None:
    train_on(noise, tmp_path, epochs=1, status_url="http://secret@127.0.0.1:9/status?key=hidden")
    (warned,) = said(tmp_path, Warned)
    assert "do not reach http://127.0.0.1:9" in warned.message
    assert "secret" not in warned.message
    assert "hidden" not in warned.message
    assert isinstance(events(tmp_path)[-1], Finished)


@pytest.mark.slow
def test_waggles_config_list_runs_as_it_is(tmp_path: Path) -> None:
    """Its rate belongs to a loss summed over pixels: that of two classes begins at ln 2 each."""
    with ZipFile(SHARED_DATA / "hyta-waggle.zip") as archive:
        name = next(name for name in archive.namelist() if name.endswith("config.list"))
        (tmp_path / "config.list").write_bytes(archive.read(name))
    extract_archive(SHARED_DATA / "hyta-waggle.zip", tmp_path / "extracted")
    separate_dataset(tmp_path / "extracted", tmp_path / "set")
    dataset = load_dataset(tmp_path / "set")
    lists = {**dataset.lists, "val": dataset.lists["val"][:1]}
    save_dataset(dataset.model_copy(update={"lists": lists}), tmp_path / "set")
    translated, _ = translate_config_list(tmp_path / "config.list")
    shorter = {"steps": 1, "crop": 64, "predict": [], "precision": "fp32"}
    config = TrainConfig(
        dataset=tmp_path / "set", output=tmp_path / "run", **{**translated, **shorter}
    )
    (tmp_path / "run").mkdir()
    path = tmp_path / "run" / "config.json"
    path.write_text(config.model_dump_json(exclude_none=True))
    assert config.model == "fcn_resnet101"
    assert config.lr == 1e-10
    code, err = run_here(path)
    assert code == 0, err
    first = said(tmp_path / "run", Step)[0].loss
    assert first == pytest.approx(math.log(2) * 64 * 64, rel=1e-6)

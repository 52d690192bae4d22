"""The trainer's settings from the laptop: all of them, by flag, file and environment."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from cli.commands import run as run_command
from cli.config import OURS, Settings, list_table_keys, load_settings
from cli.errors import ConfigError, RunError
from cli.options import complete_key, complete_model
from cli.template import make_schema
from cli.training import (
    PLAIN_KEYS,
    TRAINING_KEYS,
    check_loss,
    check_model,
    check_training,
    list_weights,
    mask_url,
    read_training,
    show_config,
    training_config,
    training_job,
)
from tests.conftest import Laptop
from train.config import TrainConfig
from train.losses import list_losses
from train.models import find_family

PAGE = Path(__file__).parent.parent.parent / "docs" / "training.md"
OFFER = {"gpus": 1, "memory_gib": 32.0}
# A value that is none of the defaults, for each key.
VALUES: dict[str, Any] = {
    "model": "unet/resnet34",
    "pretrained": "imagenet",
    "width": 8,
    "depth": 2,
    "deep_supervision": True,
    "epochs": 3,
    "minutes": 1.5,
    "steps": 7,
    "validate_steps": 3,
    "crop": 64,
    "batch": "auto",
    "micro_batch": 2,
    "seed": 9,
    "flip": False,
    "scale_min": 0.5,
    "scale_max": 2.0,
    "jitter": 0.25,
    "loss": "1.0*dice+0.8*bce",
    "class_weights": [1.0, 2.5],
    "allow_absent": True,
    "auxiliary": 0.25,
    "optimizer": "sgd",
    "lr": 0.01,
    "momentum": 0.5,
    "weight_decay": 0.0,
    "clip_norm": 1.0,
    "schedule": "plateau",
    "warmup": 0.0,
    "plateau_patience": 2,
    "plateau_factor": 0.5,
    "monitor": "pixel_accuracy",
    "early_stop": 4,
    "ema": 0.5,
    "device": "cpu",
    "ranks": 2,
    "precision": "bf16",
    "compile": "off",
    "deterministic": False,
    "cache": "/mnt/cache",
    "resident": "off",
    "checkpoint_minutes": 1.0,
    "checkpoint_steps": 5,
    "keep": 3,
    "predict": ["val", "test"],
    "tile": 128,
    "flip_average": True,
    "status_url": "https://example.org/x",
}


def load(
    folder: Path, *words: str, environ: dict[str, str] | None = None, **flags: Any
) -> Settings:
    return load_settings({"set": list(words), **flags}, folder, environ or {})


def ask(settings: Settings) -> dict[str, Any]:
    """The trainer's config, as JSON."""
    return read_training(settings, {}, device=settings.device).model_dump(mode="json")


def spell(value: Any) -> str:
    """A value as a word of a command line."""
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def test_each_of_the_trainers_keys_has_a_value_here() -> None:
    assert set(VALUES) == set(TrainConfig.model_fields) - set(OURS)


@pytest.mark.parametrize("key", VALUES)
def test_each_key_is_reached_by_flag_file_and_environment(tmp_path: Path, key: str) -> None:
    value = VALUES[key]
    word = spell(value)
    assert ask(load(tmp_path, f"{key}={word}"))[key] == value
    assert ask(load(tmp_path, environ={f"SEGAWAY_TRAIN__{key.upper()}": word}))[key] == value
    (tmp_path / "segaway.toml").write_text(f"[train]\n{key} = {json.dumps(value)}\n")
    assert ask(load(tmp_path))[key] == value


@pytest.mark.parametrize("key", VALUES)
def test_a_runs_record_gives_each_key_back(tmp_path: Path, key: str) -> None:
    settings = load(tmp_path, f"{key}={spell(VALUES[key])}")
    record = json.loads(json.dumps(settings.model_dump(mode="json", exclude_none=True)))
    assert Settings.model_validate(record) == settings


def test_what_is_set_nowhere_is_the_trainers_own_default(tmp_path: Path) -> None:
    asked = read_training(load(tmp_path), {})
    fields = TrainConfig.model_fields
    for key in set(fields) - {*OURS, "epochs"}:
        assert getattr(asked, key) == fields[key].get_default(), key
    assert asked.epochs == 20


def test_flags_go_before_environment_before_file_key_by_key(tmp_path: Path) -> None:
    (tmp_path / "segaway.toml").write_text("crop = 64\n[train]\nema = 0.1\ntile = 64\nkeep = 1\n")
    environ = {"SEGAWAY_TRAIN__EMA": "0.2", "SEGAWAY_TRAIN__TILE": "128"}
    settings = load(tmp_path, "ema=0.3", "crop=96", environ=environ)
    assert settings.train == {"ema": 0.3, "tile": 128, "keep": 1}
    assert settings.crop == 96


@pytest.mark.parametrize("length", ["epochs", "minutes", "steps"])
@pytest.mark.parametrize("other", ["epochs", "minutes", "steps"])
def test_a_length_takes_the_others_of_the_file_back(
    tmp_path: Path, length: str, other: str
) -> None:
    (tmp_path / "segaway.toml").write_text(f"{other} = 5\n")
    asked = ask(load(tmp_path, f"{length}=2"))
    assert {name: asked[name] for name in ("epochs", "minutes", "steps") if asked[name]} == {
        length: 2
    }


@pytest.mark.parametrize(
    ("words", "message", "fix"),
    [
        (("momentun=0.5",), "Unknown key 'momentun' in the flags", "Did you mean 'momentum'?"),
        (("dataset=/x",), "Unknown key 'dataset' in the flags", "Known: on, model"),
        (("momentum=2",), "momentum = '2' in the flags: Input should be less than 1", "momentum:"),
        (("batch=0",), "batch = '0' in the flags: Input should be greater", "auto: as many"),
        (("batch=all",), "or: Input should be 'auto'", "Images per optimiser step"),
        (("schedule=step",), "schedule = 'step' in the flags", "Course of the learning rate"),
        (("predict=val,tests",), "predict = ['val', 'tests'] in the flags", "Lists that masks"),
        (("class_weights=1,x",), "class_weights = ['1', 'x'] in the flags", "A weight per class"),
        (("optimizer=lion",), "optimizer = 'lion' in the flags", "optimizer:"),
        (("ema",), "--set ema says no KEY=VALUE", "--set lr=1e-3"),
        (("=1",), "--set =1 says no KEY=VALUE", "--set lr=1e-3"),
        (("steps=3", "epochs=3"), "epochs and steps in the flags exclude each other", "Give one."),
        (("status_url=ftp://me:hidden@x",), "status_url has to begin with http://", "training.md"),
    ],
)
def test_a_bad_setting_is_named(
    tmp_path: Path, words: tuple[str, ...], message: str, fix: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)) as refused:
        load(tmp_path, *words)
    assert fix in refused.value.fix
    assert "hidden" not in f"{refused.value} {refused.value.fix}"


def test_a_key_of_the_table_outside_of_it_is_shown_its_place(tmp_path: Path) -> None:
    (tmp_path / "segaway.toml").write_text("ema = 0.9\n")
    with pytest.raises(ConfigError, match="Unknown key 'ema'") as refused:
        load(tmp_path)
    assert "ema below [train] in segaway.toml, or --set ema=VALUE" in refused.value.fix


def test_a_key_that_is_given_twice_in_one_place_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="crop is given twice in the flags"):
        load(tmp_path, "crop=64", crop=128)


def test_a_bad_setting_stops_a_run_before_anything_is_done(laptop: Laptop, skies: Path) -> None:
    answer = laptop.run("run", skies, "--set", "momentum=2")
    assert (answer.code, laptop.home.exists()) == (2, False)
    assert "momentum = '2' in the flags" in answer.err
    answer = laptop.run("run", skies, "--set", "status_url=${SURELY_NOT_SET}")
    assert (answer.code, laptop.home.exists()) == (2, False)
    assert "export SURELY_NOT_SET=..." in answer.err


def test_the_dry_run_shows_what_the_trainer_will_be_told(laptop: Laptop, skies: Path) -> None:
    words = ("--set", "ema=0.5", "--set", "predict=val", "--steps", "3", "--batch", "auto")
    (config,) = [
        step["config"]
        for step in laptop.good("run", skies, "--dry-run", *words)["steps"]
        if "config" in step
    ]
    assert (config["ema"], config["predict"], config["steps"]) == (0.5, ["val"], 3)
    assert config["batch"] == "auto"


def test_the_settings_of_a_run_cannot_be_changed_on_the_way(laptop: Laptop) -> None:
    for flags in (("--set", "ema=0.5"), ("--config-list", "x"), ("--steps", "3")):
        answer = laptop.run("run", "--resume", "skies", *flags)
        assert answer.code == 2
        assert f"{flags[0]} cannot be changed" in answer.err


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("unett/resnet34", "--model unet/resnet34"),
        ("deeplabv3plu/mobilenet_v2", "--model deeplabv3plus/mobilenet_v2"),
        ("unet", "--model unet/resnet34"),
        ("unet/", "--model unet/resnet34"),
        ("resunett", "--model resunet"),
        ("zzz", "ARCHITECTURE/ENCODER as unet/resnet34"),
    ],
)
def test_a_misspelt_model_is_refused_with_what_was_meant(name: str, fix: str) -> None:
    with pytest.raises(RunError, match=f"There is no model '{name}'") as refused:
        check_model(name)
    assert fix in refused.value.fix


@pytest.mark.parametrize("name", ["resunet", "unet/resnet34", "unetplusplus/tu-efficientnet_b0"])
def test_encoders_are_left_to_the_node(name: str) -> None:
    check_model(name)


def test_a_model_with_an_encoder_gets_as_far_as_a_plan(laptop: Laptop, skies: Path) -> None:
    words = ("--model", "unet/resnet34", "--set", "pretrained=imagenet")
    assert laptop.good("run", skies, *words, "--dry-run")["steps"]
    assert laptop.good("plan", skies, *words)["settings"]["train"] == {"pretrained": "imagenet"}
    answer = laptop.run("plan", skies, "--model", "unet/resnet34", "--loss", "dise")
    assert (answer.code, "--loss dice" in answer.err) == (2, True)


@pytest.mark.parametrize("loss", [*list_losses(), "1.0*dice+1e+2*jaccard + 0.8 * bce"])
def test_every_loss_of_the_trainer_is_one(loss: str) -> None:
    check_loss(loss)


@pytest.mark.parametrize(
    ("loss", "fix"),
    [("dise", "--loss dice"), ("1.0*dice+0.8*bec", "--loss bce"), ("zzz", "--loss bce, cross_")],
)
def test_a_misspelt_loss_is_refused_with_what_was_meant(loss: str, fix: str) -> None:
    with pytest.raises(ConfigError, match="There is no loss") as refused:
        check_loss(loss)
    assert fix in refused.value.fix


@pytest.mark.parametrize("name", ["resunet", "fcn_resnet50", "fcn_resnet101", "unet/resnet34"])
def test_the_weights_of_a_model_are_those_that_its_family_has(name: str) -> None:
    assert list_weights(name) == find_family(name).WEIGHTS


def test_weights_that_a_model_does_not_have_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no weights coco for unet/resnet34") as refused:
        check_training(load(tmp_path, "model=unet/resnet34", "pretrained=coco"))
    assert refused.value.fix == "pretrained: imagenet or a file on the node."
    check_training(load(tmp_path, "model=unet/resnet34", "pretrained=imagenet"))
    check_training(load(tmp_path, "pretrained=/mnt/net.pt"))


def test_models_and_keys_are_completed() -> None:
    assert {"resunet", "unet/resnet34", "deeplabv3plus/resnet34"} <= set(complete_model())
    assert "ema=" in complete_key()
    assert "dataset=" not in complete_key()


def test_every_flag_of_a_training_is_a_setting_of_its_name(tmp_path: Path) -> None:
    taken = set(run_command.command.__annotations__)
    assert {*PLAIN_KEYS, "set", "config_list"} <= taken
    assert set(TRAINING_KEYS) <= set(Settings.model_fields)
    assert set(list_table_keys()).isdisjoint(Settings.model_fields)


def test_the_schema_knows_every_key_of_the_table() -> None:
    table = make_schema()["properties"]["train"]
    assert set(table["properties"]) == set(list_table_keys())
    assert table["additionalProperties"] is False
    assert table["properties"]["momentum"]["exclusiveMaximum"] == 1


def make_job(settings: Settings) -> Any:
    return training_job("/mnt/segaway", "skies-abcde", "f" * 64, settings, OFFER)


@pytest.mark.parametrize(
    ("words", "network"),
    [
        ((), False),
        (("pretrained=/mnt/segaway/net.pt",), False),
        (("pretrained=imagenet",), True),
        (("pretrained=coco",), True),
        (("status_url=https://example.org",), True),
        (("status_url=${SURELY_NOT_SET}",), True),
    ],
)
def test_the_trainer_has_a_network_where_it_needs_one(
    tmp_path: Path, words: tuple[str, ...], network: bool
) -> None:
    assert make_job(load(tmp_path, *words)).network is network


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://example.org/jobs/7", "https://example.org/jobs/7"),
        ("https://me:hidden@example.org:8/a?token=hidden#b", "https://***@example.org:8/a?***"),
        ("https://hidden@example.org", "https://***@example.org"),
        ("https://[hidden", "***"),
        ("${STATUS_URL}", "${STATUS_URL}"),
        ("", ""),
    ],
)
def test_a_url_is_shown_without_its_secrets(url: str, shown: str) -> None:
    assert mask_url(url) == shown


def test_a_variable_in_the_url_is_filled_in_for_the_node_alone(tmp_path: Path) -> None:
    settings = load(tmp_path, "status_url=https://example.org/a?token=${TOKEN}")
    environ, job = {"TOKEN": "hidden"}, make_job(settings)
    config = training_config(settings, job, environ)
    assert config["status_url"] == "https://example.org/a?token=hidden"
    assert show_config(settings, job)["status_url"] == "https://example.org/a?***"
    assert "hidden" not in settings.model_dump_json()
    whole = load(tmp_path, "status_url=${URL}")
    assert training_config(whole, job, {"URL": "http://b"})["status_url"] == "http://b"
    with pytest.raises(ConfigError, match="status_url has to begin with http") as refused:
        training_config(whole, job, {"URL": "hidden"})
    assert "hidden" not in str(refused.value)


def test_no_secret_of_a_status_url_is_in_a_dry_run(laptop: Laptop, skies: Path) -> None:
    url = "status_url=https://me:hidden@example.org/a?token=hidden"
    for more in ((), ("--json",)):
        answer = laptop.run("run", skies, "--set", url, "--dry-run", *more)
        assert answer.code == 0, answer.err
        assert "hidden" not in answer.out + answer.err
        assert "https://***@example.org/a?***" in answer.out

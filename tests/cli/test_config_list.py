"""Waggle's config.list from the laptop, and the commands that docs/training.md shows."""

import json
import re
import shlex
from pathlib import Path

import pytest

from cli.config import load_settings
from cli.main import load_command
from cli.training import (
    TRAINING_KEYS,
    check_training,
    describe_config_list,
    hint_config_list,
    read_training,
)
from tests.cli.test_settings import ask, load
from tests.conftest import Laptop

PAGE = Path(__file__).parent.parent.parent / "docs" / "training.md"
CONFIG_LIST = {"max_iteration": 8000, "lr": 1e-10, "fcn": "101", "log_dir": "resnet101"}


def write_waggle(folder: Path) -> Path:
    """A folder as Waggle's, but for what is in its pictures."""
    for name in ("image", "gt_image"):
        (folder / name).mkdir(parents=True)
    path = folder / "config.list"
    path.write_text(json.dumps(CONFIG_LIST))
    return path


def test_a_config_list_gives_way_to_what_is_said_beside_it(tmp_path: Path) -> None:
    path = write_waggle(tmp_path / "storage")
    (tmp_path / "segaway.toml").write_text("epochs = 3\ncrop = 64\n[train]\nmomentum = 0.1\n")
    asked = ask(load(tmp_path, "weight_decay=0", config_list=path, crop=600))
    assert (asked["steps"], asked["epochs"]) == (8000, None)
    assert (asked["crop"], asked["momentum"], asked["weight_decay"]) == (600, 0.99, 0.0)
    assert (asked["loss"], asked["lr"]) == ("cross_entropy_sum", 1e-10)
    shorter = ask(load(tmp_path, config_list=path, minutes=2.0))
    assert (shorter["steps"], shorter["minutes"]) == (None, 2.0)


def test_a_config_list_in_the_file_gives_way_to_the_rest_of_it(tmp_path: Path) -> None:
    path = write_waggle(tmp_path / "storage")
    text = f"config_list = {json.dumps(str(path))}\ncrop = 64\n[train]\nmomentum = 0.1\n"
    (tmp_path / "segaway.toml").write_text(text)
    asked = ask(load(tmp_path))
    assert (asked["crop"], asked["momentum"], asked["steps"]) == (64, 0.1, 8000)


def test_the_notes_on_a_config_list_count_with_the_crop_that_is_taken(tmp_path: Path) -> None:
    path = write_waggle(tmp_path / "storage")
    notes = describe_config_list(load(tmp_path, config_list=path, crop=600))
    assert "360,000 pixels a step" in notes[0]
    assert describe_config_list(load(tmp_path)) == []


def test_a_config_list_that_is_not_used_is_hinted_at(tmp_path: Path) -> None:
    path = write_waggle(tmp_path / "raw" / "storage")
    settings = load(tmp_path)
    (hint,) = hint_config_list(tmp_path / "raw", settings)
    assert f"--config-list {path}" in hint
    used = load(tmp_path, config_list=path)
    assert hint_config_list(tmp_path / "raw", used) == []
    assert hint_config_list(tmp_path / "other", settings) == []


def test_a_config_list_that_makes_no_sense_is_a_usage_error(laptop: Laptop, skies: Path) -> None:
    path = laptop.folder / "config.list"
    path.write_text('{"fcn": "18"}')
    answer = laptop.run("run", skies, "--config-list", path)
    assert (answer.code, laptop.home.exists()) == (2, False)
    assert "fcn is '18'" in answer.err


def read_commands() -> list[list[str]]:
    """Every `segaway run` of the page that begins a run."""
    lines = re.findall(r"^segaway run .*$|`segaway run [^`]*`", PAGE.read_text(), re.MULTILINE)
    return [words for line in lines if "--resume" not in (words := shlex.split(line.strip("`")))]


@pytest.mark.parametrize("words", read_commands(), ids=lambda words: " ".join(words[2:5]))
def test_the_commands_of_the_page_are_trainings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_waggle(tmp_path / "storage")
    flags = load_command("run").make_context("run", words[2:]).params
    given = {key: value for key, value in flags.items() if key in {*TRAINING_KEYS, "set"}}
    monkeypatch.setenv("STATUS_URL", "https://example.org")
    settings = load_settings(given, tmp_path, {})
    check_training(settings)
    assert read_training(settings).model == settings.model


def test_the_page_has_a_command_for_each_of_the_five_projects() -> None:
    table = PAGE.read_text().partition("| what you had |")[2].partition("\n\n")[0]
    assert len(re.findall(r"\| `segaway run [^`]*` \|", table)) == 5
    assert len(read_commands()) >= 7

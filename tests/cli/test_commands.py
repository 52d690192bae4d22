"""Settings, help, completion, and what a laptop without torch can do."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from cli import config, session
from cli.checkup import find_claims
from cli.config import Settings, list_table_keys, load_settings
from cli.errors import ConfigError
from cli.main import list_commands, read_summary
from cli.template import make_template
from provision.base import make_label
from provision.sshnode import find_processes
from tests.conftest import TINY, Laptop
from tests.docs import pages

ROOT = Path(__file__).parent.parent.parent
BARE = ROOT / ".venv-laptop" / "bin" / "segaway"


def test_flags_go_before_environment_before_file_before_defaults(tmp_path: Path) -> None:
    (tmp_path / "segaway.toml").write_text("crop = 64\nbatch = 2\nseed = 1\n")
    environ = {"SEGAWAY_BATCH": "3", "SEGAWAY_SEED": "2", "SEGAWAY_HOME": "/x"}
    found = load_settings({"seed": 4, "model": None}, tmp_path, environ)
    assert (found.crop, found.batch, found.seed, found.model) == (64, 3, 4, "resunet")


def test_minutes_take_the_files_epochs_back(tmp_path: Path) -> None:
    (tmp_path / "segaway.toml").write_text("epochs = 5\n")
    found = load_settings({"minutes": 2.0}, tmp_path, {})
    assert (found.epochs, found.minutes) == (None, 2.0)
    with pytest.raises(ConfigError, match="exclude each other"):
        load_settings({"minutes": 2.0, "epochs": 1}, tmp_path, {})


@pytest.mark.parametrize(
    ("text", "environ", "message", "fix"),
    [
        ("epoch = 3", {}, "Unknown key 'epoch' in segaway.toml", "Did you mean 'epochs'?"),
        (
            "",
            {"SEGAWAY_CORP": "3"},
            "Unknown key 'corp' in the environment",
            "Did you mean 'crop'?",
        ),
        ("batch = 0", {}, "batch = 0 in segaway.toml", "Images per optimiser step"),
        ("batch = ", {}, "segaway.toml cannot be read", "segaway init"),
    ],
)
def test_bad_settings_are_named(
    tmp_path: Path, text: str, environ: dict[str, str], message: str, fix: str
) -> None:
    (tmp_path / "segaway.toml").write_text(text)
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        load_settings({}, tmp_path, environ)
    assert fix in caught.value.fix


def test_a_bad_setting_is_a_usage_error(laptop: Laptop) -> None:
    assert laptop.run("run", "x.tar", "--batch", "0").code == 2
    assert laptop.run("run").code == 2
    assert laptop.run("run", "--no-such-flag").code == 2
    answer = laptop.run("runn")
    assert answer.code == 2
    assert "Did you mean 'run'" in answer.err


def test_an_unknown_cloud_or_model_is_named(laptop: Laptop, skies: Path) -> None:
    for flags, message in (
        (("--on", "lokal"), "There is no cloud 'lokal'"),
        (("--model", "unet9"), "There is no model 'unet9'"),
    ):
        answer = laptop.run("run", skies, *flags, "--dry-run")
        assert answer.code == 1
        assert message in answer.err


def test_init_writes_what_can_be_read_back(laptop: Laptop) -> None:
    assert laptop.good("init")["files"] == ["segaway.toml", "segaway.schema.json"]
    text = (laptop.folder / "segaway.toml").read_text()
    lines = [line.removeprefix("# ") for line in text.splitlines()]
    keys = [line for line in lines if re.match(r"\w+ = |\[", line)]
    given = tomllib.loads("\n".join(keys))
    assert set(given) == set(Settings.model_fields)
    assert set(given["train"]) == set(list_table_keys())
    # Each is an alternative of another, or has no default that could be shown.
    kept = [key for key in keys if not key.startswith(("minutes", "steps", "config_list"))]
    (laptop.folder / "segaway.toml").write_text("\n".join(kept))
    assert load_settings({}, laptop.folder, {}).crop == 256
    (laptop.folder / "segaway.toml").write_text(text)
    schema = json.loads((laptop.folder / "segaway.schema.json").read_text())
    assert set(schema["properties"]) == set(Settings.model_fields)
    answer = laptop.run("init")
    assert answer.code == 1
    assert "Fix: segaway init --force" in answer.err
    assert make_template() == text


@pytest.mark.parametrize("name", list_commands())
def test_every_command_has_help_json_and_a_dry_run(name: str) -> None:
    command = [sys.executable, "-m", "cli.main", name, "--help"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "--json" in text
    assert "--dry-run" in text
    assert read_summary(name).endswith(".")


def test_the_written_pages_are_true() -> None:
    for path, text in pages().items():
        assert path.read_text() == text, f"{path} is stale: make format"


def test_the_commands_of_the_readme_exist() -> None:
    text = (ROOT / "README.md").read_text()
    named = re.findall(r"^(?:\$ )?segaway ([a-z]+)", text, re.MULTILINE)
    assert len(set(named)) >= 10
    assert set(named) <= set(list_commands())
    flags = set(re.findall(r"segaway .*?(--[a-z-]+)", text))
    known = (ROOT / "docs" / "commands.md").read_text()
    assert all(flag in known for flag in flags)


def complete(laptop: Laptop, line: str) -> str:
    environment = {
        **laptop.environment,
        "_SEGAWAY_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(line.split(" ")) - 1),
    }
    result = subprocess.run(
        [laptop.program],
        env=environment,
        cwd=laptop.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return result.stdout


def test_the_shell_completes_commands_runs_and_datasets(laptop: Laptop, skies: Path) -> None:
    assert "separate" in complete(laptop, "segaway se")
    (laptop.folder / "clouds.tar").touch()
    (laptop.folder / "notes.txt").touch()
    assert complete(laptop, "segaway run ").split() == ["clouds.tar"]
    assert complete(laptop, "segaway run --on ").split() == ["linode", "local"]
    laptop.good("extract", skies, "--to", "raw")
    laptop.good("separate", "raw", "--to", "data")
    run = laptop.good("provision", "--dataset", "data")["run"]
    assert run in complete(laptop, "segaway attach ")
    laptop.good("down", run)


def test_doctor_finds_what_is_missing(laptop: Laptop) -> None:
    assert {check["name"] for check in laptop.good("doctor")} >= {"torch", "loopback", "Python"}
    (laptop.folder / "segaway.toml").write_text("epoch = 1")
    answer = laptop.run("doctor")
    assert answer.code == 1
    assert "Fix: Did you mean 'epochs'?" in answer.err


def test_nobody_else_claims_our_package_names() -> None:
    assert find_claims() == {}


def test_runs_and_labels_fit_every_cloud() -> None:
    for name in ("VOC 2012, all of it -- really", "ü", "", "-a-", "x" * 99):
        run = session.make_run_id(name)
        for kind in ("node", "volume"):
            label = make_label(run, kind)
            assert re.fullmatch(r"[a-z](?:(?!--)[a-z0-9-]){2,31}", label)


def test_no_secret_of_the_laptop_reaches_the_node(laptop: Laptop, skies: Path) -> None:
    laptop.environment["LINODE_TOKEN"] = "very-secret"
    laptop.good("extract", skies, "--to", "raw")
    laptop.good("separate", "raw", "--to", "data")
    run = laptop.good("provision", "--dataset", "data")["run"]
    (node,) = find_processes(f"segaway-{run}-node")
    assert "LINODE_TOKEN" not in node.environ()
    laptop.good("down")


def imported(arguments: list[str], folder: Path) -> set[str]:
    """What a command line leaves in sys.modules."""
    script = (
        "import sys, json, runpy\n"
        "sys.argv = ['segaway', *sys.argv[1:]]\n"
        "import atexit\n"
        "atexit.register(lambda: open('modules', 'w').write(json.dumps(list(sys.modules))))\n"
        "from cli.main import main\n"
        "main()"
    )
    environment = {**os.environ, "SEGAWAY_HOME": str(folder / "home")}
    subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        check=False,
    )
    return {name.partition(".")[0] for name in json.loads((folder / "modules").read_text())}


def test_no_laptop_command_imports_torch(laptop: Laptop, skies: Path) -> None:
    commands = [
        ["--help"],
        ["extract", str(skies), "--to", "raw"],
        ["separate", "raw", "--to", "data"],
        ["provision", "--dataset", "data"],
        ["sync"],
        ["train", *TINY],
        ["attach"],
        ["logs"],
        ["status"],
        ["fetch"],
        ["down"],
        ["runs"],
        ["doctor"],
        ["init"],
        ["run", str(skies), *TINY],
    ]
    for arguments in commands:
        modules = imported(arguments, laptop.folder)
        assert not modules & {"torch", "torchvision"}, arguments
        if arguments == ["--help"]:
            assert not modules & {"linode_api4", "boto3", "asyncssh", "fabric", "pydantic"}
    assert laptop.good("status", laptop.good("runs")[0]["run"])["state"] == "done"


@pytest.mark.skipif(not BARE.exists(), reason="make test builds .venv-laptop, this run did not")
def test_a_laptop_without_torch_does_everything_but_train(tmp_path: Path, skies: Path) -> None:
    laptop = Laptop(tmp_path, BARE)
    probe = [str(BARE.parent / "python"), "-c", "import torch"]
    assert subprocess.run(probe, capture_output=True, check=False).returncode == 1
    laptop.good("extract", skies, "--to", "raw")
    laptop.good("separate", "raw", "--to", "data")
    laptop.good("run", "data", "--dry-run")
    run = laptop.good("provision", "--dataset", "data")["run"]
    laptop.good("sync", run)
    answer = laptop.run("train", run)
    assert answer.code == 3
    assert "python3 lacks torch" in answer.err
    assert "pip install 'segaway[train]'" in answer.err
    laptop.good("down", run)
    answer = laptop.run("run", "data")
    assert answer.code == 1
    assert "Still there" not in answer.err
    assert not laptop.cloud.find_all()


def test_home_is_where_it_is_said_to_be() -> None:
    assert config.find_home({"SEGAWAY_HOME": "/somewhere"}) == Path("/somewhere")
    assert config.find_home({}).name == "segaway"

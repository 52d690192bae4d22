"""A plan that is saved, looked at, and applied as it stands."""

import json
import time
from pathlib import Path
from typing import Any

from cli import flow
from cli.config import Settings, find_home
from cli.console import Console
from cli.errors import ConfigError
from cli.launch import conclude, open_run
from cli.planning import Plan
from cli.preparation import describe_preparation, plan_preparation, prepare_dataset
from cli.preview import plan_dry, preview_run, show_preview
from cli.session import make_run_id, open_ledger
from cli.training import check_training
from provision.base import PlanError
from provision.clouds import open_cloud
from provision.plan import HOUR_S
from train.data.dataset import load_dataset

VERSION = 1


def show_plan(source: Path | None, settings: Settings, console: Console, name: str | None) -> None:
    """A run's plan: as the dry run shows it, or with --json as `apply_plan` wants it."""
    if source is None:
        raise ConfigError("Give a DATASET.", fix="segaway plan --help")
    home = find_home()
    check_training(settings)
    preparation = plan_preparation(source, settings, home)
    if not console.as_json:
        return show_preview(preview_run(preparation, settings, home, name), console)
    _, size = describe_preparation(preparation)
    done = preparation.is_done
    fingerprint = load_dataset(preparation.folder).fingerprint if done else ""
    run_id = make_run_id(name or preparation.name)
    made = plan_dry(settings, home, run_id, size, fingerprint)
    console.answer(
        {
            "version": VERSION,
            "dataset": str(source.absolute()),
            "settings": settings.model_dump(mode="json", exclude_none=True),
            "worst_case_usd": made.worst_case_usd,
            "plan": made.as_json(),
        }
    )
    return None


def apply_plan(path: Path, console: Console, detach: bool, dry_run: bool) -> None:
    """The whole job, with the requests of the plan in that file.

    Raises:
        ConfigError: the file is no plan.
        PlanError: the plan is too old, or was applied already.
    """
    source, settings, made = read_plan(path)
    check_training(settings)
    _refuse_stale(made, settings)
    if dry_run:
        console.say("Dry run: nothing is done.")
        console.answer(made.as_json())
        for request in made.requests:
            console.say(f"{request.action}: {dict(request.body)}")
        return
    preparation = plan_preparation(source, settings, find_home())
    dataset = prepare_dataset(preparation, console)
    with open_ledger() as ledger:
        if any(run.id == made.run for run in ledger.runs()):
            raise PlanError(
                f"The plan of {made.run} was applied already.",
                fix=f"segaway run --resume {made.run}, or segaway plan DATASET --json for another.",
            )
        session = open_run(ledger, preparation.folder, dataset, settings, console, made)
        flow.carry_out(session, detach)
        conclude(session)


def read_plan(path: Path) -> tuple[Path, Settings, Plan]:
    """The dataset, the settings and the plan that `show_plan` wrote.

    Raises:
        ConfigError: the file is something else.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text())
        if content["version"] != VERSION:
            raise ValueError(f"version {content['version']}")
        plan = Plan.from_json(content["plan"])
        return Path(content["dataset"]), Settings.model_validate(content["settings"]), plan
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path} is not a plan that this segaway wrote: {error}.",
            fix="segaway plan DATASET --json > plan.json",
        ) from error


def _refuse_stale(made: Plan, settings: Settings) -> None:
    """Its deadline counts from when it was made, and its prices are of then."""
    fix = "Plan anew: segaway plan DATASET --json."
    left_h = (made.deadline_s - time.time()) / HOUR_S
    if left_h < min(1.0, made.choice.lifetime_s / HOUR_S / 2):
        raise PlanError(
            f"The plan's deadline is in {left_h:.1f} hours. Nothing was created.", fix=fix
        )
    cloud = open_cloud(settings.on, find_home(), settings.model_dump())
    known = {(o.region, o.plan): o for o in cloud.offers()}
    for choice in made.choices:
        now = known.get((choice.offer.region, choice.offer.plan))
        if now is None:
            continue
        for what, old, new in (
            (choice.offer.plan, choice.offer.usd_per_hour, now.usd_per_hour),
            (
                "a GiB of a volume",
                choice.offer.volume_usd_per_gib_hour,
                now.volume_usd_per_gib_hour,
            ),
        ):
            if old != new:
                raise PlanError(
                    f"{what} in {choice.offer.region} is {_say(new)} by now, not {_say(old)}. "
                    "Nothing was created.",
                    fix=fix,
                )


def _say(usd_per_hour: float | None) -> str:
    return "of unknown price" if usd_per_hour is None else f"{usd_per_hour:g} USD per hour"

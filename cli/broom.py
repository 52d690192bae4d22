"""What of ours is on a cloud, whose it is, and the end of what is nobody's."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cli.config import Settings, find_home, load_settings
from cli.consent import ask
from cli.console import Console, format_duration
from cli.errors import CliError
from cli.session import open_ledger
from cli.shelf import forget
from provision.base import DESTROY_ORDER, Item, Node, ProvisionError, Volume
from provision.clouds import open_cloud
from provision.ledger import Ledger
from provision.plan import TEARDOWN_S

# What has no deadline is left alone so long: its run may be about to make more.
YOUNG_S = 3600.0


@dataclass(frozen=True)
class Finding:
    """Something of ours; `why` it may go, empty where it is to stay."""

    item: Item
    status: str
    why: str

    def as_json(self) -> dict[str, Any]:
        item = self.item
        return {
            "kind": item.kind,
            "label": item.label,
            "run": item.run,
            "usd_per_hour": item.usd_per_hour,
            "deadline_s": item.deadline_s,
            "status": self.status,
            "is_stale": bool(self.why),
        }


def judge_all(items: Sequence[Item], ledger: Ledger, now_s: float) -> list[Finding]:
    """What lives by a deadline that is to come, here or on its own label, stays; data stays."""
    live = {run.id for run in ledger.runs() if run.is_open and now_s < run.deadline_s + TEARDOWN_S}
    live |= _find_living(items, now_s)
    kept = {resource.label for resource in ledger.kept_resources()}
    return [_judge(item, live, kept, now_s) for item in items]


def _find_living(items: Sequence[Item], now_s: float) -> set[str]:
    """The runs of other machines: their nodes tell their deadlines, and before these their tokens.

    One that has neither may just be in the making.
    """
    runs: dict[str, list[Item]] = {}
    for item in items:
        runs.setdefault(item.run, []).append(item)
    return {run for run, own in runs.items() if _is_living(own, now_s)}


def _is_living(items: Sequence[Item], now_s: float) -> bool:
    nodes = [item for item in items if isinstance(item, Node)]
    deadlines = [item.deadline_s for item in nodes or items if item.deadline_s]
    if deadlines:
        return now_s < max(deadlines) + TEARDOWN_S
    return now_s < max(item.created_s or 0.0 for item in items) + YOUNG_S


def _judge(item: Item, live: set[str], kept: set[str], now_s: float) -> Finding:
    if isinstance(item, Volume) and (item.data or item.label in kept):
        return Finding(item, "in use" if item.node else "kept, with data", "")
    if item.run in live:
        return Finding(item, "live", "")
    if item.deadline_s and item.deadline_s < now_s:
        late = format_duration(now_s - item.deadline_s)
        return Finding(item, f"past its deadline, {late}", "past its deadline")
    return Finding(item, "of no run that lives", "of no run that lives")


def find_ours(ledger: Ledger, settings: Settings) -> list[Finding]:
    """What is ours on the settings' cloud and on those of open runs."""
    names = {settings.on, *(run.cloud for run in ledger.runs() if run.is_open)}
    clouds = [open_cloud(name, find_home(), settings.model_dump()) for name in sorted(names)]
    items = [item for cloud in clouds for item in cloud.find_all()]
    return judge_all(items, ledger, time.time())


def sweep_cloud(on: str | None, console: Console, is_agreed: bool, dry_run: bool) -> None:
    """List what is ours; destroy what is stale, where somebody agrees, and see it gone.

    Raises:
        CliError: nobody agreed, or something is still there: then it says what, and its price.
    """
    settings = load_settings({"on": on})
    cloud = open_cloud(settings.on, find_home(), settings.model_dump())
    with open_ledger() as ledger:
        found = judge_all(cloud.find_all(), ledger, time.time())
        stale = [finding for finding in found if finding.why]
        show_findings(found, console)
        if not stale or dry_run:
            said = "Dry run: nothing is done." if dry_run else f"Nothing stale on {cloud.name}."
            console.say(said)
            return _answer(console, found, [])
        if not is_agreed and not ask(f"Destroy these {len(stale)}?", console):
            raise CliError(
                f"Nothing was destroyed; {_price(stale)}.",
                fix=f"segaway sweep --on {cloud.name} --yes destroys them.",
            )
        gone: list[Finding] = []
        failed: list[Finding] = []
        for kind in DESTROY_ORDER:
            for finding in stale:
                if finding.item.kind == kind:
                    (failed if _destroy(cloud, ledger, finding, console) else gone).append(finding)
        _answer(console, found, gone)
    if failed:
        names = ", ".join(finding.item.label for finding in failed)
        raise CliError(
            f"Still there: {names}; {_price(failed)}.",
            fix=f"segaway sweep --on {cloud.name} --yes tries again.",
        )
    return None


def _destroy(cloud: Any, ledger: Ledger, finding: Finding, console: Console) -> bool:
    """Whether it is still there."""
    item = finding.item
    try:
        cloud.destroy(item.kind, item.label)
    except ProvisionError as error:
        console.say(f"{item.label}: {error}")
        return True
    # In the record here it has the label that it was made under.
    for label in {item.label, item.label.removesuffix(f"-{_suffix(item.label)}")}:
        forget(ledger, label)
    console.say(f"{item.label} is gone.")
    return False


def _suffix(label: str) -> str:
    return label.rpartition("-")[2]


def show_findings(found: Sequence[Finding], console: Console) -> None:
    """The same for people."""
    rows = [
        [f.item.kind, f.item.label, _say_price(f.item.usd_per_hour), f.status]
        for f in sorted(found, key=lambda f: (f.item.run, f.item.kind))
    ]
    if rows and not console.as_json:
        console.table(["kind", "label", "USD per hour", "status"], rows)


def _answer(console: Console, found: Sequence[Finding], gone: Sequence[Finding]) -> None:
    destroyed = [finding.item.label for finding in gone]
    console.answer({"found": [finding.as_json() for finding in found], "destroyed": destroyed})


def _price(findings: Sequence[Finding]) -> str:
    usd = sum(finding.item.usd_per_hour or 0.0 for finding in findings)
    return f"they bill {usd:.2f} USD per hour"


def _say_price(usd_per_hour: float | None) -> str:
    return "unknown" if usd_per_hour is None else f"{usd_per_hour:.3f}"

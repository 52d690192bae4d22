"""A deadline that moves: the node's guard is never without a token that is good."""

import contextlib
from pathlib import Path
from typing import Any

import pytest

from cli import extension, session
from cli.errors import RunError
from cli.extension import extend_run
from cli.orders import make_order
from cli.session import Session
from provision.base import Item, Node, Order, Request, Token
from provision.plan import Rate
from remote.errors import Unreachable
from tests.cli.conftest import RUN, Listener, Open
from tests.fakes.billing import Clock


class TokenCloud:
    """A cloud with a node; it mints. `good` are the secrets that it takes."""

    def __init__(self) -> None:
        self.tokens: dict[str, str] = {}
        self.sent_deadline_s = 0.0
        self.has_node = True
        self.may_mint = True

    @property
    def good(self) -> set[str]:
        return set(self.tokens.values())

    def find_node(self, label: str) -> Node | None:
        return Node(id="1", label=label, state="running") if self.has_node else None

    def warnings(self, order: Order) -> list[str]:
        return [] if self.may_mint else ["It cannot destroy itself."]

    def requests(self, order: Order) -> list[Request]:
        node = Request("node", order.label("node"), "make", {"deadline_s": order.deadline_s})
        token = self.renewal(order)
        return [token, node] if token else [node]

    def renewal(self, order: Order) -> Request | None:
        return Request("token", order.label("token"), "mint", {}) if self.may_mint else None

    def create(self, request: Request, values: Any) -> Item:
        secret = f"secret {len(self.tokens)}"
        self.tokens[request.label] = secret
        return Token(id=secret, label=request.label, secret=secret)

    def destroy(self, kind: str, label: str) -> None:
        self.tokens.pop(label, None)

    def extend(self, order: Order) -> None:
        self.sent_deadline_s = order.deadline_s


class Scene:
    """A run whose node has a guard, which has a token."""

    def __init__(self, run: Session, cloud: TokenCloud) -> None:
        self.run, self.cloud = run, cloud
        self.held = ""
        self.is_reply_lost = False

    def move_guard(self, _run: object, _host: object, _s: float, token: str, _say: object) -> None:
        self.held = token or self.held
        if self.is_reply_lost:
            raise Unreachable("The line is dead.")

    def extend(self, hours: float, cap: float | None = None) -> None:
        extend_run(RUN, hours, cap, self.run.console, dry_run=False)


@pytest.fixture
def scene(open_run: Open, monkeypatch: pytest.MonkeyPatch) -> Scene:
    cloud, run = TokenCloud(), open_run(node={"guard": "guard.py", "root": "/mnt"})
    scene = Scene(run, cloud)
    monkeypatch.setattr(session, "open_cloud", lambda *_: cloud)
    monkeypatch.setattr(extension, "open_session", lambda *_: contextlib.nullcontext(run))
    monkeypatch.setattr(extension, "connect", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(extension, "move_guard", scene.move_guard)
    node = run.ledger.intend(RUN, "node", run.label("node"), 1.0)
    run.ledger.confirm(node, "1")
    label = make_order(run).label("token")
    resource = run.ledger.intend(RUN, "token", label, 0.0)
    run.ledger.confirm(resource, "secret")
    scene.held = cloud.tokens[label] = "first secret"
    return scene


def list_tokens(scene: Scene) -> set[str]:
    """Those that the record knows of."""
    return {r.label for r in scene.run.ledger.live_resources(RUN) if r.kind == "token"}


def test_there_is_one_token_after_a_move_and_the_guard_has_it(scene: Scene) -> None:
    scene.extend(2)
    assert scene.cloud.good == {scene.held}
    assert list_tokens(scene) == set(scene.cloud.tokens)
    assert scene.cloud.sent_deadline_s == scene.run.run.deadline_s


def test_a_token_that_the_guard_may_have_is_good_until_it_has_another(scene: Scene) -> None:
    """The reply to the first try was lost, and the second does not get through."""
    scene.is_reply_lost = True
    with pytest.raises(Unreachable):
        scene.extend(2)
    scene.is_reply_lost = False
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(extension, "connect", _refuse)
        with pytest.raises(Unreachable):
            scene.extend(2)
    assert scene.held in scene.cloud.good
    scene.extend(2)
    assert scene.cloud.good == {scene.held}
    assert list_tokens(scene) == set(scene.cloud.tokens)


def _refuse(_run: object) -> None:
    raise Unreachable("The line is dead.")


def test_a_move_within_the_same_minute_leaves_the_guard_its_token(scene: Scene) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(extension, "connect", _refuse)
        with pytest.raises(Unreachable):
            scene.extend(0.001)
    assert scene.held in scene.cloud.good


def test_where_no_token_can_be_minted_the_guard_keeps_its_own_and_that_is_said(
    scene: Scene,
) -> None:
    scene.cloud.may_mint = False
    scene.extend(2)
    assert scene.cloud.good == {scene.held}
    assert isinstance(scene.run.console, Listener)
    assert "Warning: It cannot destroy itself." in scene.run.console.heard


def test_a_node_that_is_yet_to_be_rented_is_rented_until_the_new_deadline(
    scene: Scene, clock: Clock, tmp_path: Path
) -> None:
    scene.run.update(requests=[])
    scene.cloud.has_node = False
    scene.extend(2)
    (node,) = (r for r in scene.run.record["requests"] if r["kind"] == "node")
    assert node["body"]["deadline_s"] == scene.run.run.deadline_s


def test_a_cap_in_dollars_needs_a_price_that_is_known(scene: Scene) -> None:
    plan = {**scene.run.record["plan"], "rate": vars(Rate(0.0, 0.0, is_known=False))}
    scene.run.update(plan=plan)
    with pytest.raises(RunError, match="--max-cost cannot be kept with a price that is unknown"):
        scene.extend(2, cap=5)


def test_what_the_cap_does_not_allow_is_refused_with_what_it_allows(scene: Scene) -> None:
    before = scene.run.run.deadline_s
    with pytest.raises(RunError, match=r"up to 14\.30 USD; --max-cost is 13\.20") as caught:
        scene.extend(2, cap=13.2)
    assert "--max-cost 14.30" in caught.value.fix
    assert scene.run.run.deadline_s == before
    assert "up to 1.0 hours more are within the cap" in caught.value.fix
    scene.extend(1, cap=13.2)

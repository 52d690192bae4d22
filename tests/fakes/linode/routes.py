"""Which handler answers which request, and what its token must be allowed."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.linode.faults import Fault
from tests.fakes.linode.rules import ApiError, check_tags
from tests.fakes.linode.state import State, Token

ANY = ""
PARAMETER = {"image": r"(?P<image>(?:linode|private|shared)/[^/]+|[^/]+)"}


@dataclass
class Call:
    """One request, as its handler sees it. `token` is None where the endpoint is public."""

    state: State
    token: Token | None
    body: dict[str, Any]
    args: dict[str, str] = field(default_factory=dict)
    faults: dict[str, Fault] = field(default_factory=dict)

    def number(self, name: str = "id") -> int:
        """A number out of the path; one that nothing has where it is none."""
        return int(self.args[name]) if self.args[name].isdigit() else -1

    def read_tags(self) -> list[str]:
        """The tags of the body, which restricted users may not send."""
        tags = check_tags(self.body.get("tags"))
        if tags and self.state.options.restricted:
            raise ApiError(403, "Unauthorized", "tags")
        self.state.tags.update(tags)
        return tags


Handler = Callable[[Call], Any]


@dataclass(frozen=True)
class Route:
    """One operation. `limit` is so many calls in so many seconds."""

    method: str
    pattern: "re.Pattern[str]"
    scopes: tuple[str, ...]
    handler: Handler
    is_public: bool = False
    limit: tuple[int, int] = (1600, 60)


ROUTES: list[Route] = []


def route(
    method: str, path: str, *scopes: str, public: bool = False, limit: tuple[int, int] = (1600, 60)
) -> Callable[[Handler], Handler]:
    """Register the handler of `METHOD path`; `{name}` in the path is an argument."""
    text = re.sub(
        r"\{(\w+)\}", lambda found: PARAMETER.get(found[1], f"(?P<{found[1]}>[^/]+)"), path
    )

    def register(handler: Handler) -> Handler:
        pattern = re.compile(f"{text}/?")
        ROUTES.append(Route(method, pattern, scopes, handler, public, limit))
        return handler

    return register


def find_route(method: str, path: str) -> tuple[Route, dict[str, str]]:
    """The operation. Raises the API's 404 and 405."""
    others = False
    # The route that names more of the path goes first: /regions/availability is no region.
    for found in sorted(ROUTES, key=lambda one: one.pattern.groups):
        if match := found.pattern.fullmatch(path):
            if found.method == method:
                return found, match.groupdict()
            others = True
    raise ApiError(405, "Method Not Allowed") if others else ApiError(404, "Not found")

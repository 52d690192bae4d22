"""What stands before each handler: the token, its scopes, and how often it may ask."""

from collections import defaultdict, deque
from collections.abc import Callable

from tests.fakes.linode.routes import Route
from tests.fakes.linode.rules import NOT_AUTHORIZED, ApiError
from tests.fakes.linode.state import State, Token


def find_caller(state: State, route: Route, authorization: str | None) -> Token | None:
    """Whose request it is; None for anybody's. Raises the API's 401."""
    if authorization is None and route.is_public:
        return None
    kind, _, secret = (authorization or "").partition(" ")
    token = state.find_token(secret.strip()) if kind == "Bearer" else None
    if token is None:
        raise ApiError(401, "Invalid Token")
    if not all(token.allows(scope) for scope in route.scopes if scope):
        raise ApiError(401, NOT_AUTHORIZED)
    return token


class RateLimits:
    """How many requests each caller has made of late."""

    def __init__(self, clock: Callable[[], float], are_enforced: bool) -> None:
        self._clock, self._are_enforced = clock, are_enforced
        self._recent: dict[tuple[str, str], deque[float]] = defaultdict(deque)

    def count(self, route: Route, caller: str) -> tuple[dict[str, str], bool]:
        """The headers that tell how much is left, and whether this one is too many."""
        most, window_s = route.limit
        is_own = route.limit != (1600, 60)
        recent = self._recent[caller, f"{route.method} {route.pattern.pattern}" if is_own else ""]
        now = self._clock()
        while recent and recent[0] <= now - window_s:
            recent.popleft()
        is_refused = self._are_enforced and len(recent) >= most
        if not is_refused:
            recent.append(now)
        reset = int((recent[0] if recent else now) + window_s) + 1
        headers = {
            "X-RateLimit-Limit": str(most),
            "X-RateLimit-Remaining": str(max(0, most - len(recent))),
            "X-RateLimit-Reset": str(reset),
        }
        if is_refused:
            headers["Retry-After"] = str(max(1, reset - int(now)))
        return headers, is_refused

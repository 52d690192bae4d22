"""What the API refuses, and in which words."""

import base64
import binascii
import re
from typing import Any

INSTANCE_LABEL = r"[a-zA-Z]((?!--|__|\.\.)[a-zA-Z0-9-_.])+"
VOLUME_LABEL = r"[a-zA-Z]((?!--|__)[a-zA-Z0-9-_])+"
NO_CAPACITY = (
    "The Linode plan you chose is not currently available in the selected region. "
    "Please select another region or plan type, or contact Support for assistance."
)
LIMITS = (
    "A limit on your account is preventing the deployment of the selected Linode plan. To request "
    "access to the plan, please contact Support and provide the Linode plan name.",
    "Account Limit reached. Please open a support ticket.",
)
BUSY = "Linode busy."
NOT_AUTHORIZED = "Your OAuth token is not authorized to use this endpoint."
NO_CREDENTIALS = "Must provide valid root_pass, authorized_keys, or authorized_users"
MAX_USER_DATA = 65535
KEY_KINDS = ("ssh-rsa ", "ssh-dss ", "ssh-ed25519 ", "ecdsa-sha2-nistp", "sk-")


class ApiError(Exception):
    """An answer that is a refusal."""

    def __init__(
        self, status: int, reason: str, field: str = "", headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(reason)
        self.status, self.reason, self.field = status, reason, field
        self.headers = headers or {}

    @property
    def body(self) -> dict[str, Any]:
        """As it is sent."""
        found = {"field": self.field} if self.field else {}
        return {"errors": [{**found, "reason": self.reason}]}


def refuse(field: str, reason: str = "") -> ApiError:
    """400, about one field."""
    return ApiError(400, reason or f"{field} is not valid", field)


def not_found() -> ApiError:
    """404."""
    return ApiError(404, "Not found")


def pick(table: dict[Any, Any], key: Any) -> Any:
    """What the table has under the key. Raises the API's 404."""
    if key not in table:
        raise not_found()
    return table[key]


def check_label(value: object, pattern: str, least: int, most: int) -> str:
    """A label of that pattern and length."""
    if not isinstance(value, str) or not least <= len(value) <= most:
        raise refuse("label", f"Length must be {least}-{most} characters")
    if not re.fullmatch(pattern, value) or not value[-1].isalnum():
        raise refuse(
            "label",
            "Label must begin with a letter and may only consist of letters, numbers, dashes, "
            "underscores and periods, none of them twice in a row",
        )
    return value


def check_tags(value: object) -> list[str]:
    """Tags, each of them 3 to 50 characters."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise refuse("tags", "tags must be a list")
    for tag in value:
        if not isinstance(tag, str) or not 3 <= len(tag) <= 50:
            raise refuse("tags", "Length must be 3-50 characters")
    return list(dict.fromkeys(value))


def check_integer(body: dict[str, Any], field: str, default: int | None = None) -> int:
    """A whole number; `default` stands for one that is missing or null."""
    value = body.get(field)
    if value is None and default is not None:
        return default
    if value is None:
        raise refuse(field, f"{field} is required")
    if not isinstance(value, int) or isinstance(value, bool):
        raise refuse(field, f"{field} must be of type Integer")
    return value


def check_known(body: dict[str, Any], known: tuple[str, ...]) -> None:
    """No field that the operation does not have."""
    for field in body:
        if field not in known:
            raise refuse(field, f"{field} is not an allowed field")


def check_keys(value: object) -> list[str]:
    """Public SSH keys."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise refuse("authorized_keys", "authorized_keys must be a list")
    for key in value:
        check_key(key, "authorized_keys")
    return [key.strip() for key in value]


def check_key(key: object, field: str) -> str:
    """One public SSH key: a kind, what looks like base64, perhaps a comment."""
    words = key.split() if isinstance(key, str) else []
    if len(words) < 2 or not key or not str(key).lstrip().startswith(KEY_KINDS):
        raise refuse(field, "SSH Key key-type must be one of the following: ssh-rsa, ssh-ed25519")
    if not re.fullmatch(r"[A-Za-z0-9+/]+=*", words[1]):
        raise refuse(field, "SSH Key is not valid base64")
    return str(key)


def check_user_data(value: object) -> bytes | None:
    """The user data, decoded."""
    if value is None:
        return None
    field = "metadata.user_data"
    if not isinstance(value, str):
        raise refuse(field, "user_data must be base64-encoded")
    if len(value) > MAX_USER_DATA:
        raise refuse(field, f"user_data must not exceed {MAX_USER_DATA} bytes")
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error:
        raise refuse(field, "user_data must be base64-encoded") from None

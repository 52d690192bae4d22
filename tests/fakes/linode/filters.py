"""Collections: the X-Filter header, and pages."""

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from tests.fakes.linode.rules import ApiError, refuse

Row = dict[str, Any]
SIZES = (25, 500)
DEFAULT_SIZE = 100


@dataclass(frozen=True)
class Collection:
    """What a handler answers where the API answers in pages."""

    rows: list[Row]
    filterable: tuple[str, ...] = ("id", "label", "tags")


def _contains(value: Any, wanted: Any) -> bool:
    values = value if isinstance(value, list) else [value]
    return any(str(wanted).lower() in str(one).lower() for one in values)


def _equals(value: Any, wanted: Any) -> bool:
    if isinstance(value, list):
        return wanted in value
    return bool(value == wanted)


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def judge(value: Any, wanted: Any) -> bool:
        try:
            return value is not None and compare(value, wanted)
        except TypeError:
            return False

    return judge


OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "+gt": _ordered(lambda value, wanted: value > wanted),
    "+gte": _ordered(lambda value, wanted: value >= wanted),
    "+lt": _ordered(lambda value, wanted: value < wanted),
    "+lte": _ordered(lambda value, wanted: value <= wanted),
    "+neq": lambda value, wanted: not _equals(value, wanted),
    "+contains": _contains,
}


def read_filter(header: str | None) -> Row:
    """The filter of a request; empty where there is none."""
    if not header:
        return {}
    try:
        found = json.loads(header)
    except ValueError:
        raise refuse("X-Filter", "Invalid JSON") from None
    if not isinstance(found, dict):
        raise refuse("X-Filter", "X-Filter must be a JSON object")
    return found


def _look_up(row: Row, field: str) -> Any:
    value: Any = row
    for part in field.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _check_field(field: str, filterable: Iterable[str]) -> None:
    if field not in filterable:
        raise refuse("X-Filter", f"Cannot filter on {field}")


def _compile(found: Any, filterable: tuple[str, ...]) -> Callable[[Row], bool]:
    if not isinstance(found, dict):
        raise refuse("X-Filter", "X-Filter must be a JSON object")
    tests: list[Callable[[Row], bool]] = []
    for key, value in found.items():
        if key in ("+and", "+or"):
            if not isinstance(value, list):
                raise refuse("X-Filter", f"{key} must be a list")
            parts = [_compile(part, filterable) for part in value]
            join = all if key == "+and" else any
            tests.append(lambda row, j=join, p=parts: j(part(row) for part in p))  # type: ignore[misc]
        elif key in ("+order_by", "+order"):
            continue
        else:
            _check_field(key, filterable)
            tests.append(_compile_field(key, value))
    return lambda row: all(test(row) for test in tests)


def _compile_field(field: str, value: Any) -> Callable[[Row], bool]:
    if not isinstance(value, dict):
        return lambda row: _equals(_look_up(row, field), value)
    for name in value:
        if name not in OPERATORS:
            raise refuse("X-Filter", f"Unknown operator {name}")
    return lambda row: all(
        OPERATORS[name](_look_up(row, field), wanted) for name, wanted in value.items()
    )


def select(collection: Collection, found: Row) -> list[Row]:
    """The rows that the filter lets through, in the order that it asks for."""
    keep = _compile(found, collection.filterable)
    rows = [row for row in collection.rows if keep(row)]
    field, order = found.get("+order_by"), found.get("+order", "asc")
    if order not in ("asc", "desc"):
        raise refuse("X-Filter", "+order must be asc or desc")
    if field is not None:
        _check_field(field, collection.filterable)
        # Of what was made in the same second, ids tell the order.
        rows.sort(key=lambda row: (_look_up(row, field), row.get("id", 0)), reverse=order == "desc")
    return rows


def paginate(rows: list[Row], query: dict[str, str]) -> Row:
    """One page, as the API answers it."""
    page, size = _read_number(query, "page", 1), _read_number(query, "page_size", DEFAULT_SIZE)
    if not SIZES[0] <= size <= SIZES[1]:
        raise refuse("page_size", f"Must be {SIZES[0]}-{SIZES[1]}")
    pages = max(1, math.ceil(len(rows) / size))
    if page > pages:
        raise ApiError(404, "Not found")
    part = rows[(page - 1) * size : page * size]
    return {"data": part, "page": page, "pages": pages, "results": len(rows)}


def _read_number(query: dict[str, str], name: str, default: int) -> int:
    text = query.get(name, str(default))
    if not text.isdigit() or int(text) < 1:
        raise refuse(name, f"{name} must be a positive integer")
    return int(text)

"""DuckDB's values as JSON has them, for the answer and for the server's planning."""

import datetime
import json
from collections.abc import Callable, Sequence
from decimal import Context, Decimal
from typing import Any

_EMPTY_DAY = datetime.date(1900, 1, 1)  # what F&O stores where others have no date
# Up to here every whole number is one of JSON's.
_LARGEST_WHOLE = 2**53
_DIGITS = 15  # of a double, whatever the number
WIDE = Context(prec=80)  # decimals have up to 38 digits
_MAX_CONSTANT_CHARS = 4_000
_FETCH_ROWS = 200


def json_rows(result: Any, days: Sequence[int], max_rows: int, max_chars: int) -> tuple[int, bool, bytes]:
    """Return how many rows a result has, whether there are more, and as JSON those that fit into `max_chars`.

    `days` are the places of columns whose times are days.
    """
    kept: list[str] = []
    count = chars = 0
    while rows := result.fetchmany(_FETCH_ROWS):
        for row in rows:
            if count == max_rows:
                return count, True, _listed(kept)
            count += 1
            if chars <= max_chars:
                text = json.dumps(_json_row(row, days), ensure_ascii=False)
                chars += len(text)
                if chars <= max_chars:
                    kept.append(text)
    return count, False, _listed(kept)


def _listed(rows: Sequence[str]) -> bytes:
    return f"[{','.join(rows)}]".encode("utf-8", "replace")


def _json_row(row: Sequence[Any], days: Sequence[int]) -> list[Any]:
    values = [*row]
    for place in days:
        if isinstance(values[place], datetime.datetime):
            values[place] = values[place].date()
    return [_json_value(value) for value in values]


def _json_value(value: Any) -> Any:
    """Return a DuckDB value as JSON has it: a number where JSON's are exact, else its text; no date is null."""
    match value:
        case None | bool() | str():
            return value
        case int():
            return value if abs(value) <= _LARGEST_WHOLE else str(value)
        case Decimal():
            return _number(value)
        case float():
            return float(f"{value:.{_DIGITS}g}") if value - value == 0 else None
        case datetime.datetime():
            return None if value.date() == _EMPTY_DAY else f"{value:%Y-%m-%dT%H:%M:%SZ}"
        case datetime.date():
            return None if value == _EMPTY_DAY else value.isoformat()
        case datetime.time():
            return value.isoformat()
        case list() | tuple():
            return [_json_value(each) for each in value]
        case dict():
            return {str(name): _json_value(each) for name, each in value.items()}
    return str(value)


def _number(value: Decimal) -> int | float | str:
    """Return a decimal as a JSON number, or as text where a double does not hold all of it."""
    if not value.is_finite():
        return str(value)
    short = value.normalize(WIDE)
    if short == short.to_integral_value():
        return int(short) if abs(short) <= _LARGEST_WHOLE else f"{short:f}"
    return float(short) if Decimal(repr(float(short))) == short else f"{short:f}"


def with_type(value: Any) -> list[str] | None:
    """Return a constant's value with its type, for `untyped`; None for one that plans nothing."""
    match value:
        case bool():
            return ["bool", str(value)]
        case int() | Decimal() | float():
            return [type(value).__name__, str(value)]
        case str() if len(value) <= _MAX_CONSTANT_CHARS:
            return ["str", value]
        case datetime.datetime() | datetime.date():
            return [type(value).__name__, value.isoformat()]
    return None


_READERS: dict[str, Callable[[str], Any]] = {
    "bool": lambda text: text == "True",
    "int": int,
    "Decimal": Decimal,
    "float": float,
    "str": str,
    "datetime": datetime.datetime.fromisoformat,
    "date": datetime.date.fromisoformat,
}


def untyped(kind: str, text: str) -> Any:
    """Return the value that `with_type` wrote."""
    return _READERS[kind](text)

"""F&O's types: what a JSON value becomes when it is stored, and what an empty one looks like. Performs no I/O."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID

from d365mcp.simulator.errors import Refusal
from d365mcp.simulator.model import Property

EMPTY_DATE = "1900-01-01T12:00:00Z"
EMPTY_INSTANT = "1900-01-01T00:00:00Z"
EMPTY_GUID = "00000000-0000-0000-0000-000000000000"

_EMPTY: dict[str, object] = {
    "Edm.String": "",
    "Edm.Int32": 0,
    "Edm.Int64": 0,
    "Edm.Decimal": 0,
    "Edm.Boolean": 0,
    "Edm.Guid": EMPTY_GUID,
    "Edm.Binary": None,
}

SQL_TYPES = {
    "Edm.String": "TEXT COLLATE NOCASE",
    "Edm.Int32": "INTEGER",
    "Edm.Int64": "INTEGER",
    "Edm.Decimal": "NUMERIC",  # whole numbers come back as whole numbers, as F&O writes them: 500000, 389.45
    "Edm.Boolean": "INTEGER",
    "Edm.DateTimeOffset": "TEXT",
    "Edm.Guid": "TEXT COLLATE NOCASE",
    "Edm.Binary": "TEXT",
}

# A time needs its offset, which is 14 hours at most.
_INSTANT = re.compile(
    r"\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d{1,12})?)?(Z|[+-](0\d|1[0-3]):[0-5]\d|[+-]14:00))?", re.ASCII
)


class Exponential(float):
    """A JSON number written with an exponent, which OData's reader does not take for a Decimal."""


def empty_value(prop: Property) -> object:
    """What a read answers for a property that was never filled in."""
    if prop.empty_is_null:
        return None
    if prop.enumeration is not None:
        members = prop.enumeration.members
        return min(members, key=lambda name: members[name])
    if prop.edm_type == "Edm.DateTimeOffset":
        return EMPTY_DATE if prop.data_type == "Date" else EMPTY_INSTANT
    return _EMPTY[prop.edm_type]


def stored(prop: Property, value: object) -> object:
    """The stored form of a JSON value, or a refusal in OData's words."""
    if value is None:
        if not prop.nullable:
            raise _null_refused(prop)
        return None if prop.enumeration is not None else empty_value(prop)
    if prop.enumeration is not None:
        if not isinstance(value, str) or value not in prop.enumeration.members:
            raise _not_convertible(prop, value)
        return value
    return _STORED[prop.edm_type](prop, value)


def timestamp(text: str) -> str | None:
    """An OData date or time literal as UTC to the second, the only precision F&O keeps; None when it is not one."""
    if not _INSTANT.fullmatch(text):
        return None
    try:
        parsed = datetime.fromisoformat(text)
        if parsed.tzinfo is not None:
            parsed = parsed.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return f"{parsed:%Y-%m-%dT%H:%M:%SZ}".rjust(20, "0")


def _null_refused(prop: Property) -> Refusal:
    expected = f"'{prop.edm_type}[Nullable=False]'"
    return Refusal(
        f"A null value was found for the property named '{prop.name}', which has the expected type {expected}. "
        f"The expected type {expected} does not allow null values."
    )


def _not_convertible(prop: Property, value: object) -> Refusal:
    return Refusal(f"Cannot convert the literal '{value}' to the expected type '{prop.edm_type}'.")


def _text(prop: Property, value: object) -> object:
    if not isinstance(value, str):
        raise _not_convertible(prop, value)
    value = value.lower() if prop.name == "dataAreaId" else value
    # Whether F&O cuts or refuses over-long input is UNVERIFIED; cutting is what a client notices least.
    return value[: prop.max_length] if prop.max_length else value


def _integer(bits: int) -> Callable[[Property, object], object]:
    def convert(prop: Property, value: object) -> object:
        if not isinstance(value, int) or isinstance(value, bool) or not -(1 << bits - 1) <= value < 1 << bits - 1:
            raise _not_convertible(prop, value)
        return value

    return convert


def _decimal(prop: Property, value: object) -> object:
    if not isinstance(value, int | float) or isinstance(value, bool | Exponential) or abs(value) >= 1e28:
        raise _not_convertible(prop, value)
    return float(value)


def _boolean(prop: Property, value: object) -> object:
    if not isinstance(value, bool):
        raise _not_convertible(prop, value)
    return int(value)


def _date(prop: Property, value: object) -> object:
    found = timestamp(value) if isinstance(value, str) else None
    if found is None:
        raise _not_convertible(prop, value)
    return f"{found[:10]}T12:00:00Z" if prop.data_type == "Date" else found


def _guid(prop: Property, value: object) -> object:
    if not isinstance(value, str) or value.startswith("urn:"):
        raise _not_convertible(prop, value)
    try:
        return str(UUID(value))
    except ValueError as exc:
        raise _not_convertible(prop, value) from exc


def _binary(prop: Property, value: object) -> object:
    if not isinstance(value, str):
        raise _not_convertible(prop, value)
    try:
        b64decode(value, validate=True)
    except ValueError as exc:
        raise _not_convertible(prop, value) from exc
    return value


_STORED: dict[str, Callable[[Property, object], object]] = {
    "Edm.String": _text,
    "Edm.Int32": _integer(32),
    "Edm.Int64": _integer(64),
    "Edm.Decimal": _decimal,
    "Edm.Boolean": _boolean,
    "Edm.DateTimeOffset": _date,
    "Edm.Guid": _guid,
    "Edm.Binary": _binary,
}

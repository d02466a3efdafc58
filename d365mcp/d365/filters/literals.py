"""F&O's types: what a property's value may be, and how it is written in filters, keys and bodies. Performs no I/O.

Types on the wire: https://learn.microsoft.com/dynamics365/fin-ops-core/dev-itpro/data-entities/odata
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import partial
from math import isfinite
from typing import Any
from uuid import UUID

from d365mcp.d365.filters.names import displayed, identifier, refuse_unwritable
from d365mcp.d365.models import NAMESPACE, EntityProperty, Enumeration
from d365mcp.errors import InvalidArgument, UnknownName, close_names, or_list

MAX_NUMBER_LENGTH = 40
INTEGERS = {
    "Edm.Byte": range(2**8),
    "Edm.Int16": range(-(2**15), 2**15),
    "Edm.Int32": range(-(2**31), 2**31),
    "Edm.Int64": range(-(2**63), 2**63),
}
DECIMALS = frozenset({"Edm.Decimal", "Edm.Double", "Edm.Single"})

# F&O has no null for these and stores these values instead. Its dates run from the first day to the last.
# https://learn.microsoft.com/dynamics365/fin-ops-core/dev-itpro/dev-ref/xpp-data-primitive
EMPTY_DAY = date(1900, 1, 1)
LAST_DAY = date(2154, 12, 31)
_EMPTY_GUID = UUID(int=0)
NOON = time(12, tzinfo=UTC)
MIDNIGHT = time(0, tzinfo=UTC)

_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
CLOCK = re.compile(r"([01]\d|2[0-3]):[0-5]\d(:[0-5]\d)?", re.ASCII)
_NUMBER = re.compile(r"-?\d+(\.\d+)?", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d{1,12})?)?(Z|[+-]\d\d:\d\d)?)?", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Member:
    """A member of an enumeration, as a value."""

    enumeration: str
    name: str


Value = str | int | Decimal | bool | date | datetime | time | UUID | Member | None
Enumerations = Mapping[str, Enumeration]


def value_text(value: Value) -> str:
    """Write a value as an OData literal."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return "'" + value.replace("'", "''") + "'"
        case Decimal():
            return format(value, "f")
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case date() | time():
            return value.isoformat()
        case Member():
            return f"{NAMESPACE}{value.enumeration}{value_text(value.name)}"
    return str(value)


def property_literal(value: Any, prop: EntityProperty, enumerations: Enumerations | None = None) -> str:
    """Write a JSON value as F&O's literal for a property. Raises InvalidArgument when it does not fit its type."""
    return value_text(typed_value(value, prop, enumerations or {}))


def body_value(value: Any, prop: EntityProperty, enumerations: Enumerations | None = None) -> Any:
    """Return a JSON value as F&O takes it in a body: bare enumeration members, dates at noon, numbers as numbers."""
    if prop.type_name == "Edm.Binary":
        return _text_of(value, prop)
    match typed_value(value, prop, enumerations or {}):
        case Decimal() as number:
            return _json_number(number, prop)
        case Member(name=name):
            return name
        case datetime() | UUID() as other:
            return value_text(other)
        case other:
            return other


def _json_number(number: Decimal, prop: EntityProperty) -> int | float:
    if number == number.to_integral_value():
        return int(number)
    if Decimal(repr(float(number))) != number:
        raise _unfit(str(number), prop, "a number of up to 15 digits in JSON")
    return float(number)


def body_text(body: Any, *, ascii_only: bool = False) -> str:
    """Write a body as JSON whose numbers have no exponent: OData's reader takes 0.00001 for a Decimal, but not 1e-05."""
    written = partial(body_text, ascii_only=ascii_only)
    match body:
        case float() if isfinite(body):
            return format(Decimal(repr(body)), "f")
        case Mapping():
            return f"{{{', '.join(f'{written(str(name))}: {written(value)}' for name, value in body.items())}}}"
        case list() | tuple():
            return f"[{', '.join(map(written, body))}]"
    return json.dumps(body, ensure_ascii=ascii_only, allow_nan=False)


def value_kind(prop: EntityProperty) -> str:
    """Return what its values are: text, number, boolean, date (with a time or without), guid, enumeration or, not comparable, other."""
    if prop.enumeration:
        return "enumeration"
    if prop.type_name in INTEGERS or prop.type_name in DECIMALS:
        return "number"
    kinds = {"Edm.String": "text", "Edm.Boolean": "boolean", "Edm.DateTimeOffset": "date", "Edm.Guid": "guid"}
    return kinds.get(prop.type_name, "other")


def typed_value(value: object, prop: EntityProperty, enumerations: Enumerations) -> Value:
    """Return a value, of JSON or of a filter, as one of the property's type. Raises InvalidArgument."""
    if value is None:
        return empty_value(prop)
    match value_kind(prop):
        case "text":
            return _text_of(value, prop)
        case "number":
            return _number_of(value, prop)
        case "boolean":
            return _boolean_of(value, prop)
        case "date":
            return _stored_date(value, prop)
        case "guid":
            return _guid_of(value, prop)
        case "enumeration":
            return member_of(value, prop, enumerations)
    raise InvalidArgument(f"{prop.name} is of type {prop.type_name}, which F&O cannot compare.")


def _unfit(value: object, prop: EntityProperty, wanted: str) -> InvalidArgument:
    return InvalidArgument(f"{prop.name} is {wanted}; {displayed(value)} is not.")


def empty_value(prop: EntityProperty) -> Value:
    """Return what F&O stores where others have null. Raises InvalidArgument where that is an ordinary value."""
    match value_kind(prop):
        case "text":
            return ""
        case "date":
            return datetime.combine(EMPTY_DAY, NOON if prop.data_type == "Date" else MIDNIGHT)
        case "guid":
            return _EMPTY_GUID
        case "number":
            raise InvalidArgument(f"{prop.name} is a number, and F&O has no null for numbers: use 0.")
        case "boolean":
            raise InvalidArgument(f"{prop.name} is true or false, and F&O has no null for it: use false.")
        case "enumeration":
            hint = "use one of its members"
            raise InvalidArgument(f"{prop.name} is an enumeration, and F&O has no null for enumerations: {hint}.")
    raise InvalidArgument(f"{prop.name} is of type {prop.type_name}, which F&O cannot compare.")


def _text_of(value: object, prop: EntityProperty) -> str:
    # An account number may look like a number; true or 1.5 is more likely a mistake.
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() <= 128:
        value = str(value)
    if not isinstance(value, str):
        raise _unfit(value, prop, "a text")
    refuse_unwritable(prop.name, value)
    return value


def _number_of(value: object, prop: EntityProperty) -> int | Decimal:
    number = decimal_of(seconds_of(value) if prop.data_type == "Time" else value)
    if prop.type_name in DECIMALS:
        if number is None or len(format(number, "f")) > MAX_NUMBER_LENGTH:
            raise _unfit(value, prop, "a number")
        return number
    if number is None or number != number.to_integral_value():
        raise _unfit(value, prop, "a whole number")
    bounds = INTEGERS[prop.type_name]
    if int(number) not in bounds:
        raise _unfit(value, prop, f"a whole number from {bounds.start} to {bounds.stop - 1}")
    return int(number)


def seconds_of(value: object) -> object:
    """Return a time of day as F&O stores it, in seconds since midnight; anything else as it is."""
    if isinstance(value, str) and CLOCK.fullmatch(value):
        value = read_clock(value)
    return value.hour * 3600 + value.minute * 60 + value.second if isinstance(value, time) else value


def decimal_of(value: object) -> Decimal | None:
    """Return a finite number of a size that F&O may hold, from a number or its text; else None."""
    if isinstance(value, str) and len(value) <= MAX_NUMBER_LENGTH and _NUMBER.fullmatch(value):
        return Decimal(value)
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    if isinstance(value, int) and value.bit_length() > 128:
        return None
    number = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    return number if number.is_finite() and abs(number.adjusted()) <= 28 else None


def _boolean_of(value: object, prop: EntityProperty) -> bool:
    # "Yes" too: some of F&O's NoYes columns are Edm.Boolean on the wire.
    word = value.name if isinstance(value, Member) else value
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    found = words.get(str(word).casefold()) if isinstance(word, bool | int | str) else None
    if found is None:
        raise _unfit(value, prop, "true or false")
    return found


def _guid_of(value: object, prop: EntityProperty) -> UUID:
    if isinstance(value, UUID):
        return value
    if isinstance(value, str) and _GUID.fullmatch(value):
        return UUID(value)
    raise _unfit(value, prop, "a guid")


def read_date_or_time(text: str) -> date | datetime:
    """Read `2026-07-14` or `2026-07-14T08:30:00Z`. Raises ValueError."""
    if not _DATE.fullmatch(text):
        raise ValueError("no date")
    try:
        return date.fromisoformat(text) if len(text) == 10 else datetime.fromisoformat(text.upper())
    except ValueError as problem:
        raise ValueError("there is no such date or time") from problem


def read_clock(text: str) -> time:
    """Read `08:30:00`. Raises ValueError."""
    try:
        return time.fromisoformat(text)
    except ValueError as problem:
        raise ValueError("there is no such time") from problem


def checked_date(value: object, prop: EntityProperty) -> date | datetime:
    """Return a date, or a time as it was written, from either or from text."""
    if isinstance(value, str):
        try:
            value = read_date_or_time(value)
        except ValueError as problem:
            raise _unfit(value, prop, "a date such as 2026-07-14 or a time such as 2026-07-14T08:30:00Z") from problem
    if not isinstance(value, date):
        raise _unfit(value, prop, "a date such as 2026-07-14 or a time such as 2026-07-14T08:30:00Z")
    if not EMPTY_DAY.year <= value.year <= LAST_DAY.year:
        raise InvalidArgument(f"{prop.name}: F&O's dates run from {EMPTY_DAY} to {LAST_DAY}; {value} is outside.")
    return value


def _stored_date(value: object, prop: EntityProperty) -> datetime:
    """Return what F&O stores: a date at noon UTC whatever the time zone, any other in UTC."""
    when = checked_date(value, prop)
    if prop.data_type == "Date":
        day = day_of(when)
        if day is None:
            raise InvalidArgument(f"{prop.name} is a date without a time: write {when:%Y-%m-%d} instead of {when}.")
        return datetime.combine(day, NOON)
    return as_utc(when) if isinstance(when, datetime) else datetime.combine(when, MIDNIGHT)


def day_of(when: date | datetime) -> date | None:
    """Return the day that a date, midnight or noon stands for; None for another time of day."""
    if not isinstance(when, datetime):
        return when
    local = on_calendar(when)
    return local.date() if local.time() in (time(0), time(12)) else None


def on_calendar(when: datetime) -> datetime:
    """Return a time as the calendar of its author shows it, written as UTC, to be compared with days at their noon.

    Converted, a zone east of UTC+12 would move the day. F&O's own noon remains noon in whatever zone it is written.
    """
    noon = when.tzinfo is not None and when.astimezone(UTC) == datetime.combine(when.date(), NOON)
    return datetime.combine(when.date(), NOON) if noon else when.replace(tzinfo=UTC)


def as_utc(when: datetime) -> datetime:
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)


def next_day(day: date) -> datetime:
    """Return the first instant after a day."""
    return datetime.combine(day + timedelta(days=1), MIDNIGHT)


def member_of(value: object, prop: EntityProperty, enumerations: Enumerations) -> Member:
    """Return the member meant by a name in any case, qualified or not, by its number, or by true and false."""
    enumeration_name = str(prop.enumeration)
    enumeration = enumerations.get(enumeration_name)
    if isinstance(value, bool) and enumeration_name.startswith("NoYes"):
        value = "Yes" if value else "No"
    if isinstance(value, int) and not isinstance(value, bool):
        return Member(enumeration_name, _name_of_number(value, prop, enumeration))
    name = value.name if isinstance(value, Member) else value
    if not isinstance(name, str):
        raise _unfit(value, prop, f"an enumeration ({enumeration_name})")
    for prefix in (NAMESPACE, f"{enumeration_name}.", f"{enumeration_name}'"):
        name = name.removeprefix(prefix)
    name = name.removesuffix("'")
    if enumeration is None:
        return Member(enumeration_name, identifier(name, f"member of {enumeration_name}"))
    found = enumeration.names_by_folded.get(name.casefold())
    if found is None:
        raise _unknown_member(name, enumeration)
    return Member(enumeration_name, found)


def _name_of_number(number: int, prop: EntityProperty, enumeration: Enumeration | None) -> str:
    if enumeration is None:
        raise InvalidArgument(
            f"{prop.name} is an enumeration ({prop.enumeration}): give a member's name, not {number}."
        )
    found = next((member.name for member in enumeration.members if member.value == number), None)
    if found is None:
        raise _unknown_member(str(number), enumeration)
    return found


def _unknown_member(name: str, enumeration: Enumeration) -> UnknownName:
    names = [member.name for member in enumeration.members]
    listed = or_list(names) if len(names) <= 15 else ", ".join([*names[:15], "…"])
    kind = f"member of {enumeration.name}"
    return UnknownName(kind, name, close_names(name, names), hint=f"Its members are {listed}.")

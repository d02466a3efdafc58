"""F&O's types and literals: what a value may be, and how it is written in a filter or a key. Performs no I/O.

Types on the wire: https://learn.microsoft.com/dynamics365/fin-ops-core/dev-itpro/data-entities/odata
"""

from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from uuid import UUID

from d365mcp.d365.models import NAMESPACE


@dataclass(frozen=True, slots=True)
class Member:
    """A member of an enumeration, as a value."""

    enumeration: str
    name: str


Value = str | int | Decimal | bool | date | datetime | time | UUID | Member | None


def written(value: Value) -> str:
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
            return f"{NAMESPACE}{value.enumeration}{written(value.name)}"
    return str(value)

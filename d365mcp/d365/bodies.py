"""What F&O accepts in the body of a create or an update. Performs no I/O.

Unlike filters, bodies take bare enumeration members:
https://learn.microsoft.com/dynamics365/fin-ops-core/dev-itpro/data-entities/odata
"""

from collections.abc import Mapping
from typing import Any

from d365mcp.d365.literals import body_value
from d365mcp.d365.models import DataEntity, EntityProperty
from d365mcp.d365.names import property_named, shown
from d365mcp.errors import InvalidArgument


def check_body(record: Mapping[str, Any], entity: DataEntity, *, creating: bool) -> tuple[dict[str, Any], list[str]]:
    """Return the body F&O takes, names and types put right, and a note per change.

    Raises InvalidArgument with all problems at once.
    """
    body: dict[str, Any] = {}
    notes: list[str] = []
    problems = [f"{entity.entity_set} is read-only."] if entity.is_read_only else []
    for name, value in record.items():
        if name.startswith("@odata."):
            notes.append(f"{shown(name)} left out")
            continue
        try:
            prop = writable(name, entity, creating=creating)
            taken = body_value(value, prop, entity.enumerations)
        except InvalidArgument as error:
            problems.append(error.message + (f" {error.hint}" if error.hint else ""))
            continue
        if prop.name in body:
            problems.append(f"{prop.name} is given twice.")
        if prop.is_mandatory and taken == "":
            problems.append(f"{prop.name} is mandatory and cannot be empty.")
        if (prop.name, taken) != (name, value):
            notes.append(f"{name}: {shown(value)} → {prop.name}: {shown(taken)}")
        body[prop.name] = taken
    if not body and not problems:
        problems.append("Name at least one property to write.")
    if problems:
        raise InvalidArgument(" ".join(problems))
    return body, notes + ([missing_note(body, entity)] if creating and missing(body, entity) else [])


def writable(name: str, entity: DataEntity, *, creating: bool) -> EntityProperty:
    """Return a property that may be written. Raises InvalidArgument."""
    prop = property_named(name, entity)
    if creating and not prop.allow_edit_on_create:
        raise InvalidArgument(f"{prop.name} cannot be set when a record is created.")
    if not creating and prop.is_key:
        raise InvalidArgument(f"{prop.name} is part of the key and cannot be changed: leave it out.")
    if not creating and not prop.allow_edit:
        raise InvalidArgument(f"{prop.name} cannot be changed once the record exists.")
    return prop


def missing(body: Mapping[str, Any], entity: DataEntity) -> list[str]:
    return [prop.name for prop in entity.properties.values() if prop.is_mandatory and prop.name not in body]


def missing_note(body: Mapping[str, Any], entity: DataEntity) -> str:
    # F&O fills in many of them, by number sequences and from master data, before it checks.
    return f"mandatory and not given: {', '.join(missing(body, entity))}; F&O refuses the record unless it has defaults"

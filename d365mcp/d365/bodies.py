"""What F&O accepts in the body of a create or an update. Performs no I/O.

Unlike filters, bodies take bare enumeration members:
https://learn.microsoft.com/dynamics365/fin-ops-core/dev-itpro/data-entities/odata
"""

from collections.abc import Mapping
from typing import Any

from d365mcp.d365.literals import body_value
from d365mcp.d365.models import DataEntity, EntityProperty
from d365mcp.d365.names import find_property, property_named, shown, unknown_properties
from d365mcp.errors import InvalidArgument

MOST_PROBLEMS = 20


def check_body(record: Mapping[str, Any], entity: DataEntity, *, creating: bool) -> tuple[dict[str, Any], list[str]]:
    """Return the body F&O takes, names and types put right, and a note per change.

    Raises InvalidArgument with all problems at once.
    """
    body: dict[str, Any] = {}
    notes: list[str] = []
    problems = [f"{entity.entity_set} is read-only."] if entity.is_read_only else []
    unknown = [name for name in record if not name.startswith("@odata.") and find_property(name, entity) is None]
    if unknown:
        error = unknown_properties(unknown, entity)
        problems += [error.message, str(error.hint)]
    for name, value in record.items():
        if name in unknown:
            continue
        if name.startswith("@odata."):
            notes.append(f"{shown(name)} left out")
            continue
        try:
            prop = writable(name, entity, creating=creating)
            taken = checked_value(value, prop, entity)
        except InvalidArgument as wrong:
            problems += [text for text in (wrong.message, wrong.hint) if text and text not in problems]
            continue
        if prop.name in body:
            problems.append(f"{prop.name} is given twice.")
        understood = taken.removesuffix("T12:00:00Z") if prop.is_date else taken
        if prop.name != name or value not in (taken, understood):
            notes.append(f"{name}: {shown(value)} → {prop.name}: {shown(understood)}")
        body[prop.name] = taken
    if problems or not body:
        more = f" And {len(problems) - MOST_PROBLEMS} more." if len(problems) > MOST_PROBLEMS else ""
        raise InvalidArgument(" ".join(problems[:MOST_PROBLEMS]) + more or "Name at least one property to write.")
    return body, [*notes, *(missing_note(body, entity) if creating else ())]


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


def checked_value(value: Any, prop: EntityProperty, entity: DataEntity) -> Any:
    taken = body_value(value, prop, entity.enumerations)
    if prop.is_mandatory and taken == "":
        raise InvalidArgument(f"{prop.name} is mandatory and cannot be empty.")
    return taken


def missing_note(body: Mapping[str, Any], entity: DataEntity) -> list[str]:
    """Tell which mandatory properties are left to F&O, which fills in many before it checks: numbers, defaults."""
    names = [prop.name for prop in entity.properties.values() if prop.is_mandatory and prop.name not in body]
    told = f"mandatory and not given: {', '.join(names)}; F&O refuses the record unless it has defaults"
    return [told] if names else []

"""What F&O accepts in the body of a create or an update. Performs no I/O.

Unlike filters, bodies take bare enumeration members:
https://learn.microsoft.com/dynamics365/fin-ops-core/dev-itpro/data-entities/odata
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from d365mcp.d365.filters.literals import body_value, property_literal
from d365mcp.d365.filters.names import displayed, find_property, property_named, unknown_properties
from d365mcp.d365.models import COMPANY, DataEntity, EntityProperty
from d365mcp.errors import InvalidArgument

_MOST_PROBLEMS = 20
# Keys that F&O numbers itself: creates on a live tenant left them out. They are an entity's own where they come last.
_NUMBERED = frozenset(
    {
        "CustomerAccount",
        "InventoryLotId",
        "InvoiceIdentifier",
        "JournalBatchNumber",
        "LineNumber",
        "PurchaseOrderNumber",
        "SalesOrderNumber",
        "SalesQuotationNumber",
        "VendorAccountNumber",
    }
)


def check_body(
    record: Mapping[str, Any], entity: DataEntity, *, key: Mapping[str, Any] | None = None
) -> tuple[dict[str, Any], list[str]]:
    """Return the body F&O takes, names and types put right, and a note per change; `key` is that of a record to update.

    Raises InvalidArgument with all problems at once.
    """
    check = _BodyCheck(entity, key)
    if entity.is_read_only:
        check.problems.append(f"{entity.entity_set} is read-only.")
    unknown = [name for name in record if not name.startswith("@odata.") and find_property(name, entity) is None]
    hint = None
    if unknown:
        error = unknown_properties(unknown, entity)
        check.problems.append(error.message)
        hint = error.hint
    for name, value in record.items():
        if name not in unknown:
            check.take(name, value)
    if check.problems or not check.body:
        more = len(check.problems) - _MOST_PROBLEMS
        message = " ".join(check.problems[:_MOST_PROBLEMS]) + (f" And {more} more." if more > 0 else "")
        raise InvalidArgument(message or "Name at least one property to write.", hint=hint)
    return check.body, check.notes


@dataclass
class _BodyCheck:
    """What is known of a body so far. `key` is that of a record to update."""

    entity: DataEntity
    key: Mapping[str, Any] | None
    body: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def take(self, name: str, value: Any) -> None:
        """Add one value, or say why it is left out or wrong."""
        if name.startswith("@odata."):
            self.notes.append(f"{displayed(name)} left out")
            return
        if self.key is not None and _repeats(name, value, self.key, self.entity):
            self.notes.append(f"{name} left out: it is part of the key, and stays as it is")
            return
        try:
            prop = _writable(name, self.entity, creating=self.key is None)
            taken = _checked_value(value, prop, self.entity)
        except InvalidArgument as wrong:
            self.problems += [text for text in (wrong.message, wrong.hint) if text and text not in self.problems]
            return
        if prop.name in self.body:
            self.problems.append(f"{prop.name} is given twice.")
        understood = taken.removesuffix("T12:00:00Z") if prop.is_date else taken
        if prop.name != name or value not in (taken, understood):
            self.notes.append(f"{name}: {displayed(value)} → {prop.name}: {displayed(understood)}")
        self.body[prop.name] = taken


def _repeats(name: str, value: Any, key: Mapping[str, Any], entity: DataEntity) -> bool:
    """Return whether a value is the one that the record's key has already."""
    parts = {prop.name.casefold(): prop for prop in entity.key}
    own = {part.casefold(): each for part, each in key.items()}
    prop = parts.get(name.casefold())
    if prop is None or name.casefold() not in own:
        return False
    try:
        given, kept = (property_literal(each, prop, entity.enumerations) for each in (value, own[name.casefold()]))
    except InvalidArgument:
        return False
    return given.casefold() == kept.casefold()


def _writable(name: str, entity: DataEntity, *, creating: bool) -> EntityProperty:
    """Return a property that may be written. Raises InvalidArgument."""
    prop = property_named(name, entity)
    if creating and not prop.allow_edit_on_create:
        raise InvalidArgument(f"{prop.name} cannot be set when a record is created.")
    if not creating and prop.is_key:
        raise InvalidArgument(f"{prop.name} is part of the key and cannot be changed: leave it out.")
    if not creating and not prop.allow_edit:
        raise InvalidArgument(f"{prop.name} cannot be changed once the record exists.")
    return prop


def _checked_value(value: Any, prop: EntityProperty, entity: DataEntity) -> Any:
    taken = body_value(value, prop, entity.enumerations)
    if prop.type_name == "Edm.Binary" and not _is_base64(taken):
        raise InvalidArgument(f"{prop.name} is a file or picture in base64; {displayed(value)} is not.")
    if prop.is_mandatory and taken == "":
        raise InvalidArgument(f"{prop.name} is mandatory and cannot be empty.")
    return taken


def _is_base64(text: str) -> bool:
    """Return whether Microsoft's OData library would read it: the standard alphabet, padded, blanks passed over."""
    try:
        base64.b64decode("".join(text.split()), validate=True)
    except ValueError:
        return False
    return True


def missing(body: Mapping[str, Any], entity: DataEntity) -> list[str]:
    """Return the mandatory properties that are not in the body and that neither the company nor a number sequence fills."""
    own = {COMPANY, *([entity.key[-1].name] if entity.key and entity.key[-1].name in _NUMBERED else [])}
    return [
        prop.name
        for prop in entity.properties.values()
        if prop.is_mandatory and prop.allow_edit_on_create and prop.name not in {*body, *own}
    ]

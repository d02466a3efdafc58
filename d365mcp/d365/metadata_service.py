"""The metadata service's JSON as models. Performs no I/O; tolerant of members that are missing.

What is no name is left out: names stand in URLs, in statements and in sentences, where only data may be anything. The
same field names in every release seen; `Label…` texts are fetched apart.
https://learn.microsoft.com/dynamics365/fin-ops-core/dev-itpro/data-entities/odata
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from d365mcp.d365.filters.names import IDENTIFIER
from d365mcp.d365.models import (
    Action,
    ActionParameter,
    DataEntity,
    EntityProperty,
    EntitySummary,
    Enumeration,
    EnumerationMember,
    NavigationProperty,
)

Json = Mapping[str, Any]


def summary_of(row: Json) -> EntitySummary:
    """Read one row of DataEntities."""
    return EntitySummary(
        aot_name=name(row, "Name"),
        public_name=name(row, "PublicEntityName"),
        entity_set=name(row, "PublicCollectionName"),
        label_id=text(row, "LabelId"),
        category=name(row, "EntityCategory") or None,
        data_service_enabled=bool(row.get("DataServiceEnabled", True)),
        data_management_enabled=bool(row.get("DataManagementEnabled", True)),
        is_read_only=bool(row.get("IsReadOnly", False)),
    )


def entity_of(row: Json) -> DataEntity:
    """Read one entity of PublicEntities. Raises ValueError where it has no name."""
    properties = [property_of(each) for each in named(row, "Properties")]
    return DataEntity(
        public_name=needed(row, "Name"),
        entity_set=needed(row, "EntitySetName"),
        properties={prop.name: prop for prop in properties},
        label_id=text(row, "LabelId"),
        category=name(row, "EntityCategory") or None,
        is_read_only=bool(row.get("IsReadOnly", False)),
        navigation_properties=tuple(navigation_of(each) for each in named(row, "NavigationProperties")),
        actions=tuple(action_of(each) for each in named(row, "Actions")),
    )


def property_of(row: Json) -> EntityProperty:
    return EntityProperty(
        name=text(row, "Name"),
        type_name=name(row, "TypeName") or "Edm.String",
        data_type=name(row, "DataType") or "String",
        label_id=text(row, "LabelId"),
        is_key=bool(row.get("IsKey", False)),
        is_mandatory=bool(row.get("IsMandatory", False)),
        allow_edit=bool(row.get("AllowEdit", True)),
        allow_edit_on_create=bool(row.get("AllowEditOnCreate", True)),
    )


def navigation_of(row: Json) -> NavigationProperty:
    return NavigationProperty(
        name=text(row, "Name"),
        related_entity=name(row, "RelatedEntity"),
        cardinality=name(row, "Cardinality") or "Single",
        constraints=tuple(pairs(row.get("Constraints") or ())),
    )


def pairs(constraints: Iterable[Json]) -> Iterable[tuple[str, str]]:
    """Yield the referential constraints; those that fix a value have no counterpart to name."""
    for each in constraints:
        if "Property" in each and "ReferencedProperty" in each:
            yield name(each, "Property"), name(each, "ReferencedProperty")


def action_of(row: Json) -> Action:
    returned = row.get("ReturnType") or {}
    return Action(
        name=text(row, "Name"),
        binding=name(row, "BindingKind") or "Unbound",
        parameters=tuple(parameter_of(each) for each in named(row, "Parameters")),
        return_type=returned.get("TypeName"),
        returns_collection=bool(returned.get("IsCollection", False)),
    )


def parameter_of(row: Json) -> ActionParameter:
    kind = row.get("Type") or {}
    return ActionParameter(text(row, "Name"), kind.get("TypeName") or "Edm.String", bool(kind.get("IsCollection")))


def enumeration_of(row: Json) -> Enumeration:
    """Read one enumeration of PublicEnumerations. Raises ValueError where it has no name."""
    members = [
        EnumerationMember(text(each, "Name"), int(each.get("Value") or 0), text(each, "LabelId"))
        for each in named(row, "Members")
    ]
    return Enumeration(needed(row, "Name"), tuple(members), text(row, "LabelId"))


def named(row: Json, member: str) -> Iterator[Json]:
    """Yield the rows of a member that have a name."""
    return (each for each in row.get(member) or () if name(each, "Name"))


def name(row: Json, member: str) -> str:
    """Return a name, or nothing where it is none."""
    found = text(row, member)
    return found if IDENTIFIER.fullmatch(found) else ""


def needed(row: Json, member: str) -> str:
    if not (found := name(row, member)):
        raise ValueError(f"{member} is no name")
    return found


def text(row: Json, member: str) -> str:
    return str(row.get(member) or "")

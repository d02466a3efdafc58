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


def summary_from(row: Json) -> EntitySummary:
    """Read one row of DataEntities."""
    return EntitySummary(
        aot_name=name_member(row, "Name"),
        public_name=name_member(row, "PublicEntityName"),
        entity_set=name_member(row, "PublicCollectionName"),
        label_id=text_member(row, "LabelId"),
        category=name_member(row, "EntityCategory") or None,
        data_service_enabled=bool(row.get("DataServiceEnabled", True)),
        data_management_enabled=bool(row.get("DataManagementEnabled", True)),
        is_read_only=bool(row.get("IsReadOnly", False)),
    )


def entity_from(row: Json) -> DataEntity:
    """Read one entity of PublicEntities. Raises ValueError where it has no name."""
    properties = [_property_of(each) for each in rows_with_name(row, "Properties")]
    return DataEntity(
        public_name=_needed(row, "Name"),
        entity_set=_needed(row, "EntitySetName"),
        properties={prop.name: prop for prop in properties},
        label_id=text_member(row, "LabelId"),
        category=name_member(row, "EntityCategory") or None,
        is_read_only=bool(row.get("IsReadOnly", False)),
        navigation_properties=tuple(_navigation_of(each) for each in rows_with_name(row, "NavigationProperties")),
        actions=tuple(_action_of(each) for each in rows_with_name(row, "Actions")),
    )


def _property_of(row: Json) -> EntityProperty:
    return EntityProperty(
        name=text_member(row, "Name"),
        type_name=name_member(row, "TypeName") or "Edm.String",
        data_type=name_member(row, "DataType") or "String",
        label_id=text_member(row, "LabelId"),
        is_key=bool(row.get("IsKey", False)),
        is_mandatory=bool(row.get("IsMandatory", False)),
        allow_edit=bool(row.get("AllowEdit", True)),
        allow_edit_on_create=bool(row.get("AllowEditOnCreate", True)),
    )


def _navigation_of(row: Json) -> NavigationProperty:
    return NavigationProperty(
        name=text_member(row, "Name"),
        related_entity=name_member(row, "RelatedEntity"),
        cardinality=name_member(row, "Cardinality") or "Single",
        constraints=tuple(_pairs(row.get("Constraints") or ())),
    )


def _pairs(constraints: Iterable[Json]) -> Iterable[tuple[str, str]]:
    """Yield the referential constraints; those that fix a value have no counterpart to name."""
    for each in constraints:
        if "Property" in each and "ReferencedProperty" in each:
            yield name_member(each, "Property"), name_member(each, "ReferencedProperty")


def _action_of(row: Json) -> Action:
    returned = row.get("ReturnType") or {}
    return Action(
        name=text_member(row, "Name"),
        binding=name_member(row, "BindingKind") or "Unbound",
        parameters=tuple(_parameter_of(each) for each in rows_with_name(row, "Parameters")),
        return_type=returned.get("TypeName"),
        returns_collection=bool(returned.get("IsCollection", False)),
    )


def _parameter_of(row: Json) -> ActionParameter:
    kind = row.get("Type") or {}
    return ActionParameter(
        text_member(row, "Name"), kind.get("TypeName") or "Edm.String", bool(kind.get("IsCollection"))
    )


def enumeration_from(row: Json) -> Enumeration:
    """Read one enumeration of PublicEnumerations. Raises ValueError where it has no name."""
    members = [
        EnumerationMember(text_member(each, "Name"), int(each.get("Value") or 0), text_member(each, "LabelId"))
        for each in rows_with_name(row, "Members")
    ]
    return Enumeration(_needed(row, "Name"), tuple(members), text_member(row, "LabelId"))


def rows_with_name(row: Json, member: str) -> Iterator[Json]:
    """Yield the rows of a member that have a name."""
    return (each for each in row.get(member) or () if name_member(each, "Name"))


def name_member(row: Json, member: str) -> str:
    """Return a name, or nothing where it is none."""
    found = text_member(row, member)
    return found if IDENTIFIER.fullmatch(found) else ""


def _needed(row: Json, member: str) -> str:
    if not (found := name_member(row, member)):
        raise ValueError(f"{member} is no name")
    return found


def text_member(row: Json, member: str) -> str:
    return str(row.get(member) or "")

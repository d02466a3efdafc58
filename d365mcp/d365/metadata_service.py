"""The metadata service's JSON as models. Performs no I/O; tolerant of members that are missing.

The same field names in every release seen; `Label…` texts are fetched apart.
https://learn.microsoft.com/dynamics365/fin-ops-core/dev-itpro/data-entities/odata
"""

from collections.abc import Iterable, Mapping
from typing import Any

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
        aot_name=text(row, "Name"),
        public_name=text(row, "PublicEntityName"),
        entity_set=text(row, "PublicCollectionName"),
        label_id=text(row, "LabelId"),
        category=row.get("EntityCategory"),
        data_service_enabled=bool(row.get("DataServiceEnabled", True)),
        data_management_enabled=bool(row.get("DataManagementEnabled", True)),
        is_read_only=bool(row.get("IsReadOnly", False)),
    )


def entity_of(row: Json) -> DataEntity:
    """Read one entity of PublicEntities."""
    properties = [property_of(each) for each in row.get("Properties") or ()]
    return DataEntity(
        public_name=text(row, "Name"),
        entity_set=text(row, "EntitySetName"),
        properties={prop.name: prop for prop in properties},
        label_id=text(row, "LabelId"),
        category=row.get("EntityCategory"),
        is_read_only=bool(row.get("IsReadOnly", False)),
        navigation_properties=tuple(navigation_of(each) for each in row.get("NavigationProperties") or ()),
        actions=tuple(action_of(each) for each in row.get("Actions") or ()),
    )


def property_of(row: Json) -> EntityProperty:
    return EntityProperty(
        name=text(row, "Name"),
        type_name=text(row, "TypeName") or "Edm.String",
        data_type=text(row, "DataType") or "String",
        label_id=text(row, "LabelId"),
        is_key=bool(row.get("IsKey", False)),
        is_mandatory=bool(row.get("IsMandatory", False)),
        allow_edit=bool(row.get("AllowEdit", True)),
        allow_edit_on_create=bool(row.get("AllowEditOnCreate", True)),
    )


def navigation_of(row: Json) -> NavigationProperty:
    return NavigationProperty(
        name=text(row, "Name"),
        related_entity=text(row, "RelatedEntity"),
        cardinality=text(row, "Cardinality") or "Single",
        constraints=tuple(pairs(row.get("Constraints") or ())),
    )


def pairs(constraints: Iterable[Json]) -> Iterable[tuple[str, str]]:
    """Yield the referential constraints; those that fix a value have no counterpart to name."""
    for each in constraints:
        if "Property" in each and "ReferencedProperty" in each:
            yield text(each, "Property"), text(each, "ReferencedProperty")


def action_of(row: Json) -> Action:
    returned = row.get("ReturnType") or {}
    return Action(
        name=text(row, "Name"),
        binding=text(row, "BindingKind") or "Unbound",
        parameters=tuple(parameter_of(each) for each in row.get("Parameters") or ()),
        return_type=returned.get("TypeName"),
        returns_collection=bool(returned.get("IsCollection", False)),
    )


def parameter_of(row: Json) -> ActionParameter:
    kind = row.get("Type") or {}
    return ActionParameter(text(row, "Name"), kind.get("TypeName") or "Edm.String", bool(kind.get("IsCollection")))


def enumeration_of(row: Json) -> Enumeration:
    """Read one enumeration of PublicEnumerations."""
    members = [
        EnumerationMember(text(each, "Name"), int(each.get("Value") or 0), text(each, "LabelId"))
        for each in row.get("Members") or ()
    ]
    return Enumeration(text(row, "Name"), tuple(members), text(row, "LabelId"))


def text(row: Json, name: str) -> str:
    return str(row.get(name) or "")

"""F&O's metadata as frozen data: entities, properties, keys, actions, enumerations. Performs no I/O.

Field names are ours (STYLE: one word per idea); each class says what the metadata service calls them.
Shapes: https://learn.microsoft.com/dynamics365/fin-ops-core/dev-itpro/data-entities/odata
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

NAMESPACE = "Microsoft.Dynamics.DataEntities."
COMPANY = "dataAreaId"
# Columns that hold a company in entities without dataAreaId; cross-company does not scope them.
_OTHER_COMPANY_COLUMNS = frozenset(
    {"legalentityid", "dataarea", "companyaccounts", "company", "companyid", "legalentity", "employmentlegalentityid"}
)
VERSION = re.compile(r"V(\d+)(?=Entity$|Entities$|$)|V(\d+)$")

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class EntityProperty:
    """A column. `type_name` rules literals (an enumeration may be typed Edm.Boolean); `data_type` tells a Date,
    which F&O keeps at noon UTC, from a UtcDateTime."""

    name: str
    type_name: str  # Edm.String, Edm.Decimal, …, Microsoft.Dynamics.DataEntities.NoYes
    data_type: str = "String"  # String Int32 Int64 Real Date Time UtcDateTime Enum Guid Container Record Void
    label_id: str = ""
    is_key: bool = False
    is_mandatory: bool = False
    allow_edit: bool = True
    allow_edit_on_create: bool = True

    @property
    def enumeration(self) -> str | None:
        """Return the enumeration's bare name, or None for every other type."""
        return self.type_name.removeprefix(NAMESPACE) if self.type_name.startswith(NAMESPACE) else None

    @property
    def is_date(self) -> bool:
        return self.data_type == "Date" and self.type_name == "Edm.DateTimeOffset"


@dataclass(frozen=True, slots=True)
class NavigationProperty:
    """A link to other records. `constraints` are pairs (property here, property there)."""

    name: str
    related_entity: str
    cardinality: str = "Single"  # or Multiple
    constraints: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class ActionParameter:
    name: str
    type_name: str
    is_collection: bool = False


@dataclass(frozen=True, slots=True)
class Action:
    """An operation on an entity. `binding` is BoundToEntityInstance, BoundToEntitySet or Unbound."""

    name: str
    binding: str
    parameters: tuple[ActionParameter, ...] = ()
    return_type: str | None = None
    returns_collection: bool = False

    @property
    def is_void(self) -> bool:
        return not self.return_type or self.return_type.endswith("Void")


@dataclass(frozen=True)
class DataEntity:
    """A business object with a schema (PublicEntities): `public_name` CustomerV3, `entity_set` CustomersV3,
    `aot_name` CustCustomerV3Entity (known only where the catalog or DataEntities was read)."""

    public_name: str
    entity_set: str
    properties: Mapping[str, EntityProperty]
    aot_name: str | None = None
    label_id: str = ""
    category: str | None = None
    is_read_only: bool = False
    navigation_properties: tuple[NavigationProperty, ...] = ()
    actions: tuple[Action, ...] = ()
    # Enumerations its properties use, as far as they are known: what a filter or a body is checked against.
    enumerations: Mapping[str, "Enumeration"] = field(default_factory=dict)
    # Entities behind its navigation properties, by their names, as far as they are known.
    related: Mapping[str, "DataEntity"] = field(default_factory=dict)

    @cached_property
    def key(self) -> tuple[EntityProperty, ...]:
        """Return all parts of the key, in the metadata's order."""
        return tuple(prop for prop in self.properties.values() if prop.is_key)

    @cached_property
    def names_by_folded(self) -> Mapping[str, str]:
        """Return the property names by their casefolded form: F&O's names are case-sensitive, people's are not."""
        return {name.casefold(): name for name in self.properties}

    @cached_property
    def dates(self) -> frozenset[str]:
        """Return the names of its dates: days without a time, which F&O writes as their noon."""
        return frozenset(prop.name for prop in self.properties.values() if prop.is_date)

    @property
    def has_company(self) -> bool:
        """Return whether records belong to a company by `dataAreaId`."""
        return COMPANY in self.properties

    @property
    def company_columns(self) -> tuple[str, ...]:
        """Return the columns that say whose company's a record is; none where all companies share the records."""
        if self.has_company:
            return (COMPANY,)
        return tuple(name for name in self.properties if name.casefold() in _OTHER_COMPANY_COLUMNS)


@dataclass(frozen=True, slots=True)
class EntitySummary:
    """One row of DataEntities: light, and also for entities that OData does not show."""

    aot_name: str
    public_name: str
    entity_set: str
    label_id: str = ""
    category: str | None = None
    data_service_enabled: bool = True
    data_management_enabled: bool = True
    is_read_only: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Return its names, as far as it has them: the entity set's, the public one, AOT's."""
        return tuple(name for name in (self.entity_set, self.public_name, self.aot_name) if name)


@dataclass(frozen=True, slots=True)
class EnumerationMember:
    name: str
    value: int
    label_id: str = ""


@dataclass(frozen=True)
class Enumeration:
    """A fixed set of values (PublicEnumerations)."""

    name: str
    members: tuple[EnumerationMember, ...]
    label_id: str = ""

    @cached_property
    def names_by_folded(self) -> Mapping[str, str]:
        return {member.name.casefold(): member.name for member in self.members}


def version_of(name: str) -> int:
    """Return a name's version suffix: 3 for CustomersV3 and CustCustomerV3Entity, 1 where there is none."""
    found = VERSION.search(name)
    return int(found.group(1) or found.group(2)) if found else 1

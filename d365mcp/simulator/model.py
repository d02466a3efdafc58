"""What an environment consists of, as plain frozen data; knows neither JSON files nor SQL nor HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from d365mcp.simulator.clock import Clock
from d365mcp.simulator.shapes import Shape

NAMESPACE = "Microsoft.Dynamics.DataEntities"

Record = dict[str, object]


@dataclass(frozen=True)
class Enumeration:
    name: str
    members: Mapping[str, int]
    label: str | None = None
    member_labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Property:
    name: str
    edm_type: str
    data_type: str
    enumeration: Enumeration | None = None
    is_key: bool = False
    nullable: bool = True
    empty_is_null: bool = False
    """An enumeration whose empty number, as X++ stores it, has no member."""
    label: str | None = None
    mandatory: bool = False
    allow_edit: bool = True
    allow_edit_on_create: bool = True
    max_length: int | None = None


@dataclass(frozen=True)
class Default:
    """A value F&O fills in on create: copied, looked up by a key, a product of others, or the session date."""

    property: str
    source: str
    looked_up_in: str
    by: Mapping[str, str]
    product_of: tuple[str, ...]
    today: bool


@dataclass(frozen=True)
class Reference:
    """Properties that together must name an existing record of another entity set."""

    property: str
    entity_set: str
    by: Mapping[str, str]
    """Their properties and ours; `property` comes first."""
    text: str
    cascade: bool
    """Deleting the other record deletes this one too, instead of being refused."""


@dataclass(frozen=True)
class Touch:
    """What a record changes in one of another entity set: a first line opens its order, and each counts in its total."""

    entity_set: str
    by: Mapping[str, str]
    values: Mapping[str, object]
    sums: Mapping[str, str]
    """Their properties, and ours that they are the sums of."""


@dataclass(frozen=True)
class Navigation:
    """A relation by its role name; `joins` maps our properties to theirs."""

    name: str
    related_entity: str
    related_set: str
    related_relation: str
    single: bool
    joins: Mapping[str, str]


@dataclass(frozen=True)
class Parameter:
    name: str
    type: str


@dataclass(frozen=True)
class ComplexType:
    """What an action returns as one value of several members."""

    name: str
    members: tuple[Parameter, ...]


@dataclass(frozen=True)
class Action:
    name: str
    entity_set: str
    binding: str
    parameters: tuple[Parameter, ...]
    returns: str
    result: object
    error: str
    changes: Mapping[str, object]


@dataclass(frozen=True)
class Operation:
    """One operation of a JSON service."""

    parameters: tuple[Parameter, ...]
    returns: str
    result: object


@dataclass(frozen=True)
class Sequence:
    """How a key is numbered that was not sent: from a format, or as the next line of what it is counted within."""

    property: str
    format: str
    first: int
    within: tuple[str, ...]
    step: int
    code: str
    """The number sequence of F&O that says the next number, in the companies that have it."""


@dataclass(frozen=True)
class Client:
    """An application as F&O knows it: the user it is mapped to, and what that user may do."""

    company: str
    user: str = "Admin"
    language: str = "en-us"
    allowed: bool = True
    read_only: bool = False
    companies: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()
    secret: str = ""


@dataclass(frozen=True)
class Intercompany:
    """A company that sells to another one: each sales order of the customer is a purchase order of the buyer."""

    seller: str
    customer: str
    buyer: str
    vendor: str
    site: str
    warehouse: str


@dataclass(frozen=True)
class Entity:
    entity_set: str
    public_name: str
    aot_name: str
    category: str | None
    label: str | None
    keys: tuple[str, ...]
    read_only: bool
    properties: Mapping[str, Property]
    navigations: Mapping[str, Navigation]
    backed_by: str
    data_source: str
    data_sources: int
    sequences: tuple[Sequence, ...]
    new_record: Mapping[str, object]
    defaults: tuple[Default, ...]
    references: tuple[Reference, ...]
    touches: tuple[Touch, ...]
    records: tuple[Record, ...]
    generators: tuple[Shape, ...]
    derived: str
    """What computes its records from those of other entity sets."""

    @property
    def company_specific(self) -> bool:
        return "dataAreaId" in self.properties

    @property
    def type_name(self) -> str:
        return f"{NAMESPACE}.{self.public_name}"

    @cached_property
    def key_properties(self) -> tuple[Property, ...]:
        return tuple(self.properties[name] for name in self.keys)


@dataclass(frozen=True)
class World:
    default_company: str
    companies: frozenset[str]
    entities: Mapping[str, Entity]
    enumerations: Mapping[str, Enumeration]
    complex_types: tuple[ComplexType, ...]
    actions: tuple[Action, ...]
    services: Mapping[str, Mapping[str, Mapping[str, Operation]]]
    labels: Mapping[str, Mapping[str, str]]
    hidden_entities: tuple[Mapping[str, object], ...]
    documents: Mapping[str, str]
    clients: Mapping[str, Client]
    clock: Clock
    intercompany: tuple[Intercompany, ...]

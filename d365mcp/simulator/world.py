"""Reads a world, one JSON file and the files it includes, into the model; complains by place about a wrong shape.

A world is an object with these members, all optional but `entities`:

| member | holds |
|---|---|
| `include` | worlds to start from, by file name beside this one or by the name of a shipped world (`"contoso"`) |
| `default_company` | the company of a caller that is mapped to no other one |
| `dates` | `{written, from, to}`: the dates between the last two keep their distance to today, which was `written` |
| `companies` | `[{dataAreaId, name}]`: companies a record may be created in; without it, any |
| `entities` | `[{entitySet, publicEntityName, aotName, entityCategory, keys, properties, records, …}]`; an entry whose entity set is known from an earlier file adds to it |
| `enumerations` | `[{name, members: [{name, position, label}], numericValues}]` |
| `number_sequences` | `[{entitySet, property, format, first}]`, or `within` and `step` for line numbers; `code` names a record of SequenceV2Tables that says and keeps the next number |
| `complexTypes` | `[{name, properties: [{name, edmType}]}]`: what actions may return beside values and records |
| `navigationProperties` | `[{fromEntitySet, name, toEntitySet, cardinality, joins: {ours: theirs}}]` |
| `actions` | `[{entitySet, name, bindingKind, parameters, returns, result, error, changes}]` |
| `services` | `{group: {service: {operation: {parameters, returns, result}}}}` |
| `labels` | `{"@SYS1": {"en-us": "…"}}` |
| `hidden_entities` | rows of the metadata service's DataEntities that have no entity set |
| `documents` | `{"usmf/CustInvoiceJour/CIV-000205": "title of the PDF"}` for RunCopilotReport |
| `intercompany` | `[{seller, customer, buyer, vendor, site, warehouse}]`: companies that trade with each other |
| `clients` | `{client id: {company, user, language, allowed, read_only, companies, denied, secret}}`; without it every client is known |

An entity has the members of the entity reference, and may have

| member | holds |
|---|---|
| `label`, of a property too | a label id |
| `dataType`, `mandatory`, `allowEdit`, `allowEditOnCreate`, `maxLength`, of a property | as the metadata service knows them |
| `emptyIsNull`, of a property | an enumeration whose empty number has no member, so that it is read as null |
| `records` | its records; properties they leave out are empty |
| `generate` | bulk rows, as the module `generate` describes them |
| `derived` | how its records follow from those of others, by a name the module `derived` knows |
| `backedBy` | another entity set whose records and rules are these too; it then has none of its own |
| `dataSource`, `dataSources` | the table named in error texts, and how many tables an ETag covers |
| `newRecordDefaults` | `{nonTrivialDefaults}`: fixed values of a new record |
| `defaults` | `[{property, from}]`, `[{property, lookup, by: {theirs: ours}, from}]`, `[{property, product: […]}]` or `[{property, today: true}]` |
| `references` | `[{property, entitySet, key, by: {theirs: ours}, text, cascade}]`: values that must exist elsewhere, by further columns too |
| `touches` | `[{entitySet, by: {theirs: ours}, set, sum: {theirs: ours}}]`: what a new record changes in another one, and what that one sums up |

Anything else is passed over.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Set
from datetime import date
from itertools import islice
from pathlib import Path

from d365mcp.simulator.clock import Clock, Movement, movement
from d365mcp.simulator.derived import DERIVED
from d365mcp.simulator.errors import Refusal
from d365mcp.simulator.generate import rows
from d365mcp.simulator.links import Links
from d365mcp.simulator.model import (
    NAMESPACE,
    Action,
    Client,
    ComplexType,
    Default,
    Entity,
    Enumeration,
    Intercompany,
    Navigation,
    Operation,
    Parameter,
    Property,
    Record,
    Reference,
    Sequence,
    Touch,
    World,
)
from d365mcp.simulator.shapes import Shape, WorldError
from d365mcp.simulator.values import stored

SHIPPED = Path(__file__).parent / "worlds"
CONTOSO = SHIPPED / "contoso.json"

DATA_TYPES = {
    "Edm.String": "String",
    "Edm.Int32": "Int32",
    "Edm.Int64": "Int64",
    "Edm.Decimal": "Real",
    "Edm.Guid": "Guid",
    "Edm.Binary": "Container",
    "Edm.Boolean": "Enum",  # https://github.com/d365collaborative/d365fo.integrations: kernel enumerations look so
}
EDM_TYPES = (*DATA_TYPES, "Edm.DateTimeOffset")


def load(path: Path, today: date | None = None) -> World:
    """Read the world in this file, as it is on this day, or on the machine's."""
    shapes = list(_files(path))
    merged = Shape({"entities": []}, path.name)
    entities: dict[str, Shape] = {}
    for shape in shapes:
        for entity in shape.items("entities"):
            name = entity.text("entitySet")
            entities[name] = _added(entities[name], entity) if name in entities else entity
        merged = _added(merged, shape)
    if not entities:
        raise WorldError(f"{path.name}: entities is missing.")
    return _world(merged, entities, Clock(today))


def _files(path: Path) -> Iterator[Shape]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise WorldError(f"{path}: cannot be read ({exc.strerror}).") from exc
    except ValueError as exc:
        raise WorldError(f"{path}: is not JSON ({exc}).") from exc
    shape = Shape(value, path.name)
    for name in shape.texts("include"):
        beside = path.parent / name
        yield from _files(beside if beside.is_file() else SHIPPED / f"{name}.json")
    yield shape


def _added(first: Shape, second: Shape) -> Shape:
    """The second object laid over the first: lists are joined, objects merged, all else replaced."""
    value = dict(first.as_object())
    for name, ours in second.as_object().items():
        theirs = value.get(name)
        if isinstance(ours, list) and isinstance(theirs, list):
            value[name] = [*theirs, *ours]
        elif isinstance(ours, dict) and isinstance(theirs, dict):
            value[name] = {**theirs, **ours}
        else:
            value[name] = ours
    return Shape(value, second.place)


def _world(shape: Shape, shapes: Mapping[str, Shape], clock: Clock) -> World:
    moving = movement(shape, clock.date())
    enumerations = {item.text("name"): _enumeration(item) for item in shape.items("enumerations")}
    sequences = list(shape.items("number_sequences"))
    navigations = list(shape.items("navigationProperties"))
    entities = {
        name: _entity(item, enumerations, _sequences(item, sequences), _navigations(name, navigations, shapes), moving)
        for name, item in shapes.items()
    }
    Links(entities).check(shape, shapes.values())
    names = [*enumerations, *(entity.public_name for entity in entities.values())]
    names += [item.text("name") for item in shape.items("complexTypes")]
    types = {*EDM_TYPES, *(f"{NAMESPACE}.{name}" for name in names)}
    return World(
        default_company=shape.text("default_company", "dat").lower(),
        companies=frozenset(item.text("dataAreaId").lower() for item in shape.items("companies")),
        entities=entities,
        enumerations=enumerations,
        complex_types=tuple(_complex_type(item, types) for item in shape.items("complexTypes")),
        actions=tuple(_action(item, types) for item in shape.items("actions")),
        services=_services(shape),
        labels={
            label: {language.lower(): text for language, text in texts.as_pairs().items()}
            for label, texts in shape.objects("labels").items()
        },
        hidden_entities=tuple(item.as_object() for item in shape.items("hidden_entities")),
        documents=shape.pairs("documents"),
        clients={name: client(item) for name, item in shape.objects("clients").items()},
        clock=clock,
        intercompany=tuple(Intercompany(**item.as_pairs()) for item in shape.items("intercompany")),
    )


def _enumeration(shape: Shape) -> Enumeration:
    members = list(shape.items("members"))
    if not members:
        raise WorldError(f"{shape.place}: members is missing.")
    numbers = shape.part("numericValues")
    values = {
        member.text("name"): numbers.number(member.text("name"), member.number("position", index))
        for index, member in enumerate(members)
    }
    labels = {member.text("name"): member.text("label", "") for member in members}
    return Enumeration(shape.text("name"), values, shape.text("label", "") or None, labels)


def _property(
    shape: Shape, keys: tuple[str, ...], read_only: bool, enumerations: Mapping[str, Enumeration]
) -> Property:
    name, edm_type = shape.text("name"), shape.text("edmType")
    enumeration = None
    if edm_type.startswith(NAMESPACE):
        enumeration = enumerations.get(edm_type.removeprefix(f"{NAMESPACE}."))
        if enumeration is None:
            raise WorldError(f"{shape.place}.edmType: no enumeration {edm_type!r} in this world.")
    elif edm_type not in EDM_TYPES:
        raise WorldError(f"{shape.place}.edmType: {edm_type!r} is no type F&O uses.")
    is_key, empty_is_null = name in keys, shape.flag("emptyIsNull")
    if empty_is_null and (enumeration is None or is_key):
        raise WorldError(f"{shape.place}.emptyIsNull: {name} is no enumeration outside the key.")
    return Property(
        name=name,
        edm_type=edm_type,
        data_type=shape.text("dataType", shape.text("xppType", _data_type(name, edm_type))),
        enumeration=enumeration,
        is_key=is_key,
        nullable=not is_key and (edm_type in ("Edm.String", "Edm.Binary") or enumeration is not None),
        empty_is_null=empty_is_null,
        label=shape.text("label", "") or None,
        mandatory=shape.flag("mandatory"),
        allow_edit=shape.flag("allowEdit", not is_key and not read_only),
        allow_edit_on_create=shape.flag("allowEditOnCreate", not read_only),
        max_length=shape.number("maxLength", 0) or None,
    )


def _data_type(name: str, edm_type: str) -> str:
    if edm_type.startswith(NAMESPACE):
        return "Enum"
    if edm_type == "Edm.DateTimeOffset":
        return "UtcDateTime" if name.endswith(("DateTime", "ValidFrom", "ValidTo")) else "Date"
    return DATA_TYPES[edm_type]


def _entity(
    shape: Shape,
    enumerations: Mapping[str, Enumeration],
    sequences: tuple[Sequence, ...],
    navigations: Mapping[str, Navigation],
    moving: Movement,
) -> Entity:
    keys, read_only = shape.texts("keys"), shape.flag("readOnly")
    properties = {
        item.text("name"): _property(item, keys, read_only, enumerations) for item in shape.items("properties")
    }
    for key in keys:
        if key not in properties:
            raise WorldError(f"{shape.place}.keys: {key!r} is not among the properties.")
    public_name = shape.text("publicEntityName")
    # A remark may follow, as in the entity reference: "HcmEmploymentEntity (UNVERIFIED)".
    aot_name = shape.text("aotName", f"{public_name}Entity").split(" ")[0]
    return Entity(
        entity_set=shape.text("entitySet"),
        public_name=public_name,
        aot_name=aot_name,
        category=shape.text("entityCategory", "") or None,
        label=shape.text("label", "") or None,
        keys=keys,
        read_only=read_only,
        properties=properties,
        navigations=navigations,
        backed_by=shape.text("backedBy", ""),
        data_source=shape.text("dataSource", aot_name),
        data_sources=shape.number("dataSources", 1),
        sequences=sequences,
        new_record=shape.part("newRecordDefaults").plain("nonTrivialDefaults"),
        defaults=tuple(_default(item) for item in shape.items("defaults")),
        references=tuple(_reference(item) for item in shape.items("references")),
        touches=tuple(_touch(item) for item in shape.items("touches")),
        records=tuple(_record(item, properties, moving) for item in shape.items("records")),
        generators=tuple(_generator(item, properties, moving) for item in shape.items("generate")),
        derived=_derived(shape),
    )


def _record(shape: Shape, properties: Mapping[str, Property], moving: Movement) -> Record:
    """A record in its stored form."""
    record: Record = {}
    for name, value in shape.as_object().items():
        if name not in properties:
            raise WorldError(f"{shape.place}: the entity has no property {name!r}.")
        if properties[name].edm_type == "Edm.DateTimeOffset" and isinstance(value, str):
            value = moving.moved(value)
        try:
            record[name] = stored(properties[name], value)
        except Refusal as refusal:
            raise WorldError(f"{shape.place}.{name}: {refusal.message}") from refusal
    return record


def _generator(shape: Shape, properties: Mapping[str, Property], moving: Movement) -> Shape:
    """Bulk rows as they are written, once the first of them proves right."""
    dates = {
        name: {**item.as_object(), "from": moving.moved(item.text("from"))}
        for name, item in shape.objects("dates").items()
    }
    shape = Shape({**shape.as_object(), "dates": dates}, shape.place)
    for row in islice(rows(shape), 1):
        _record(Shape(row, shape.place), properties, Movement())
    return shape


def _derived(shape: Shape) -> str:
    name = shape.text("derived", "")
    if name and name not in DERIVED:
        raise WorldError(f"{shape.place}.derived: expected one of {', '.join(DERIVED)}, found {name!r}.")
    return name


def _default(shape: Shape) -> Default:
    return Default(
        property=shape.text("property"),
        source=shape.text("from", ""),
        looked_up_in=shape.text("lookup", ""),
        by=shape.pairs("by"),
        product_of=shape.texts("product"),
        today=shape.flag("today"),
    )


def _reference(shape: Shape) -> Reference:
    name = shape.text("property")
    by = {shape.text("key", name): name} | shape.pairs("by")
    return Reference(name, shape.text("entitySet"), by, shape.text("text", name), shape.flag("cascade"))


def _touch(shape: Shape) -> Touch:
    return Touch(shape.text("entitySet"), shape.pairs("by"), shape.plain("set"), shape.pairs("sum"))


def _sequence(shape: Shape) -> Sequence:
    return Sequence(
        property=shape.text("property"),
        format=shape.text("format", "{:09d}"),
        first=shape.number("first", 1),
        within=shape.texts("within"),
        step=shape.number("step", 1),
        code=shape.text("code", ""),
    )


def _sequences(entity: Shape, shapes: list[Shape]) -> tuple[Sequence, ...]:
    """The number sequences of an entity set; a `numberSequenceKey` without a description has nine digits."""
    name, key = entity.text("entitySet"), entity.text("numberSequenceKey", "")
    found = tuple(_sequence(shape) for shape in shapes if shape.text("entitySet") == name)
    return found or ((_sequence(Shape({"property": key}, entity.place)),) if key else ())


def _navigations(entity_set: str, shapes: list[Shape], entities: Mapping[str, Shape]) -> dict[str, Navigation]:
    ours = (shape for shape in shapes if shape.text("fromEntitySet") == entity_set)
    return {shape.text("name"): _navigation(shape, entities) for shape in ours}


def _navigation(shape: Shape, entities: Mapping[str, Shape]) -> Navigation:
    target = entities.get(shape.text("toEntitySet"))
    if target is None:
        raise WorldError(f"{shape.place}.toEntitySet: no entity set {shape.text('toEntitySet')!r} in this world.")
    joins = shape.pairs("joins")
    if not joins:
        raise WorldError(f"{shape.place}: joins is missing.")
    return Navigation(
        name=shape.text("name"),
        related_entity=target.text("publicEntityName"),
        related_set=target.text("entitySet"),
        related_relation=shape.text("relatedRelationName", shape.text("fromEntitySet")),
        single=shape.text("cardinality", "Single") == "Single",
        joins=joins,
    )


def _complex_type(shape: Shape, types: Set[str]) -> ComplexType:
    members = tuple(Parameter(item.text("name"), _type(item, "edmType", types)) for item in shape.items("properties"))
    return ComplexType(shape.text("name"), members)


def _parameters(shape: Shape) -> tuple[Parameter, ...]:
    return tuple(Parameter(item.text("name"), item.text("type", "Edm.String")) for item in shape.items("parameters"))


def _type(shape: Shape, name: str, types: Set[str]) -> str:
    """The name of a type; a remark may follow, as in "Edm.String (base64 PDF)"."""
    found = shape.text(name, "Edm.String").split(" ")[0]
    if found and found.removeprefix("Collection(").removesuffix(")") not in types:
        raise WorldError(f"{shape.place}.{name}: no type {found!r} in this world.")
    return found


def _action(shape: Shape, types: Set[str]) -> Action:
    return Action(
        name=shape.text("name"),
        entity_set=shape.text("entitySet", ""),
        binding=shape.text("bindingKind", "BoundToEntitySet"),
        parameters=tuple(
            Parameter(item.text("name"), _type(item, "type", types)) for item in shape.items("parameters")
        ),
        returns=_type(shape, "returns", types) if shape.member("returns") else "",
        result=shape.as_object().get("result"),
        error=shape.text("error", ""),
        changes=shape.plain("changes"),
    )


def _services(shape: Shape) -> dict[str, dict[str, dict[str, Operation]]]:
    return {
        group: {
            service: {name: _operation(operation) for name, operation in operations.members().items()}
            for service, operations in services.members().items()
        }
        for group, services in shape.objects("services").items()
    }


def _operation(shape: Shape) -> Operation:
    return Operation(_parameters(shape), shape.text("returns", ""), shape.as_object().get("result"))


def client(shape: Shape, base: Client | None = None) -> Client:
    """Read how one application is mapped, over what was known of it."""
    base = base or Client(company="dat")
    return Client(
        company=shape.text("company", base.company).lower(),
        user=shape.text("user", base.user),
        language=shape.text("language", base.language),
        allowed=shape.flag("allowed", base.allowed),
        read_only=shape.flag("read_only", base.read_only),
        companies=tuple(map(str.lower, shape.texts("companies"))) or base.companies,
        denied=shape.texts("denied") or base.denied,
        secret=shape.text("secret", base.secret),
    )

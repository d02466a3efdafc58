# ruff: noqa: S608  names in SQL are this module's own, and everything a request says is a parameter
"""The metadata service and `$metadata`: what entities, enumerations and labels exist. Knows no records.

`contains` and `tolower` work here and text compares with case, the opposite of /data.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from functools import cached_property

from d365mcp.simulator import csdl
from d365mcp.simulator.call import Call
from d365mcp.simulator.errors import JSON, Refusal, Reply, json_reply, no_property, not_found
from d365mcp.simulator.filters import TableScope, Values, condition
from d365mcp.simulator.keys import key_parts, segment
from d365mcp.simulator.literals import NULL
from d365mcp.simulator.model import Action, Entity, Enumeration, Navigation, Property, Record, World
from d365mcp.simulator.queries import counted, whole_number

_CATEGORY = "Microsoft.Dynamics.Metadata.EntityCategory"
_CATEGORIES = ("Parameters", "Reference", "Master", "Document", "Transaction", "Configuration")
_HEADERS = {"Content-Type": JSON, "OData-Version": "4.0"}

_FILTERED = {
    "DataEntities": {
        "Name": "Edm.String",
        "PublicEntityName": "Edm.String",
        "PublicCollectionName": "Edm.String",
        "LabelId": "Edm.String",
        "DataServiceEnabled": "Edm.Boolean",
        "DataManagementEnabled": "Edm.Boolean",
        "EntityCategory": _CATEGORY,
        "IsReadOnly": "Edm.Boolean",
    },
    "PublicEntities": {
        "Name": "Edm.String",
        "EntitySetName": "Edm.String",
        "LabelId": "Edm.String",
        "IsReadOnly": "Edm.Boolean",
        "ConfigurationEnabled": "Edm.Boolean",
    },
    "PublicEnumerations": {"Name": "Edm.String", "LabelId": "Edm.String"},
}


class Metadata:
    """Answers the metadata service of one world."""

    def __init__(self, world: World) -> None:
        self.world = world
        members = {name: index for index, name in enumerate(_CATEGORIES)}
        self.enumerations = {_CATEGORY: Enumeration(_CATEGORY, members)}

    def answer(self, call: Call) -> Reply:
        """Answer a request below /metadata."""
        found = segment(call.segments[1]) if len(call.segments) == 2 else None
        if found is None or found.name not in (*_FILTERED, "Labels"):
            raise not_found(f"No HTTP resource was found that matches the request URI '{call.base}{call.path}'.")
        if call.method != "GET":
            raise Refusal(f"The requested resource does not support http method '{call.method}'.", 405, "")
        if found.name == "Labels":
            return self._label(call, found.predicate or "")
        if found.predicate is None:
            return self._collection(call, found.name)
        return self._one(call, found.name, found.predicate)

    @cached_property
    def xml(self) -> bytes:
        """The CSDL document."""
        return csdl.document(self.world).encode()

    @cached_property
    def _documents(self) -> sqlite3.Connection:
        """Every document as JSON beside the columns filters may use."""
        database = sqlite3.connect(":memory:")
        for name, documents in self._all().items():
            columns = _FILTERED[name]
            names = ", ".join(f'"{column}"' for column in columns)
            database.execute(f"CREATE TABLE {name} (_document TEXT, {names})")
            marks = ", ".join("?" * len(columns))
            rows = ([json.dumps(item), *(item[column] for column in columns)] for item in documents)
            database.executemany(f"INSERT INTO {name} VALUES (?, {marks})", rows)
        return database

    def _all(self) -> dict[str, list[Record]]:
        entities = self.world.entities.values()
        return {
            "DataEntities": [*map(_data_entity, entities), *map(_hidden_entity, self.world.hidden_entities)],
            "PublicEntities": [_public_entity(entity, self.world.actions) for entity in entities],
            "PublicEnumerations": [_public_enumeration(item) for item in self.world.enumerations.values()],
        }

    def _collection(self, call: Call, name: str) -> Reply:
        if unsupported := call.options.keys() & {"$orderby", "$expand"}:
            raise Refusal(f"The query parameter '{unsupported.pop()}' is not supported.")
        found = self._matching(call, name)
        answer: dict[str, object] = {"@odata.context": f"{call.base}/Metadata/$metadata#{name}"}
        if counted(call):
            answer["@odata.count"] = len(found)
        skip, top = whole_number(call, "$skip") or 0, whole_number(call, "$top")
        documents = [_chosen(call, name, text) for text in found[skip : None if top is None else skip + top]]
        # Documents are kept as text and joined as text: a real environment's answer has tens of megabytes.
        return Reply(200, f'{json.dumps(answer)[:-1]}, "value": [{",".join(documents)}]}}'.encode(), _HEADERS)

    def _matching(self, call: Call, name: str) -> list[str]:
        sql, values = f"SELECT _document FROM {name}", Values()
        if "$filter" in call.options:
            scope = TableScope(f"Microsoft.Dynamics.Metadata.{name}", _FILTERED[name])
            found = condition(call.options["$filter"], scope, self.enumerations)
            sql, values = f"{sql} WHERE {found.sql}", found.values
        return [text for (text,) in self._documents.execute(sql, values)]

    def _one(self, call: Call, name: str, predicate: str) -> Reply:
        key = key_parts(predicate, {}, alone="Name")
        row = self._documents.execute(
            f"SELECT _document FROM {name} WHERE Name = ?", (key.get("Name", NULL).value,)
        ).fetchone()
        if row is None:
            raise not_found(f"No HTTP resource was found that matches the request URI '{call.base}{call.path}'.")
        context = {"@odata.context": f"{call.base}/Metadata/$metadata#{name}/$entity"}
        return json_reply(context | json.loads(_chosen(call, name, row[0])))

    def _label(self, call: Call, predicate: str) -> Reply:
        key = key_parts(predicate, {}, alone="Id")
        label, language = str(key.get("Id", NULL).value), str(key.get("Language", NULL).value)
        text = self.world.labels.get(label, {}).get(language.lower())
        if text is None:
            raise not_found(f"No HTTP resource was found that matches the request URI '{call.base}{call.path}'.")
        context = f"{call.base}/Metadata/$metadata#Labels/$entity"
        return json_reply({"@odata.context": context, "Id": label, "Language": language, "Value": text})


def _chosen(call: Call, name: str, text: str) -> str:
    """A document with the members `$select` names."""
    select = call.options.get("$select")
    if select is None:
        return text
    document, wanted = json.loads(text), [item.strip() for item in select.split(",")]
    for item in wanted:
        if item not in document:
            raise no_property(item, f"Microsoft.Dynamics.Metadata.{name}")
    return json.dumps({item: document[item] for item in wanted})


def _data_entity(entity: Entity) -> Record:
    return {
        "Name": entity.aot_name,
        "PublicEntityName": entity.public_name,
        "PublicCollectionName": entity.entity_set,
        "LabelId": entity.label,
        "DataServiceEnabled": True,
        "DataManagementEnabled": True,
        "EntityCategory": entity.category,
        "IsReadOnly": entity.read_only,
    }


def _hidden_entity(given: Mapping[str, object]) -> Record:
    """An entity that only data management knows."""
    nothing: Record = dict.fromkeys(_FILTERED["DataEntities"])
    return {**nothing, "DataServiceEnabled": False, "DataManagementEnabled": True, "IsReadOnly": False, **given}


def _public_entity(entity: Entity, actions: tuple[Action, ...]) -> Record:
    return {
        "Name": entity.public_name,
        "EntitySetName": entity.entity_set,
        "LabelId": entity.label,
        "IsReadOnly": entity.read_only,
        "ConfigurationEnabled": True,
        "Properties": [_property(prop) for prop in entity.properties.values()],
        "NavigationProperties": [_navigation(item) for item in entity.navigations.values()],
        "PropertyGroups": [],
        "Actions": [_action(action) for action in actions if action.entity_set == entity.entity_set],
    }


def _property(prop: Property) -> Record:
    return {
        "Name": prop.name,
        "TypeName": prop.edm_type,
        "DataType": prop.data_type,
        "LabelId": prop.label,
        "IsKey": prop.is_key,
        "IsMandatory": prop.mandatory,
        "ConfigurationEnabled": True,
        "AllowEdit": prop.allow_edit,
        "AllowEditOnCreate": prop.allow_edit_on_create,
        "IsDimension": False,
        "DimensionRelation": None,
        "IsDynamicDimension": False,
        "DimensionLegalEntityProperty": None,
        "DimensionTypeProperty": None,
    }


def _navigation(navigation: Navigation) -> Record:
    return {
        "Name": navigation.name,
        "RelatedEntity": navigation.related_entity,
        "RelatedRelationName": navigation.related_relation,
        "Cardinality": "Single" if navigation.single else "Multiple",
        "Constraints": [
            {
                "@odata.type": "#Microsoft.Dynamics.Metadata.ReferentialConstraint",
                "Property": ours,
                "ReferencedProperty": theirs,
            }
            for ours, theirs in navigation.joins.items()
        ],
    }


def _type(name: str) -> Record:
    inner = name.removeprefix("Collection(").removesuffix(")")
    return {"TypeName": inner, "IsCollection": inner != name}


def _action(action: Action) -> Record:
    return {
        "Name": action.name,
        "BindingKind": action.binding,
        "Parameters": [{"Name": item.name, "Type": _type(item.type)} for item in action.parameters],
        "ReturnType": _type(action.returns) if action.returns else None,
        "FieldLookup": None,
    }


def _public_enumeration(enumeration: Enumeration) -> Record:
    return {
        "Name": enumeration.name,
        "LabelId": enumeration.label,
        "Members": [
            {
                "Name": name,
                "Value": number,
                "LabelId": enumeration.member_labels.get(name) or None,
                "ConfigurationEnabled": True,
            }
            for name, number in enumeration.members.items()
        ],
    }

"""One F&O environment: takes a request whose caller is known to the part that answers it. Knows no sockets."""

from __future__ import annotations

from dataclasses import replace

from d365mcp.simulator import batch
from d365mcp.simulator.actions import Actions
from d365mcp.simulator.call import Call
from d365mcp.simulator.control import Control
from d365mcp.simulator.data import Reader
from d365mcp.simulator.errors import Refusal, Reply, not_found
from d365mcp.simulator.keys import Segment, key_values, segment
from d365mcp.simulator.metadata import Metadata
from d365mcp.simulator.model import Action, Client, Entity, Record, World
from d365mcp.simulator.services import Services
from d365mcp.simulator.store import Store
from d365mcp.simulator.writes import Writer


class Environment:
    """The services of one world."""

    def __init__(self, world: World, store: Store, control: Control) -> None:
        self.world, self.store, self.control = world, store, control
        self.reader = Reader(store)
        self.writer = Writer(self.reader)
        self.actions = Actions(self.reader)
        self.services = Services(self.reader)
        self.metadata = Metadata(world)

    def answer(self, call: Call) -> Reply:
        """Answer one request; whatever F&O refuses becomes its error reply."""
        try:
            return self._answer(call)
        except Refusal as refusal:
            return refusal.reply()

    def _answer(self, call: Call) -> Reply:
        match [segment.lower() for segment in call.segments[:2]]:
            case ["data", "$batch"] if len(call.segments) == 2:
                _require(call, "POST")
                heeds_prefer = bool(self.control.numbers["heed_prefer"])
                return batch.answer(call, self.store, self._answer_inner, heeds_prefer=heeds_prefer)
            case ["data", *_]:
                return self._data(call)
            case ["metadata", *_]:
                return self.metadata.answer(call)
            case ["api", "services"]:
                return self.services.answer(call)
        raise _no_resource(call)

    def _answer_inner(self, call: Call) -> Reply:
        """Answer one operation of a batch, which may meet faults of its own."""
        fault = self.control.faults.take(call.method, call.path, in_batch=True)
        if fault is not None and not fault.after:
            return fault.reply()
        try:
            if call.segments[0].lower() != "data":
                raise _no_resource(call)
            reply = self._data(call)
        except Refusal as refusal:
            reply = refusal.reply()
        return replace(reply, instead=fault.reply()) if fault else reply

    def _data(self, call: Call) -> Reply:
        match call.segments[1:]:
            case []:
                _require(call, "GET")
                return self.reader.service_document(call)
            case ["$metadata"]:
                _require(call, "GET")
                return Reply(200, self.metadata.xml, {"Content-Type": "application/xml", "OData-Version": "4.0"})
            case [name] if action := self.actions.find("", "Unbound", name):
                return self.actions.invoke(call, action)
            case [first]:
                found = segment(first)
                entity = self._entity(call, found.name)
                return self._set(call, entity) if found.predicate is None else self._record(call, entity, found)
            case [first, second]:
                return self._below(call, segment(first), second)
        raise _no_resource(call)

    def _set(self, call: Call, entity: Entity) -> Reply:
        if call.method == "POST":
            return self.writer.create(call, entity)
        _require(call, "GET")
        if "$orderby" in call.options and entity.entity_set in self.control.refuse_order:
            raise Refusal(f"The query option '$orderby' is not supported on the entity set '{entity.entity_set}'.")
        return self.reader.collection(call, entity, self.control.paging())

    def _record(self, call: Call, entity: Entity, found: Segment) -> Reply:
        key = self._key(entity, found)
        match call.method:
            case "PATCH" | "PUT":
                return self.writer.update(call, entity, key)
            case "DELETE":
                return self.writer.delete(call, entity, key)
        _require(call, "GET")
        return self.reader.record(call, entity, key)

    def _below(self, call: Call, found: Segment, name: str) -> Reply:
        """A count, an action or related records below an entity set or one of its records."""
        binding = "BoundToEntitySet" if found.predicate is None else "BoundToEntityInstance"
        if action := self.actions.find(found.name, binding, name):
            return self._invoke(call, found, action)
        entity = self._entity(call, found.name)
        _require(call, "GET")
        if found.predicate is not None:
            return self.reader.related(call, entity, self._key(entity, found), name, self.control.paging())
        if name != "$count":
            raise _no_resource(call)
        return self.reader.count(call, entity)

    def _invoke(self, call: Call, found: Segment, action: Action) -> Reply:
        """A bound action; those of an entity set need no schema of it."""
        if found.name in call.client.denied:
            raise forbidden(call.client, found.name)
        if found.predicate is None:
            return self.actions.invoke(call, action)
        entity = self._entity(call, found.name)
        return self.actions.invoke(call, action, entity, self._key(entity, found))

    def _entity(self, call: Call, name: str) -> Entity:
        """The entity of a set the caller may see; set names are case-sensitive."""
        entity = self.world.entities.get(name)
        if entity is None:
            raise not_found(f"Resource not found for the segment '{name}'.")
        if name in call.client.denied:
            raise forbidden(call.client, name)
        return entity

    def _key(self, entity: Entity, found: Segment) -> Record:
        return key_values(entity, found.predicate or "", self.reader.enumerations)


def forbidden(client: Client, name: str) -> Refusal:
    return Refusal(f"Access denied: user {client.user} may not use {name}.", 403, "")


def _require(call: Call, method: str) -> None:
    if call.method != method:
        raise Refusal(f"The requested resource does not support http method '{call.method}'.", 405, "")


def _no_resource(call: Call) -> Refusal:
    return not_found(f"No HTTP resource was found that matches the request URI '{call.base}{call.path}'.")

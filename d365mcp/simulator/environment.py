"""One F&O environment: takes a request whose caller is known to the part that answers it. Knows no sockets."""

from __future__ import annotations

from d365mcp.simulator.call import Call
from d365mcp.simulator.control import Control
from d365mcp.simulator.data import Reader
from d365mcp.simulator.errors import Refusal, Reply, not_found
from d365mcp.simulator.keys import Segment, key_values, segment
from d365mcp.simulator.metadata import Metadata
from d365mcp.simulator.model import Client, Entity, World
from d365mcp.simulator.store import Store


class Environment:
    """The services of one world."""

    def __init__(self, world: World, store: Store, control: Control) -> None:
        self.world, self.store, self.control = world, store, control
        self.reader = Reader(store)
        self.metadata = Metadata(world)

    def answer(self, call: Call) -> Reply:
        """Answer one request; whatever F&O refuses becomes its error reply."""
        try:
            return self._answer(call)
        except Refusal as refusal:
            return refusal.reply()

    def _answer(self, call: Call) -> Reply:
        match call.segments[0].lower():
            case "data":
                return self._data(call)
            case "metadata":
                return self.metadata.answer(call)
        raise _no_resource(call)

    def _data(self, call: Call) -> Reply:
        match call.segments[1:]:
            case []:
                return self.reader.service_document(call)
            case ["$metadata"]:
                return Reply(200, self.metadata.xml, {"Content-Type": "application/xml", "OData-Version": "4.0"})
            case [first]:
                return self._entity_set(call, segment(first))
            case [first, "$count"]:
                return self.reader.count(call, self._entity(call, segment(first).name))
            case [first, name]:
                return self._related(call, segment(first), name)
        raise _no_resource(call)

    def _entity_set(self, call: Call, found: Segment) -> Reply:
        entity = self._entity(call, found.name)
        if found.predicate is None:
            return self.reader.collection(call, entity, self.control.page_size)
        key = key_values(entity, found.predicate, self.reader.enumerations)
        return self.reader.record(call, entity, key)

    def _related(self, call: Call, found: Segment, name: str) -> Reply:
        entity = self._entity(call, found.name)
        if found.predicate is None:
            raise _no_resource(call)
        key = key_values(entity, found.predicate, self.reader.enumerations)
        return self.reader.related(call, entity, key, name, self.control.page_size)

    def _entity(self, call: Call, name: str) -> Entity:
        """The entity of a set the caller may see; set names are case-sensitive."""
        entity = self.world.entities.get(name)
        if entity is None:
            raise not_found(f"Resource not found for the segment '{name}'.")
        if name in call.client.denied:
            raise forbidden(call.client, name)
        return entity


def forbidden(client: Client, name: str) -> Refusal:
    return Refusal(f"Access denied: user {client.user} may not use {name}.", 403, "")


def _no_resource(call: Call) -> Refusal:
    return not_found(f"No HTTP resource was found that matches the request URI '{call.base}{call.path}'.")

"""What the records of an entity set are at the start, before anything is derived from them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import chain

from d365mcp.simulator.generate import rows
from d365mcp.simulator.model import Entity, Record, World


def bulk(entity: Entity) -> Iterator[Record]:
    """Yield the bulk rows of an entity set, as they are written."""
    return chain.from_iterable(map(rows, entity.generators))


def written_of(world: World, entity_set: str, companies: Collection[str] = ()) -> Iterator[Record]:
    """Yield what the world writes out of an entity set, or of some companies of it; without the entity set nothing."""
    entity = world.entities.get(entity_set)
    if entity is None:
        return
    generators = [each for each in entity.generators if each.plain("always").get("dataAreaId") in companies]
    for record in chain(entity.records, chain.from_iterable(map(rows, generators)) if companies else bulk(entity)):
        if not companies or record["dataAreaId"] in companies:
            yield record

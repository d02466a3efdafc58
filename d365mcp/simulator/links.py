"""Checks that what a world's parts name exists: entity sets, their properties, types. Performs no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from d365mcp.simulator.model import Entity
from d365mcp.simulator.shapes import Shape, WorldError

# What an entity set that is backed by another has from that one.
_OF_THE_OWNER = (
    "records",
    "generate",
    "derived",
    "newRecordDefaults",
    "defaults",
    "references",
    "touches",
    "numberSequenceKey",
)


@dataclass(frozen=True)
class Links:
    """The entity sets of a world, which its parts may name."""

    entities: Mapping[str, Entity]

    def check(self, world: Shape, shapes: Iterable[Shape]) -> None:
        """Raise WorldError by the place of what names something that does not exist."""
        for shape in shapes:
            self._check_owner(shape)
            for item, entity, names in self._named(shape):
                _require(item, entity, names)
        for item in world.items("number_sequences"):
            entity = self._entity(item, "entitySet")
            _require(item, entity, [item.text("property"), *item.texts("within")])
            _require_own(item, entity)
        for item in world.items("navigationProperties"):
            joins = item.pairs("joins")
            _require(item, self._entity(item, "fromEntitySet"), joins)
            _require(item, self._entity(item, "toEntitySet"), joins.values())

    def _named(self, shape: Shape) -> Iterator[tuple[Shape, Entity, Iterable[str]]]:
        """Yield what an entity's rules name: where, of which entity set, which properties."""
        ours = self.entities[shape.text("entitySet")]
        for item in shape.items("references"):
            by = item.pairs("by")
            yield item, ours, [item.text("property"), *by.values()]
            yield item, self._entity(item, "entitySet"), [item.text("key", item.text("property")), *by]
        for item in shape.items("touches"):
            by, sums = item.pairs("by"), item.pairs("sum")
            yield item, ours, [*by.values(), *sums.values()]
            yield item, self._entity(item, "entitySet"), [*by, *item.plain("set"), *sums]
        for item in shape.items("defaults"):
            by = item.pairs("by")
            other = self._entity(item, "lookup") if item.member("lookup") else ours
            yield item, ours, [item.text("property"), *by.values(), *item.texts("product")]
            yield item, other, [*by, *filter(None, [item.text("from", "")])]

    def _check_owner(self, shape: Shape) -> None:
        if shape.member("backedBy") is None:
            return
        ours, owner = self.entities[shape.text("entitySet")], self._entity(shape, "backedBy")
        _require_own(shape, owner)
        for name in _OF_THE_OWNER:
            if shape.member(name) is not None:
                raise WorldError(
                    f"{shape.place}.{name}: {ours.entity_set} has those of {owner.entity_set}: put it there."
                )
        if missing := ours.properties.keys() - owner.properties.keys():
            raise WorldError(f"{shape.place}.backedBy: {owner.entity_set} has no {', '.join(sorted(missing))}.")
        for name, prop in ours.properties.items():
            if prop.edm_type != owner.properties[name].edm_type:
                raise WorldError(f"{shape.place}.backedBy: {name} is of another type in {owner.entity_set}.")

    def _entity(self, item: Shape, name: str) -> Entity:
        found = self.entities.get(item.text(name))
        if found is None:
            raise WorldError(f"{item.place}.{name}: no entity set {item.text(name)!r} in this world.")
        return found


def _require(item: Shape, entity: Entity, names: Iterable[str]) -> None:
    for name in names:
        if name not in entity.properties:
            raise WorldError(f"{item.place}: {entity.entity_set} has no property {name!r}.")


def _require_own(item: Shape, entity: Entity) -> None:
    """Raise WorldError for an entity set whose records are another's."""
    if entity.backed_by:
        raise WorldError(f"{item.place}: {entity.entity_set} is backed by {entity.backed_by}: name that one.")

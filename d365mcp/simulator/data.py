# ruff: noqa: S608  names in SQL come from the world, and everything a request says is a parameter
"""Reads of /data: the service document, collections, single records, counts and related records.

Knows companies: https://learn.microsoft.com/dynamics365/fin-ops-core/dev-itpro/data-entities/odata#cross-company-behavior
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from d365mcp.simulator.call import Call
from d365mcp.simulator.errors import Reply, json_reply, not_found
from d365mcp.simulator.filters import Values, condition
from d365mcp.simulator.keys import key_condition
from d365mcp.simulator.model import NAMESPACE, Entity, Enumeration, Property, Record
from d365mcp.simulator.queries import (
    EntityScope,
    Expansion,
    Paging,
    Selection,
    conjunction,
    counted,
    joins,
    ordered,
    selection,
    skip_token,
    skipped,
    whole_number,
)
from d365mcp.simulator.store import Row, Store, etag, quoted

Condition = tuple[str, Values]


@dataclass(frozen=True)
class Found:
    """A stored record: its whole row and what identifies it."""

    rec_id: int
    version: int
    values: Record


class Reader:
    """Answers GET requests from a store."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.entities = store.world.entities
        self.enumerations: dict[str, Enumeration] = {
            f"{NAMESPACE}.{name}": enumeration for name, enumeration in store.world.enumerations.items()
        }

    def service_document(self, call: Call) -> Reply:
        sets = [{"name": name, "kind": "EntitySet", "url": name} for name in sorted(self.entities)]
        return json_reply({"@odata.context": f"{call.base}/data/$metadata", "value": sets})

    def collection(self, call: Call, entity: Entity, paging: Paging, *also: Condition) -> Reply:
        """One page of an entity set."""
        wanted = selection(entity, self.entities, call.options)
        where = conjunction(*also, *self.company_scope(call, entity), *self._filter(call, entity))
        answer: dict[str, object] = {"@odata.context": f"{_context(call, entity)}{wanted.named}"}
        if counted(call):
            answer["@odata.count"] = self._count(entity, where)
        rows, link = self._page(call, entity, where, paging, wanted.needed())
        answer["value"] = [self._members(entity, row, wanted) for row in rows]
        if link:
            answer["@odata.nextLink"] = link
        return json_reply(answer)

    def count(self, call: Call, entity: Entity) -> Reply:
        where = conjunction(*self.company_scope(call, entity), *self._filter(call, entity))
        # Observed on 10.0.47: the plain text may start with a byte order mark.
        body = f"\N{BYTE ORDER MARK}{self._count(entity, where)}".encode()
        return Reply(200, body, {"Content-Type": "text/plain", "OData-Version": "4.0"})

    def record(self, call: Call, entity: Entity, key: Mapping[str, object]) -> Reply:
        found = self.find(call, entity, key)
        return json_reply(self._one(call, entity, found, selection(entity, self.entities, call.options)))

    def related(self, call: Call, entity: Entity, key: Mapping[str, object], name: str, paging: Paging) -> Reply:
        """What a navigation property of one record leads to."""
        found = self.find(call, entity, key)
        navigation = entity.navigations.get(name)
        if navigation is None:
            raise not_found(f"Resource not found for the segment '{name}'.")
        target = self.entities[navigation.related_set]
        where = _related(target, joins(navigation, entity, target), found.values)
        if not navigation.single:
            return self.collection(call, target, paging, where)
        wanted = selection(target, self.entities, call.options)
        rows = self.rows(target, where, wanted.needed())
        return json_reply(self._one(call, target, rows[0], wanted)) if rows else Reply(204)

    def find(self, call: Call, entity: Entity, key: Mapping[str, object]) -> Found:
        """The record with this key, if the caller's companies and the request's scope let it be seen."""
        where = conjunction(key_condition(entity, key), *self.company_scope(call, entity))
        rows = self.rows(entity, where, entity.properties)
        if not rows:
            raise not_found(f"No HTTP resource was found that matches the request URI '{call.base}{call.path}'.")
        return rows[0]

    def whole(self, call: Call, entity: Entity, rec_id: int) -> Record:
        """A stored record with all its properties, as a create answers it."""
        (found,) = self.rows(entity, ("_rec_id IS ?", (rec_id,)), entity.properties)
        return self._one(call, entity, found, selection(entity, self.entities, {}))

    def etag(self, entity: Entity, found: Found) -> str:
        return etag(found.rec_id, found.version, entity.data_sources)

    def company_scope(self, call: Call, entity: Entity) -> Iterator[Condition]:
        """Without cross-company only the default company exists; with it, every company the user may enter."""
        if not entity.company_specific:
            return
        if not call.cross_company:
            yield '"dataAreaId" IS ?', (call.client.company,)
        if call.client.companies:
            marks = ", ".join("?" * len(call.client.companies))
            yield f'"dataAreaId" IN ({marks})', call.client.companies

    def _filter(self, call: Call, entity: Entity) -> Iterator[Condition]:
        text = call.options.get("$filter")
        if text is not None:
            found = condition(text, EntityScope(self.store, entity, self.store.table(entity)), self.enumerations)
            yield found.sql, found.values

    def _count(self, entity: Entity, where: Condition) -> int:
        sql, values = where
        ((number,),) = self.store.select(f"SELECT count(*) FROM {self.store.table(entity)} WHERE {sql}", values)
        return int(str(number))

    def _page(
        self, call: Call, entity: Entity, where: Condition, paging: Paging, names: Collection[str]
    ) -> tuple[list[Found], str]:
        before = skipped(call.options.get("$skiptoken"))
        top = whole_number(call, "$top")
        wanted = paging.size if top is None else min(paging.size, max(top - before, 0))
        offset = (whole_number(call, "$skip") or 0) + before
        order = ordered(entity, call.options["$orderby"]) if "$orderby" in call.options else paging.order()
        rows = self.rows(entity, where, names, order, wanted + 1, offset)
        more = len(rows) > wanted and (top is None or before + wanted < top)
        return rows[:wanted], _next_link(call, before + wanted) if more and wanted else ""

    def rows(
        self,
        entity: Entity,
        where: Condition,
        names: Collection[str],
        order: str = "",
        limit: int = 1,
        offset: int = 0,
    ) -> list[Found]:
        """Stored records, in the order they were created unless another is given."""
        holds, values = where
        columns = ", ".join(["_rec_id", "_version", *map(quoted, names)])
        order = f"{order}, _rec_id" if order else "_rec_id"
        sql = f"SELECT {columns} FROM {self.store.table(entity)} WHERE {holds} ORDER BY {order} LIMIT ? OFFSET ?"
        return [_found(names, row) for row in self.store.select(sql, (*values, limit, offset))]

    def _one(self, call: Call, entity: Entity, found: Found, wanted: Selection) -> Record:
        context = f"{_context(call, entity)}{wanted.named}/$entity"
        return {"@odata.context": context} | self._members(entity, found, wanted)

    def _members(self, entity: Entity, found: Found, wanted: Selection) -> Record:
        members = {"@odata.etag": self.etag(entity, found)} | _values(wanted.columns, found.values)
        for expansion in wanted.expansions:
            members[expansion.navigation.name] = self._expanded(found, expansion)
        return members

    def _expanded(self, found: Found, expansion: Expansion) -> object:
        target, single = expansion.target, expansion.navigation.single
        self.store.index(target, [theirs for _, theirs in expansion.joins])
        where = _related(target, expansion.joins, found.values)
        rows = self.rows(target, where, expansion.selection.needed(), limit=1 if single else -1)
        related = [self._members(target, row, expansion.selection) for row in rows]
        return next(iter(related), None) if single else related


def _related(target: Entity, joined: Sequence[tuple[str, str]], values: Record) -> Condition:
    return key_condition(target, {theirs: values[ours] for ours, theirs in joined})


def _found(names: Collection[str], row: Row) -> Found:
    return Found(row[0], row[1], dict(zip(names, row[2:], strict=True)))  # type: ignore[arg-type]  # INTEGER columns


def _values(columns: Sequence[Property], values: Record) -> Record:
    return {
        prop.name: bool(values[prop.name]) if prop.edm_type == "Edm.Boolean" else values[prop.name] for prop in columns
    }


def _context(call: Call, entity: Entity) -> str:
    return f"{call.base}/data/$metadata#{entity.entity_set}"


def _next_link(call: Call, rows: int) -> str:
    kept = [pair for pair in call.query.split("&") if pair and not pair.startswith(("$skiptoken", "%24skiptoken"))]
    return f"{call.base}{call.path}?{'&'.join([*kept, '$skiptoken=' + quote(skip_token(rows))])}"

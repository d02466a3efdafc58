# ruff: noqa: S608  names in SQL come from the world, and everything a request says is a parameter
"""Reads of /data: the service document, collections, single records, counts and related records.

Knows companies: https://learn.microsoft.com/dynamics365/fin-ops-core/dev-itpro/data-entities/odata#cross-company-behavior
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from urllib.parse import quote

from d365mcp.simulator.call import Call
from d365mcp.simulator.errors import Reply, json_reply, not_found
from d365mcp.simulator.filters import Values, condition
from d365mcp.simulator.keys import key_condition
from d365mcp.simulator.model import NAMESPACE, Entity, Enumeration, Navigation, Property, Record
from d365mcp.simulator.queries import (
    EntityScope,
    Expansion,
    Paging,
    conjunction,
    counted,
    expanded,
    joins,
    ordered,
    selected,
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
        columns = selected(entity, call.options.get("$select"))
        expansions = expanded(entity, call.options.get("$expand", ""), self.entities)
        where = conjunction(*also, *self.company_scope(call, entity), *self._filter(call, entity))
        answer: dict[str, object] = {"@odata.context": _context(call, entity)}
        if counted(call):
            answer["@odata.count"] = self._count(entity, where)
        rows, link = self._page(call, entity, where, paging, _needed(columns, expansions))
        answer["value"] = [self._shown(call, entity, row, columns, expansions) for row in rows]
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
        columns = selected(entity, call.options.get("$select"))
        expansions = expanded(entity, call.options.get("$expand", ""), self.entities)
        context = _entity_context(call, entity)
        return json_reply(context | self._shown(call, entity, found, columns, expansions))

    def related(self, call: Call, entity: Entity, key: Mapping[str, object], name: str, paging: Paging) -> Reply:
        """What a navigation property of one record leads to."""
        found = self.find(call, entity, key)
        navigation = entity.navigations.get(name)
        if navigation is None or not navigation.joins:
            raise not_found(f"Resource not found for the segment '{name}'.")
        target = self.entities[navigation.related_set]
        where = self._related(entity, navigation, found.values)
        if not navigation.single:
            return self.collection(call, target, paging, where)
        rows = self.rows(target, where, target.properties)
        if not rows:
            return Reply(204)
        context = _entity_context(call, target)
        return json_reply(context | self._shown(call, target, rows[0], selected(target, call.options.get("$select"))))

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
        return _entity_context(call, entity) | self._shown(call, entity, found, tuple(entity.properties.values()))

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

    def _related(self, entity: Entity, navigation: Navigation, values: Record) -> Condition:
        target = self.entities[navigation.related_set]
        return key_condition(target, {theirs: values[ours] for ours, theirs in joins(navigation, entity)})

    def _shown(
        self,
        call: Call,
        entity: Entity,
        found: Found,
        columns: Sequence[Property],
        expansions: Sequence[Expansion] = (),
    ) -> Record:
        members = {"@odata.etag": self.etag(entity, found)} | _members(columns, found.values)
        for expansion in expansions:
            members[expansion.navigation.name] = self._expanded(call, entity, found, expansion)
        return members

    def _expanded(self, call: Call, entity: Entity, found: Found, expansion: Expansion) -> object:
        navigation = expansion.navigation
        target = self.entities[navigation.related_set]
        where = self._related(entity, navigation, found.values)
        rows = self.rows(target, where, _needed(expansion.select, ()), limit=1 if navigation.single else -1)
        shown = [self._shown(call, target, row, expansion.select) for row in rows]
        return next(iter(shown), None) if navigation.single else shown


def _needed(columns: Sequence[Property], expansions: Sequence[Expansion]) -> Collection[str]:
    """The columns to read: those shown, and those that join the expansions."""
    joined = (ours for expansion in expansions for ours in ("dataAreaId", *expansion.navigation.joins))
    return dict.fromkeys(chain((prop.name for prop in columns), joined))


def _found(names: Collection[str], row: Row) -> Found:
    return Found(row[0], row[1], dict(zip(names, row[2:], strict=True)))  # type: ignore[arg-type]  # INTEGER columns


def _members(columns: Sequence[Property], values: Record) -> Record:
    return {
        prop.name: bool(values[prop.name]) if prop.edm_type == "Edm.Boolean" else values[prop.name] for prop in columns
    }


def _context(call: Call, entity: Entity) -> str:
    select = call.options.get("$select")
    names = f"({','.join(name.strip() for name in select.split(','))})" if select else ""
    return f"{call.base}/data/$metadata#{entity.entity_set}{names}"


def _entity_context(call: Call, entity: Entity) -> Record:
    return {"@odata.context": f"{call.base}/data/$metadata#{entity.entity_set}/$entity"}


def _next_link(call: Call, rows: int) -> str:
    kept = [pair for pair in call.query.split("&") if pair and not pair.startswith(("$skiptoken", "%24skiptoken"))]
    return f"{call.base}{call.path}?{'&'.join([*kept, '$skiptoken=' + quote(skip_token(rows))])}"

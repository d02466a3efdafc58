"""Query options read against an entity: what is asked of which rows, in which order. Performs no I/O."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from d365mcp.simulator.call import Call
from d365mcp.simulator.errors import Refusal, no_property
from d365mcp.simulator.filters import Expression, Values
from d365mcp.simulator.model import Entity, Enumeration, Navigation, Property
from d365mcp.simulator.store import Store, quoted

LARGEST_NUMBER = 2**31 - 1

_EXPANDED = re.compile(r"\s*([\w.]+)\s*(?:\(([^()]*)\))?\s*(?:,|$)")


@dataclass(frozen=True)
class Selection:
    """What `$select` and `$expand` ask for of each record."""

    columns: tuple[Property, ...]
    expansions: tuple[Expansion, ...]
    named: str
    """As a context lists what was selected: "" for everything, "(CustomerAccount,CustomerGroup(Description))"."""

    def needed(self) -> Collection[str]:
        """The columns to read: those asked for, and those that join the expansions."""
        joined = (ours for expansion in self.expansions for ours, _ in expansion.joins)
        return dict.fromkeys(chain((prop.name for prop in self.columns), joined))


@dataclass(frozen=True)
class Expansion:
    """Related records beside a record; `joins` are our and their properties."""

    navigation: Navigation
    target: Entity
    joins: list[tuple[str, str]]
    selection: Selection


@dataclass(frozen=True)
class Paging:
    """How one page is cut: its size, and for a shuffled one its number."""

    size: int
    shuffled: int = 0

    def order(self) -> str:
        """The order of rows that are asked for without one, as SQL."""
        return f"_rec_id % 1000003 * {self.shuffled * 7919 % 1000003} % 1000003" if self.shuffled else ""


@dataclass(frozen=True)
class EntityScope:
    """What a filter on an entity set may speak of: its properties, and those of single related records."""

    store: Store
    entity: Entity
    table: str
    functions_allowed: bool = False

    @property
    def type_name(self) -> str:
        return self.entity.type_name

    def column(self, path: Sequence[str]) -> Expression:
        return _column(self.store, self.entity, self.table, path)


def _column(store: Store, entity: Entity, table: str, path: Sequence[str]) -> Expression:
    first, rest = path[0], path[1:]
    if not rest:
        return Expression(f"{table}.{quoted(first)}", (), known_property(entity, first).edm_type)
    navigation = entity.navigations.get(first)
    if navigation is None or not navigation.single:
        raise no_property(first, entity.type_name)
    related = store.world.entities[navigation.related_set]
    alias = f"related{len(path)}"
    inner = _column(store, related, alias, rest)
    joined = " AND ".join(
        f"{alias}.{quoted(theirs)} IS {table}.{quoted(ours)}" for ours, theirs in joins(navigation, entity, related)
    )
    sql = f"(SELECT {inner.sql} FROM {store.table(related)} AS {alias} WHERE {joined})"  # noqa: S608 the world's names
    collation = " COLLATE NOCASE" if inner.type == "Edm.String" else ""  # a subquery loses its column's
    return Expression(sql + collation, inner.values, inner.type)


def joins(navigation: Navigation, ours: Entity, theirs: Entity) -> list[tuple[str, str]]:
    """Our and their joined properties; records of different companies are never related."""
    company = {"dataAreaId": "dataAreaId"} if ours.company_specific and theirs.company_specific else {}
    return list((company | dict(navigation.joins)).items())


def known_property(entity: Entity, name: str) -> Property:
    """Property names are case-sensitive."""
    if name not in entity.properties:
        raise no_property(name, entity.type_name)
    return entity.properties[name]


def selection(entity: Entity, entities: Mapping[str, Entity], options: Mapping[str, str]) -> Selection:
    """Read `$select` and `$expand`; expanded are single levels, with nothing but `$select` inside."""
    expansions = _expanded(entity, options.get("$expand", ""), entities)
    if "$select" in options:
        names = dict.fromkeys(name.strip() for name in options["$select"].split(","))
        columns = _selected(entity, names)
    else:
        names, columns = {}, tuple(entity.properties.values())
    listed = [*names, *(each.navigation.name + each.selection.named for each in expansions if each.selection.named)]
    return Selection(columns, expansions, f"({','.join(listed)})" if listed else "")


def _selected(entity: Entity, names: Collection[str]) -> tuple[Property, ...]:
    """The properties named, in order; navigation properties among them select nothing by themselves."""
    wanted = tuple(known_property(entity, name) for name in names if name != "*" and name not in entity.navigations)
    return tuple(entity.properties.values()) if "*" in names else wanted


def _expanded(entity: Entity, text: str, entities: Mapping[str, Entity]) -> tuple[Expansion, ...]:
    found: list[Expansion] = []
    position = 0
    while position < len(text):
        match = _EXPANDED.match(text, position)
        if match is None:
            raise Refusal(f"The $expand '{text}' is not supported: only the first level, with $select inside.")
        found.append(_expansion(entity, match[1], match[2], entities))
        position = match.end()
    return tuple(found)


def _expansion(entity: Entity, name: str, inner: str | None, entities: Mapping[str, Entity]) -> Expansion:
    navigation = entity.navigations.get(name)
    if navigation is None:
        raise no_property(name, entity.type_name)
    target = entities[navigation.related_set]
    option, _, value = (part.strip() for part in (inner or "").partition("="))
    if inner is not None and option != "$select":
        raise Refusal(f"The query option '{option}' is not supported inside $expand.")
    wanted = selection(target, entities, {} if inner is None else {"$select": value})
    return Expansion(navigation, target, joins(navigation, entity, target), wanted)


def ordered(entity: Entity, text: str) -> str:
    """`$orderby` as SQL; enumerations sort by their numbers, as F&O stores them."""
    terms = [_term(entity, term.split()) for term in text.split(",")]
    return ", ".join(terms)


def _term(entity: Entity, words: list[str]) -> str:
    if not words or len(words) > 2 or words[1:] not in ([], ["asc"], ["desc"]):
        raise Refusal(f"Syntax error in $orderby at '{' '.join(words)}'.")
    prop = known_property(entity, words[0])
    sql = quoted(prop.name) if prop.enumeration is None else _numbered(quoted(prop.name), prop.enumeration)
    return f"{sql} {words[1] if len(words) == 2 else 'asc'}"


def _numbered(sql: str, enumeration: Enumeration) -> str:
    cases = " ".join(f"WHEN '{name}' THEN {number}" for name, number in enumeration.members.items())
    return f"CASE {sql} {cases} END"


def whole_number(call: Call, option: str) -> int | None:
    text = call.options.get(option)
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or int(text) > LARGEST_NUMBER:
        raise Refusal(f"Invalid value '{text}' for {option} query option found. It must be a non-negative integer.")
    return int(text)


def counted(call: Call) -> bool:
    text = call.options.get("$count", "false")
    if text not in ("true", "false"):
        raise Refusal(f"Invalid value '{text}' for $count query option found. Valid values are 'true' and 'false'.")
    return text == "true"


def skip_token(rows: int) -> str:
    """The opaque position after so many rows."""
    return urlsafe_b64encode(f"rows {rows}".encode()).decode()


def skipped(token: str | None) -> int:
    if token is None:
        return 0
    try:
        return min(int(urlsafe_b64decode(token).decode().removeprefix("rows ")), LARGEST_NUMBER)
    except ValueError as exc:
        raise Refusal(f"The value '{token}' of $skiptoken is not valid.") from exc


def conjunction(*conditions: tuple[str, Values]) -> tuple[str, Values]:
    """Join conditions that all must hold into one WHERE."""
    sql = " AND ".join(f"({sql})" for sql, _ in conditions) or "1"
    return sql, tuple(value for _, values in conditions for value in values)

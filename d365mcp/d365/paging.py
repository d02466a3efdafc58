"""Reads the records of one query, across pages and across the parts of a split filter, from any position on.

A position is that of the next record; it survives in a cursor. Where the order allows it, it is the last record's key
("keyset": constant cost however deep, and no row lost or repeated when others are inserted), else a number to skip.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from d365mcp.d365.client import D365Client
from d365mcp.d365.companies import CompanyBound
from d365mcp.d365.filters.translate import and_filters, keyset_filter
from d365mcp.d365.filters.tree import Expression, matches_filter
from d365mcp.d365.models import COMPANY, DataEntity, EntityProperty, Record
from d365mcp.d365.odata import QueryOptions
from d365mcp.d365.page_set import PageSet
from d365mcp.errors import InvalidArgument

# Records of a split filter that are held at once, to sort them.
_MAX_SORTED = 20_000
_PAGE_ROWS = 10_000  # F&O answers with no more: https://learn.microsoft.com/dynamics365/fin-ops-core/dev-itpro/data-entities/odata


@dataclass(frozen=True)
class Position:
    """Where the next record is: in which part of the filter, after which key or how many rows on."""

    part: int = 0
    skip: int = 0
    after: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Query:
    """One query in F&O's dialect. `filters` are the disjoint parts of what is asked; one empty filter means all."""

    entity: DataEntity
    filters: tuple[str, ...] = ("",)
    select: tuple[str, ...] = ()
    order_by: tuple[str, ...] = ()
    expand: tuple[str, ...] = ()
    cross_company: bool = False
    exact: Expression | None = None  # set where the filter is a superset: what every record must match
    bound: CompanyBound = CompanyBound()
    unordered: bool = False  # F&O refuses the order of the key: positions are numbers

    @cached_property
    def order(self) -> tuple[tuple[EntityProperty, bool], ...]:
        """Return the whole order, made unique by the key: (property, descending)."""
        asked = [item.split() for item in self.order_by]
        given = [(self.ordered_by(words[0]), words[-1].lower() == "desc") for words in asked]
        named = {prop.name for prop, _ in given}
        return (*given, *((prop, False) for prop in self.entity.key if prop.name not in named))

    def ordered_by(self, name: str) -> EntityProperty:
        """Return the property, or for a path through a navigation property one that stands for it."""
        return self.entity.properties.get(name) or EntityProperty(name, "Edm.String")

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Return what has to be selected: what is asked, and what positions and exactness need."""
        if not self.select:
            return ()
        needed = [prop.name for prop, _ in self.order if "/" not in prop.name]
        companies = (COMPANY,) if self.entity.has_company else self.bound.columns(self.entity)
        exact = sorted(self.exact.columns()) if self.exact else ()
        return tuple(dict.fromkeys([*self.select, *needed, *companies, *exact]))

    def options(self, position: Position, rows: int, *, count: bool = False) -> QueryOptions:
        """Return the query options that fetch up to `rows` records from `position` on."""
        after = keyset_filter(self.order, position.after) if position.after else None
        return QueryOptions(
            select=self.columns,
            filter=and_filters(self.filters[position.part], after or ""),
            order_by=self.order_by,
            top=rows,
            skip=position.skip or None,
            count=count,
            expand=self.expand,
            cross_company=self.cross_company,
        )

    def accepts(self, record: Mapping[str, Any]) -> bool:
        return self.exact is None or matches_filter(self.exact, record)


@dataclass(frozen=True, slots=True)
class RecordPlace:
    """Where a record stands: the `taken`th of what was read from `start` on."""

    query: Query
    start: Position
    taken: int
    record: Mapping[str, Any]

    def following(self) -> Position:
        """Return the position after the record."""
        order = self.query.order if not self.query.unordered else ()
        values = tuple(self.record.get(prop.name) for prop, _ in order)
        if values and not any("/" in prop.name for prop, _ in order) and keyset_filter(order, values):
            return Position(self.start.part, after=values)
        return Position(self.start.part, self.start.skip + self.taken, self.start.after)


@dataclass
class Reader:
    """Reads one query. After reading, `count` is the total where it was asked and F&O could tell.

    `patience` is how many records F&O may find before the first that is exactly what is asked.
    """

    client: D365Client
    query: Query
    counting: bool = False
    patience: int | None = None
    count: int | None = field(default=None, init=False)
    waiting: int = field(default=0, init=False)  # records at hand that were not taken
    pages: int = field(default=0, init=False)
    repeated: int = field(default=0, init=False)  # records that came twice from the pages of one request
    exhausted: bool = field(default=False, init=False)  # whether the last record there is was read

    async def records(self, start: Position, wanted: int) -> AsyncGenerator[tuple[Record, RecordPlace], None]:
        """Yield up to `wanted` records, each with its place."""
        if len(self.query.filters) > 1 and self.query.order_by:
            async for record, there in self.merged(start, wanted):
                yield record, there
            return
        position, superset = start, max(4 * wanted, 200)
        while position.part < len(self.query.filters):
            if self.patience is not None and self.patience <= 0:
                return
            asked = min(wanted if self.query.exact is None else superset, _PAGE_ROWS)
            superset *= 4  # what few records match is looked for in ever larger steps
            place: RecordPlace | None = None
            async for record in self.chunk(position, asked):
                place = RecordPlace(self.query, position, place.taken + 1 if place else 1, record)
                if self.query.accepts(record):
                    self.patience = None
                    yield record, place
                    wanted -= 1
                if not wanted:
                    return
                if place.taken == asked:
                    break
            if self.patience is not None and place is not None:
                self.patience -= place.taken
            ended = place is None or place.taken < asked
            position = Position(position.part + 1) if ended or place is None else place.following()
        self.exhausted = True

    async def chunk(self, position: Position, rows: int) -> AsyncGenerator[Record, None]:
        """Yield what one request asks for, across the pages F&O cuts it into."""
        counting = self.counting and self.count is None
        options = self.query.options(position, rows, count=counting)
        pages = PageSet(self.client, self.query.entity, options, self.query.bound, self.query.unordered)
        repeated = self.repeated
        while page := await pages.next():
            self.pages += 1
            self.repeated = repeated + pages.repeated
            if counting:
                self.count = pages.count
            if pages.unordered and not self.query.unordered:
                self.query = replace(self.query, unordered=True)
            for index, record in enumerate(page.records, 1):
                self.waiting = len(page.records) - index
                yield record

    async def merged(self, start: Position, wanted: int) -> AsyncGenerator[tuple[Record, RecordPlace], None]:
        """Yield from all parts in the asked order: each is read from its beginning and sorted in with the others."""
        upto = start.skip + wanted
        found: list[Record] = []
        for part in range(len(self.query.filters)):
            alone = Reader(self.client, replace(self.query, filters=(self.query.filters[part],)))
            async for record, _ in alone.records(Position(), upto):
                self.query = replace(self.query, unordered=alone.query.unordered)
                found.append(record)
                if len(found) > _MAX_SORTED:
                    raise InvalidArgument(
                        f"A filter as long as this finds more than {_MAX_SORTED:,} records, too many to be sorted here.",
                        hint="Leave order_by out, or narrow the filter.",
                    )
        for prop, descending in reversed(self.query.order):
            found.sort(key=lambda record: _sort_key(record.get(prop.name)), reverse=descending)
        for index, record in enumerate(found[start.skip : upto], start.skip + 1):
            self.waiting = min(len(found), upto) - index
            yield record, RecordPlace(self.query, Position(), index, {})


def _sort_key(value: Any) -> tuple[int, Any]:
    """Order as F&O does: text without case, empty before anything."""
    if value is None:
        return (0, 0)
    return (1, value.casefold()) if isinstance(value, str) else (1, value)


def position_state(position: Position) -> Sequence[Any]:
    """Return a position as JSON values, for a cursor."""
    return [position.part, position.skip, list(position.after)]


def position_of(state: Sequence[Any]) -> Position:
    part, skip, after = state
    return Position(part, skip, tuple(after))

"""The pages of one request as one set: in an order of their own, of companies that may be read, and counted.

F&O cuts an answer into pages by position. Without an order that is unique, records come twice or are left out between
them (https://github.com/OData/WebApi/issues/1135).
"""

import asyncio
import re
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass, field, replace
from typing import TypeVar

from d365mcp.d365.client import D365Client, RecordPage
from d365mcp.d365.companies import CompanyBound
from d365mcp.d365.models import DataEntity, Record
from d365mcp.d365.odata import QueryOptions
from d365mcp.errors import BadRequest, D365McpError
from d365mcp.events import current_operation

# What is only worth knowing may take this long.
_GLANCE_SECONDS = 5.0

_ORDER = re.compile(r"order ?by|sort", re.IGNORECASE)

T = TypeVar("T")


@dataclass
class PageSet:
    """The pages of one request, read one after the other. `options` has the order that was asked for, if any was."""

    client: D365Client
    entity: DataEntity
    options: QueryOptions
    bound: CompanyBound = CompanyBound()
    unordered: bool = False  # F&O refused the order of the key
    count: int | None = None  # F&O's, where it was asked for
    read: int = 0  # pages
    rows: int = 0
    repeated: int = 0  # rows whose key came before
    last: RecordPage | None = None
    keys: set[int] = field(default_factory=set)

    async def next(self) -> RecordPage | None:
        """Return the next page, None after the last one. Raises NotAllowed for records outside the bound."""
        if self.last and self.last.next_link:
            page = await self.client.next_page(self.last.next_link, self.last.path)
        elif self.last:
            return None
        else:
            page = await self.first()
        self.bound.check_records(self.entity, page.records)
        self.count = page.count if self.last is None else self.count
        self.last = page
        self.read += 1
        self.rows += len(page.records)
        if self.read > 1 or page.next_link:
            self.compare(page.records)
        return page

    async def first(self) -> RecordPage:
        """Read the first page, in the order of the key. Where F&O refuses that order, and the caller asked for none, read it without."""
        entity_set, ordered = self.entity.entity_set, in_key_order(self.options, self.entity)
        if self.unordered or ordered == self.options:
            return await self.client.query(entity_set, self.options)
        try:
            return await self.client.query(entity_set, ordered)
        except BadRequest as refused:
            if not may_be_about_order(refused, self.entity):
                raise
            refusal = refused
        try:
            page = await self.client.query(entity_set, with_keys(self.options, self.entity))
        except BadRequest:
            raise refusal from None
        self.unordered = True
        return page

    def compare(self, records: Iterable[Record]) -> None:
        """Count the records that came before, by their keys as far as they were selected."""
        names = [prop.name for prop in self.entity.key]
        for record in records:
            if not names or not all(name in record for name in names):
                return
            before = len(self.keys)
            self.keys.add(hash(tuple(str(record[name]) for name in names)))
            self.repeated += before == len(self.keys)


def may_be_about_order(refusal: BadRequest, entity: DataEntity) -> bool:
    """Return whether a set may have refused the order of its key.

    Users say that some sets do so where an enumeration is in it; neither the sets nor the words are written anywhere.
    """
    named = any(_ORDER.search(message) for message in refusal.messages)
    return named or any(prop.enumeration for prop in entity.key)


def with_keys(options: QueryOptions, entity: DataEntity) -> QueryOptions:
    """Return the options with the key among the columns: without an order, the key alone identifies a record."""
    if not options.select:
        return options
    names = (*options.select, *(prop.name for prop in entity.key))
    return replace(options, select=tuple(dict.fromkeys(names)))


def in_key_order(options: QueryOptions, entity: DataEntity) -> QueryOptions:
    """Return the options with an order made unique by the key."""
    asked = [item.split()[0] for item in options.order_by]
    return replace(options, order_by=(*options.order_by, *(prop.name for prop in entity.key if prop.name not in asked)))


async def difference(
    client: D365Client, entity_set: str, options: QueryOptions, rows: int, repeated: int = 0
) -> str | None:
    """Return a note where F&O counts other records than came over several pages: they are no one set."""
    counting = QueryOptions(filter=options.filter, cross_company=options.cross_company)
    return difference_from(await glance(client.count(entity_set, counting)), entity_set, rows, repeated)


def difference_from(count: int | None, entity_set: str, rows: int, repeated: int = 0) -> str | None:
    """Return the note where F&O counted other records than came, if it did count."""
    if count is None or count == rows - repeated:
        return None
    came = f"{rows:,} came" + (f", {repeated:,} of them twice" if repeated else "")
    return f"F&O counts {count:,} {entity_set} records, but over its pages {came}: ask again, or narrow the filter"


async def glance(look: Awaitable[T]) -> T | None:
    """Return what a look finds that is not worth waiting for long; None where it fails or takes too much time."""
    operation = current_operation()
    try:
        async with asyncio.timeout(min(_GLANCE_SECONDS, operation.remaining() / 3 if operation else _GLANCE_SECONDS)):
            return await look
    except (D365McpError, TimeoutError):
        return None

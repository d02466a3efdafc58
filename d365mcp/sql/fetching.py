"""Fetches one scan: its pages go into the statement's database as F&O sent them."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from urllib.parse import unquote

from d365mcp.d365.client import D365Client
from d365mcp.d365.filters.translate import and_filters, translate_filter
from d365mcp.d365.filters.write import percent_encoded
from d365mcp.d365.models import COMPANY, EntityProperty
from d365mcp.d365.odata import QueryOptions
from d365mcp.d365.page_set import difference_from, glance, in_key_order, may_be_about_order, with_keys
from d365mcp.errors import BadRequest, DeadlineExceeded, InvalidArgument, Unreachable, or_list
from d365mcp.events import current_operation
from d365mcp.sql.answers import Limits, StatementAnswer
from d365mcp.sql.arrivals import ArrivedPage
from d365mcp.sql.child.loading import Column
from d365mcp.sql.companies import TableReading
from d365mcp.sql.database import Database, Table
from d365mcp.sql.partners import Partners
from d365mcp.sql.plan import Scan
from d365mcp.sql.reading import PageReader, PartsDiffer, Share
from d365mcp.sql.semi_joins import OF_KEY, ValueFilters, narrowness
from d365mcp.sql.types import DATES, column_type

# Kept for the database's own work, out of the request's time.
_DATABASE_SECONDS = 2.0
_CHANGED = "it changed while it was read, so it was read again, in order: records may be missing or there twice"
_UNREAD = "some values are missing or not of the type that the schema says: they count as NULL"


class Narrower(Exception):
    """A scan is better read again by the values of its partners."""

    def __init__(self, found: ValueFilters, filters: tuple[str, ...]) -> None:
        super().__init__()
        self.found, self.filters = found, filters


@dataclass
class Fetch:
    """Fetches one scan, page by page, into its table. It ends early where `enough` says so."""

    database: Database
    client: D365Client
    limits: Limits
    share: Share
    answer: StatementAnswer
    scan: Scan
    reading: TableReading
    partners: Partners
    enough: Callable[[], Awaitable[bool]] | None = None
    unordered: bool = False  # F&O refused the order of the key
    by_links: bool = False  # the set changed, or F&O refuses `$skip`
    narrowed: ValueFilters | None = None
    tried: set[tuple[str, ...]] = field(default_factory=set)
    companies: set[str] = field(default_factory=set)  # of the records, where it was left to F&O

    async def run(self) -> None:
        await self.partners.wait_for_narrower(self.scan)
        if narrower := await self.narrowest():
            self.narrow(narrower)
        while not await self.is_read():
            pass
        self.answer.count(self.scan.entity.entity_set, self.table.rows)
        if self.table.unread:
            self.note(_UNREAD)
        if self.narrowed:
            self.answer.notes.append(self.partners.note(self.scan, self.narrowed))
        await self.look_at_records()

    async def is_read(self) -> bool:
        """Read the scan. Returns False where it has to be read again, in another way."""
        self.table.drop_arrived()
        await self.table.clear()
        try:
            async with AsyncExitStack() as stack:
                requests = self.requests()
                readers = [await stack.enter_async_context(self.reader(options)) for options in requests]
                for number, (options, reader) in enumerate(zip(requests, readers, strict=True)):
                    for following in readers[number : number + self.share.most] if self.enough is None else ():
                        following.start()
                    if not await self.pages(options, reader):
                        break
        except PartsDiffer as problem:
            self.by_links = True
            if problem.changed:
                self.note(_CHANGED)
            return False
        except Narrower as narrower:
            self.narrow(narrower)
            return False
        return True

    @cached_property
    def table(self) -> Table:
        return self.database.table(self.scan.name, self.columns, self.limits.max_rows_scanned)

    async def run_without_top(self) -> bool:
        """Read all rows where the first ones did not suffice. Returns False where there were no others."""
        if self.scan.top is None or self.table.rows < self.scan.top:
            return False
        self.scan = replace(self.scan, top=None, order_by=())
        await self.run()
        return True

    @property
    def columns(self) -> list[Column]:
        """Return the columns of the scan's table, also those that say whose records these are where that is not known,
        and without an order the key, by which records that come twice are found."""
        entity = self.scan.entity
        company = [COMPANY] if self.reading.is_open else self.limits.asked.bound.columns(entity)
        keys = [prop.name for prop in entity.key] if self.unordered else []
        names = dict.fromkeys([*self.scan.columns, *company, *keys])
        return [(name, column_type(entity.properties[name])) for name in names]

    async def look_at_records(self) -> None:
        """Learn whose records came, and how exactly. Raises NotAllowed for one of a company that may not be touched."""
        bound, entity = self.limits.asked.bound, self.scan.entity
        columns = [COMPANY] if self.reading.is_open else bound.columns(entity)
        found = await self.table.look(columns)
        bound.check_records(entity, found.records)
        if self.reading.is_open:
            self.companies = {str(record[COMPANY]).lower() for record in found.records if record[COMPANY]}
        for column in self.table.inexact:
            self.note(f"{column} has numbers with too many digits to be exact; they are rounded to 15")

    # What is asked

    def requests(self) -> list[QueryOptions]:
        """Return the requests that fetch the scan, in the order of its key: one, or several where its filter is split."""
        scan, reading = self.scan, self.reading
        one = QueryOptions(
            select=tuple(name for name, _ in self.columns),
            order_by=scan.order_by if len(reading.filters) == 1 else (),
            top=min(self.limits.max_rows_scanned + 1, scan.top or self.limits.max_rows_scanned + 1),
            cross_company=reading.scope.cross_company,
        )
        return [replace(one, filter=and_filters(reading.scope.filter, each)) for each in reading.filters]

    async def narrowest(self, than: int = 2) -> Narrower | None:
        """Return the filters by the partners' values that take fewer requests than these, if they were not tried."""
        if len(self.reading.filters) > 1 and not self.narrowed:
            return None
        taken = len(percent_encoded(self.reading.scope.filter)) + (
            len(percent_encoded(self.scan.filter)) if self.scan.filter else 0
        )
        for found in await self.partners.value_filters(self.scan, taken):
            if len(found.texts) < than and found.texts not in self.tried:
                self.tried.add(found.texts)
                with suppress(InvalidArgument):  # a value that no filter can have
                    filters = await asyncio.to_thread(_narrowed_filters, self.scan, found)
                    if len(filters) < than:
                        return Narrower(found, filters)
        return None

    def narrow(self, narrower: Narrower) -> None:
        self.reading, self.narrowed = replace(self.reading, filters=narrower.filters), narrower.found

    # Pages

    async def pages(self, options: QueryOptions, reader: PageReader) -> bool:
        """Load every page of one request. Returns False when the scan was cut short, or there is enough."""
        before = self.table.rows
        while True:
            if self.out_of_time():
                return self.cut("the request's time ran out", DeadlineExceeded)
            try:
                page = await reader.next()
            except (DeadlineExceeded, Unreachable):
                return self.cut("F&O did not answer in time", DeadlineExceeded)
            if page is None:
                break
            await self.table.load(page.page, skip_first=page.overlaps)
            if self.table.more:
                return self.cut(f"more than {self.limits.max_rows_scanned:,} rows", InvalidArgument)
            if self.enough and await self.enough():
                return False
            if reader.pages == 1 and reader.has_more:
                await self.look_for_less(reader)
        if reader.pages > 1:
            await self.check_whole(options, reader, self.table.rows - before)
        return True

    def reader(self, options: QueryOptions) -> PageReader:
        return PageReader(
            ScanRequest(self, options),
            self.share,
            self.limits.pace,
            wanted=options.top or self.limits.max_rows_scanned,
            thrifty=self.enough is not None,
            is_narrow=bool(self.narrowed) or narrowness(self.scan.filter, self.scan.entity) == OF_KEY,
            by_links=self.by_links,
        )

    async def look_for_less(self, reader: PageReader) -> None:
        """Look, when there are more pages, whether fewer requests would do. Raises Narrower where they would.

        Too many rows are refused before they are read.
        """
        self.partners.settle(self.scan)
        if self.scan.partners and (narrower := await self.narrowest(than=await reader.pages_left())):
            raise narrower
        most, is_bounded = self.limits.max_rows_scanned, self.scan.top is not None or self.enough is not None
        if not is_bounded and not self.limits.allow_partial and (await reader.counted() or 0) > most:
            await self.partners.wait_for_all(self.scan)
            if narrower := await self.narrowest(than=await reader.pages_left()):
                raise narrower
            self.cut(f"it has {reader.total:,} rows, more than {most:,} rows", InvalidArgument)

    async def check_whole(self, options: QueryOptions, reader: PageReader, rows: int) -> None:
        """Compare several pages with F&O's own count: records that come or go meanwhile may be missing or twice."""
        wanted = options.top or rows
        if reader.total is not None and reader.side_by_side:
            if rows != min(reader.total, wanted):
                raise PartsDiffer(changed=True)
        elif self.scan.top is None:
            entity, repeated = self.scan.entity, 0
            if self.unordered:
                repeated = (await self.table.look(key=[prop.name for prop in entity.key])).repeated
            count = reader.total
            if count is None:
                async with self.share.place():
                    count = await ScanRequest(self, options).count()
            note = difference_from(count, entity.entity_set, rows, repeated)
            self.answer.notes += [note] if note else []

    async def first_page(self, options: QueryOptions) -> ArrivedPage:
        """Ask for the first page. A set that refuses an order is asked without one."""
        entity = self.scan.entity
        if not self.unordered:
            try:
                return await self.recorded_page(in_key_order(options, entity))
            except BadRequest as refused:
                if self.table.rows or not may_be_about_order(refused, entity):
                    raise
            self.unordered = True
            self.table.columns = self.columns  # with the key
            await self.table.clear()
            # Without the statement's own order the first rows are not those that it wants.
            top = self.limits.max_rows_scanned + 1 if self.scan.order_by else options.top
            options = replace(options, order_by=(), top=top)
        return await self.recorded_page(with_keys(options, entity))

    async def recorded_page(self, options: QueryOptions) -> ArrivedPage:
        entity_set = self.scan.entity.entity_set
        self.answer.requests.append(f"GET /data/{entity_set}?{unquote(options.query_string())}")
        return await self.page(options)

    async def page(self, options: QueryOptions) -> ArrivedPage:
        arrival = self.table.arrival()
        return arrival.page(await self.client.page_as_sent(self.scan.entity.entity_set, options, arrival.receive))

    def note(self, text: str) -> None:
        self.answer.notes.append(f"{self.scan.entity.entity_set}: {text}")

    def out_of_time(self) -> bool:
        operation = current_operation()
        return operation is not None and operation.remaining() < _DATABASE_SECONDS

    def cut(self, reason: str, kind: type[DeadlineExceeded | InvalidArgument]) -> bool:
        """Note that the scan is incomplete where that is allowed, else refuse to answer over part of the data."""
        name = self.scan.entity.entity_set
        if not self.limits.allow_partial:
            raise kind(f"{name} was not read to its end: {reason}.", hint=self.advice())
        self.answer.partial = True
        self.note(f"only the first {self.table.rows:,} rows were read ({reason})")
        return False

    def advise(self, seconds: float) -> None:
        """Say what would have saved most of the time, where the scan reads all there is."""
        if not self.scan.filter and (wanted := self.open_columns()):
            self.note(
                f"{self.table.rows:,} rows took {seconds:.0f} s: a filter on {or_list(wanted)} would save most of it"
            )

    def advice(self) -> str:
        """Say what would let the scan come to its end."""
        wanted = self.open_columns()
        filters = f"Filter {self.scan.entity.entity_set} by {or_list(wanted)}" if wanted else "Filter more"
        return f"{filters}, raise max_rows_scanned, or set allow_partial."

    def open_columns(self) -> list[str]:
        """Return the columns whose filter would help most."""
        open_columns = [
            prop.name
            for prop in self.scan.entity.properties.values()
            if prop.name not in self.scan.filter and (prop.name in self.scan.columns or prop.data_type == "Date")
        ]
        return sorted(open_columns, key=lambda name: _preference(self.scan.entity.properties[name]))[:3]


def _narrowed_filters(scan: Scan, found: ValueFilters) -> tuple[str, ...]:
    """Return the filters in F&O's dialect. Raises InvalidArgument for values that cannot be asked for."""
    texts = [f"({scan.filter}) and {text}" if scan.filter else text for text in found.texts]
    return tuple(filter for text in texts for filter in translate_filter(text, scan.entity).filters)


@dataclass(frozen=True)
class ScanRequest:
    """One request of a scan, and its parts."""

    fetch: Fetch
    options: QueryOptions

    @property
    def in_key_order(self) -> bool:
        return not self.fetch.unordered and bool(self.fetch.scan.entity.key)

    async def first(self) -> ArrivedPage:
        return await self.fetch.first_page(self.options)

    async def following(self, link: str) -> ArrivedPage:
        arrival, path = self.fetch.table.arrival(), f"/data/{self.fetch.scan.entity.entity_set}"
        return arrival.page(await self.fetch.client.next_page_as_sent(link, path, arrival.receive))

    async def part(self, skip: int, top: int | None) -> ArrivedPage:
        options = in_key_order(self.options, self.fetch.scan.entity)
        return await self.fetch.page(replace(options, skip=skip, top=top))

    async def count(self) -> int | None:
        options = QueryOptions(filter=self.options.filter, cross_company=self.options.cross_company)
        return await glance(self.fetch.client.count(self.fetch.scan.entity.entity_set, options))


def _preference(prop: EntityProperty) -> int:
    """Rank columns by how well a filter on them narrows a scan: dates, companies, enumerations, the rest."""
    if column_type(prop) in DATES:
        return 0
    if prop.name == COMPANY:
        return 1
    return 2 if prop.enumeration else 3

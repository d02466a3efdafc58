"""Fetches one scan: its pages go into the statement's database as F&O sent them."""

import asyncio
from dataclasses import dataclass, field, replace
from functools import cached_property
from urllib.parse import unquote

from d365mcp.d365.client import D365Client
from d365mcp.d365.filters.translate import and_filters
from d365mcp.d365.models import COMPANY, EntityProperty
from d365mcp.d365.odata import QueryOptions
from d365mcp.d365.page_set import difference, in_key_order, may_be_about_order, with_keys
from d365mcp.errors import BadRequest, DeadlineExceeded, InvalidAnswer, InvalidArgument, Unreachable, or_list
from d365mcp.events import current_operation
from d365mcp.sql.answers import Limits, StatementAnswer
from d365mcp.sql.child.loading import Column
from d365mcp.sql.child.pages import next_link
from d365mcp.sql.companies import Reading
from d365mcp.sql.database import Database, Table
from d365mcp.sql.plan import Scan
from d365mcp.sql.types import DATES, column_type

# Kept for the database's own work, out of the request's time.
_DATABASE_SECONDS = 2.0
_UNREAD = "some values are missing or not of the type that the schema says: they count as NULL"


@dataclass
class Fetch:
    """Fetches one scan, page by page, into its table."""

    database: Database
    client: D365Client
    limits: Limits
    gate: asyncio.Semaphore
    answer: StatementAnswer
    scan: Scan
    reading: Reading
    unordered: bool = False  # F&O refused the order of the key
    companies: set[str] = field(default_factory=set)  # of the records, where it was left to F&O

    async def run(self) -> None:
        await self.table.clear()
        for options in self.requests():
            if not await self.pages(options):
                break
        self.answer.count(self.scan.entity.entity_set, self.table.rows)
        if self.table.unread:
            self.note(_UNREAD)
        await self.look_at_records()

    @cached_property
    def table(self) -> Table:
        return self.database.table(self.scan.name, self.columns, self.limits.max_rows_scanned)

    async def run_without_top(self) -> bool:
        """Read all rows where the first ones did not suffice. Returns False where there were no others."""
        if self.table.rows < (self.scan.top or 0):
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
        for column in found.inexact:
            self.note(f"{column} has numbers with too many digits to be exact; they are rounded to 15")

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

    async def pages(self, options: QueryOptions) -> bool:
        """Load every page of one request, each while the next is on its way. Returns False when the scan was cut short."""
        before, pages, link = self.table.rows, 0, ""
        following: asyncio.Task[bytes] | None = None
        try:
            while True:
                if self.out_of_time():
                    return self.cut("the request's time ran out", DeadlineExceeded)
                try:
                    page = await (following or self.page(options, link))
                except (DeadlineExceeded, Unreachable):
                    return self.cut("F&O did not answer in time", DeadlineExceeded)
                before_it, link, following = link, next_link(page) or "", None
                if link and link == before_it:
                    raise InvalidAnswer(
                        "F&O's link to the next page leads to the same page.", hint="Narrow the filter."
                    )
                if link and not self.out_of_time():
                    following = asyncio.create_task(self.page(options, link))
                await self.table.load(page)
                pages += 1
                if self.table.more:
                    return self.cut(f"more than {self.limits.max_rows_scanned:,} rows", InvalidArgument)
                if not link:
                    break
        finally:
            if following:
                following.add_done_callback(lambda task: task.cancelled() or task.exception())
                following.cancel()
        if pages > 1 and self.scan.top is None:
            await self.check_count(options, self.table.rows - before)
        return True

    async def page(self, options: QueryOptions, link: str) -> bytes:
        """Ask for a page."""
        async with self.gate:
            return await self.asked(options, link)

    async def asked(self, options: QueryOptions, link: str) -> bytes:
        """Ask for a page. A set that refuses an order is asked without one."""
        entity = self.scan.entity
        if link:
            return await self.client.next_page_as_sent(link, f"/data/{entity.entity_set}")
        if self.unordered:
            return await self.first_page(with_keys(options, entity))
        try:
            return await self.first_page(in_key_order(options, entity))
        except BadRequest as refused:
            if self.table.rows or not may_be_about_order(refused, entity):
                raise
        self.unordered = True
        self.table.columns = self.columns  # with the key
        await self.table.clear()
        # Without the statement's own order the first rows are not those that it wants.
        top = self.limits.max_rows_scanned + 1 if self.scan.order_by else options.top
        return await self.first_page(replace(with_keys(options, entity), order_by=(), top=top))

    async def first_page(self, options: QueryOptions) -> bytes:
        entity_set = self.scan.entity.entity_set
        self.answer.requests.append(f"GET /data/{entity_set}?{unquote(options.query_string())}")
        return await self.client.page_as_sent(entity_set, options)

    async def check_count(self, options: QueryOptions, rows: int) -> None:
        """Compare several pages with F&O's own count: records that come or go meanwhile may be missing or twice."""
        entity, repeated = self.scan.entity, 0
        if self.unordered:
            repeated = (await self.table.look(key=[prop.name for prop in entity.key])).repeated
        note = await difference(self.client, entity.entity_set, options, rows, repeated)
        self.answer.notes += [note] if note else []

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


def _preference(prop: EntityProperty) -> int:
    """Rank columns by how well a filter on them narrows a scan: dates, companies, enumerations, the rest."""
    if column_type(prop) in DATES:
        return 0
    if prop.name == COMPANY:
        return 1
    return 2 if prop.enumeration else 3

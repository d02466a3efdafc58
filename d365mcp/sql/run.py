"""Runs a planned statement: F&O's pages are loaded into DuckDB as they came, which answers it."""

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any
from urllib.parse import unquote

from d365mcp.d365.client import D365Client, record_page
from d365mcp.d365.filters.translate import and_filters
from d365mcp.d365.models import COMPANY, EntityProperty
from d365mcp.d365.odata import QueryOptions
from d365mcp.d365.page_set import difference, in_key_order, may_be_about_order, with_keys
from d365mcp.d365.responses import HttpAnswer as Answered
from d365mcp.errors import BadRequest, D365Error, DeadlineExceeded, InvalidAnswer, InvalidArgument, Unreachable, or_list
from d365mcp.events import current_operation
from d365mcp.sql.companies import Asked, Reading, must_name_default, read_as, refuse_mixture, refuse_unread
from d365mcp.sql.database import TOO_LONG, Database
from d365mcp.sql.loading import Column, Loaded, NoRecords
from d365mcp.sql.plan import Plan, Scan
from d365mcp.sql.types import DATES, column_type

# Requests to F&O under way at once, over all tables of a statement.
IN_FLIGHT = 4
# Kept for DuckDB's own work, out of the request's time.
RESERVED_SECONDS = 2.0


@dataclass(frozen=True)
class Limits:
    """How much may be read, and of which companies."""

    max_rows_scanned: int
    allow_partial: bool
    asked: Asked


@dataclass
class Answer:
    """What a statement returned, and what it took. `requests` are the OData requests, as people read them."""

    columns: tuple[str, ...] = ()
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    more: bool = False
    requests: list[str] = field(default_factory=list)
    rows_scanned: dict[str, int] = field(default_factory=dict)
    companies: dict[str, str] = field(default_factory=dict)  # by entity set that has companies
    company: str = ""  # where it is the same one for all
    partial: bool = False
    notes: list[str] = field(default_factory=list)

    def count(self, entity_set: str, rows: int) -> None:
        self.rows_scanned[entity_set] = self.rows_scanned.get(entity_set, 0) + rows


async def run(plan: Plan, database: Database, client: D365Client, limits: Limits) -> Answer:
    """Fetch what the plan's scans need and answer it. The answer is never over partial data unless that is allowed.

    Raises InvalidArgument when a table is too large, DeadlineExceeded when time runs out; both name what would help.
    """
    answer = Answer(columns=plan.headings)
    readings = await readings_of(plan, client, limits.asked)
    gate = asyncio.Semaphore(IN_FLIGHT)
    fetches = [Fetch(database, client, limits, gate, answer, scan, readings[scan.name]) for scan in plan.scans]
    try:
        async with asyncio.TaskGroup() as tables:
            for fetch in fetches:
                tables.create_task(fetch.run())
    except ExceptionGroup as several:
        raise several.exceptions[0] from None
    answer.rows, answer.more = await within_time(database, partial(database.query, plan.sql))
    if plan.limit is not None and len(answer.rows) < plan.limit and await fetches[0].run_without_top():
        answer.rows, answer.more = await within_time(database, partial(database.query, plan.sql))
    readings = await with_default(readings, {fetch.scan.name: fetch.companies for fetch in fetches}, client)
    answer.companies, answer.company = companies_read(readings.values()), only_company(readings.values())
    answer.notes = list(dict.fromkeys([*plan.notes, *company_notes(plan, readings), *answer.notes]))
    return answer


async def readings_of(plan: Plan, client: D365Client, asked: Asked) -> dict[str, Reading]:
    """Return how each scan is read, the default company named where that matters. Raises InvalidArgument, NotAllowed."""

    def read() -> dict[str, Reading]:
        return {scan.name: read_as(scan.entity, scan.filter, scan.company_use, asked) for scan in plan.scans}

    readings = read()
    if must_name_default(list(readings.values()), asked.bound):
        asked = replace(asked, default=(await client.session()).company.lower())
        readings = read()
        refuse_unread(list(readings.values()), asked.default)
        refuse_mixture(list(readings.values()))
    return readings


async def with_default(
    readings: Mapping[str, Reading], companies: Mapping[str, set[str]], client: D365Client
) -> dict[str, Reading]:
    """Return the readings with the default company that the records name, or F&O. Raises InvalidAnswer where it changed."""
    found = set[str]().union(*companies.values())
    if len(found) > 1:
        names = " and ".join(sorted(found))
        raise InvalidAnswer(
            f"The default company changed while the statement was read: it is {names}.", hint="Ask again."
        )
    if not found and any(reading.is_open for reading in readings.values()):
        with suppress(D365Error):  # then the answer says no more than that it is the default one
            found = {(await client.session(fresh=True)).company.lower()}
    if not found:
        return dict(readings)
    return {
        name: replace(reading, scope=replace(reading.scope, companies=frozenset(found))) if reading.is_open else reading
        for name, reading in readings.items()
    }


def companies_read(readings: Iterable[Reading]) -> dict[str, str]:
    """Return whose records each entity set is read from."""
    found: dict[str, dict[str, None]] = {}
    for reading in readings:
        if reading.entity.has_company:
            found.setdefault(reading.entity.entity_set, {})[reading.companies] = None
    return {entity_set: "; ".join(companies) for entity_set, companies in found.items()}


def only_company(readings: Iterable[Reading]) -> str:
    """Return the company that all entity sets are read from, where there is just one."""
    every = {reading.scope.company for reading in readings if reading.entity.has_company}
    return (every.pop() or "") if len(every) == 1 else ""


def company_notes(plan: Plan, readings: Mapping[str, Reading]) -> list[str]:
    """Return what a reader should know of the companies that were read."""
    names = {name: reading.entity.entity_set for name, reading in readings.items()}
    found = [f"{names[name]}: {note}" for name, reading in readings.items() for note in reading.scope.notes]
    for name, reading in readings.items():
        if reading.scope.is_default and reading.use.used:
            read = f"every dataAreaId is {reading.companies}, the default company; cross_company reads all"
            found.append(f"{names[name]}: {read}")
    for one, other in plan.apart:
        first, second = readings[one].scope, readings[other].scope
        if first.company is None or first.company != second.company:
            found.append(
                f"{names[one]} and {names[other]} are joined without dataAreaId: records of different companies may be "
                "joined; say that their dataAreaId is equal"
            )
    return found


async def within_time(database: Database, work: partial[Any]) -> Any:
    """Run DuckDB's own work within what is left of the request's time."""
    operation = current_operation()
    seconds = max(0.5, operation.remaining() - 0.5) if operation else None
    try:
        async with asyncio.timeout(seconds):
            return await database.off_loop(work)
    except TimeoutError:
        raise DeadlineExceeded(TOO_LONG) from None


@dataclass
class Fetch:
    """Fetches one scan, page by page, into its table."""

    database: Database
    client: D365Client
    limits: Limits
    gate: asyncio.Semaphore
    answer: Answer
    scan: Scan
    reading: Reading
    rows: int = 0
    unordered: bool = False  # F&O refused the order of the key
    companies: set[str] = field(default_factory=set)  # of the records, where it was left to F&O

    async def run(self) -> None:
        await self.create()
        for options in self.requests():
            if not await self.pages(options):
                break
        name = self.scan.entity.entity_set
        self.answer.count(name, self.rows)
        await self.look_at_companies()
        for column in await self.database.off_loop(partial(self.database.inexact, self.scan.name, self.columns)):
            self.note(f"{column} has numbers with too many digits to be exact; they are rounded to 15")

    async def create(self) -> None:
        await self.database.off_loop(partial(self.database.create, self.scan.name, self.columns))

    async def run_without_top(self) -> bool:
        """Read all rows where the first ones did not suffice. Returns False where there were no others."""
        if self.rows < (self.scan.top or 0):
            return False
        self.scan = replace(self.scan, top=None, order_by=())
        self.rows = 0
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

    async def look_at_companies(self) -> None:
        """Learn whose records came. Raises NotAllowed for one of a company that this server may not touch."""
        bound, entity = self.limits.asked.bound, self.scan.entity
        columns = [COMPANY] if self.reading.is_open else bound.columns(entity)
        found = (
            await self.database.off_loop(partial(self.database.distinct, self.scan.name, columns)) if columns else []
        )
        bound.check_records(entity, found)
        if self.reading.is_open:
            self.companies = {str(record[COMPANY]).lower() for record in found if record[COMPANY]}

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
        """Load every page of one request. Returns False when the scan was cut short."""
        before, pages, link = self.rows, 0, ""
        while True:
            if self.out_of_time():
                return self.cut("the request's time ran out", DeadlineExceeded)
            try:
                async with self.gate:
                    page = await self.page(options, link)
            except (DeadlineExceeded, Unreachable):
                return self.cut("F&O did not answer in time", DeadlineExceeded)
            loaded = await self.loaded(page)
            self.rows += loaded.rows
            pages += 1
            if loaded.unread:
                self.note("some values are missing or not of the type that the schema says: they count as NULL")
            if loaded.more:
                return self.cut(f"more than {self.limits.max_rows_scanned:,} rows", InvalidArgument)
            if loaded.next_link is None:
                break
            if loaded.next_link == link:
                raise InvalidAnswer("F&O's link to the next page leads to the same page.", hint="Narrow the filter.")
            link = loaded.next_link
        if pages > 1 and self.scan.top is None:
            await self.check_count(options, self.rows - before)
        return True

    async def page(self, options: QueryOptions, link: str) -> bytes:
        """Ask for a page. A set that refuses an order is asked without one."""
        entity = self.scan.entity
        if link:
            return await self.client.next_page_as_sent(link, f"/data/{entity.entity_set}")
        if self.unordered:
            return await self.first_page(with_keys(options, entity))
        try:
            return await self.first_page(in_key_order(options, entity))
        except BadRequest as refused:
            if self.rows or not may_be_about_order(refused, entity):
                raise
        self.unordered = True
        await self.create()
        # Without the statement's own order the first rows are not those that it wants.
        top = self.limits.max_rows_scanned + 1 if self.scan.order_by else options.top
        return await self.first_page(replace(with_keys(options, entity), order_by=(), top=top))

    async def first_page(self, options: QueryOptions) -> bytes:
        entity_set = self.scan.entity.entity_set
        self.answer.requests.append(f"GET /data/{entity_set}?{unquote(options.query_string())}")
        return await self.client.page_as_sent(entity_set, options)

    async def loaded(self, page: bytes) -> Loaded:
        """Load a page. Raises InvalidAnswer for one that has no records."""
        room = self.limits.max_rows_scanned - self.rows
        try:
            work = partial(self.database.load, self.scan.name, self.columns, page, room)
            loaded: Loaded = await self.database.off_loop(work)
        except NoRecords:
            await asyncio.to_thread(record_page, Answered(200, body=page), "")  # says what came instead
            raise InvalidAnswer("F&O answered a query with records that cannot be read.") from None
        return loaded

    async def check_count(self, options: QueryOptions, rows: int) -> None:
        """Compare several pages with F&O's own count: records that come or go meanwhile may be missing or twice."""
        entity, repeated = self.scan.entity, 0
        if self.unordered:
            keys = [prop.name for prop in entity.key]
            repeated = await self.database.off_loop(partial(self.database.repeated, self.scan.name, keys))
        note = await difference(self.client, entity.entity_set, options, rows, repeated)
        self.answer.notes += [note] if note else []

    def note(self, text: str) -> None:
        self.answer.notes.append(f"{self.scan.entity.entity_set}: {text}")

    def out_of_time(self) -> bool:
        operation = current_operation()
        return operation is not None and operation.remaining() < RESERVED_SECONDS

    def cut(self, reason: str, kind: type[DeadlineExceeded | InvalidArgument]) -> bool:
        """Note that the scan is incomplete where that is allowed, else refuse to answer over part of the data."""
        name = self.scan.entity.entity_set
        if not self.limits.allow_partial:
            raise kind(f"{name} was not read to its end: {reason}.", hint=self.advice())
        self.answer.partial = True
        self.note(f"only the first {self.rows:,} rows were read ({reason})")
        return False

    def advice(self) -> str:
        """Name the columns whose filter would help most."""
        open_columns = [
            prop.name
            for prop in self.scan.entity.properties.values()
            if prop.name not in self.scan.filter and (prop.name in self.scan.columns or prop.data_type == "Date")
        ]
        wanted = sorted(open_columns, key=lambda name: preference(self.scan.entity.properties[name]))[:3]
        filters = f"Filter {self.scan.entity.entity_set} by {or_list(wanted)}" if wanted else "Filter more"
        return f"{filters}, raise max_rows_scanned, or set allow_partial."


def preference(prop: EntityProperty) -> int:
    """Rank columns by how well a filter on them narrows a scan: dates, companies, enumerations, the rest."""
    if column_type(prop) in DATES:
        return 0
    if prop.name == COMPANY:
        return 1
    return 2 if prop.enumeration else 3

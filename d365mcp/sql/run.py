"""Runs a planned statement: F&O's pages stream into DuckDB in memory, which answers it."""

import asyncio
import datetime
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any
from urllib.parse import unquote

import duckdb

from d365mcp.d365.client import D365Client
from d365mcp.d365.companies import CompanyBound, scope_read
from d365mcp.d365.odata import QueryOptions, and_filters, translate_filter
from d365mcp.d365.paging import Pages, difference, in_key_order
from d365mcp.errors import DeadlineExceeded, InvalidArgument, Unreachable
from d365mcp.events import current_operation
from d365mcp.sql.plan import OTHER_DIALECTS, Plan, Scan
from d365mcp.sql.types import arriving_type, cast, column_type

# Requests to F&O under way at once, over all tables of a statement.
IN_FLIGHT = 4
MEMORY_LIMIT = "384MB"
# Kept for DuckDB's own work, out of the request's time.
RESERVED_SECONDS = 2.0
MAX_RESULT_ROWS = 10_000

CONFIG: dict[str, Any] = {
    "memory_limit": MEMORY_LIMIT,
    "threads": 2,
    "enable_external_access": "false",
    "autoload_known_extensions": "false",
    "autoinstall_known_extensions": "false",
}


# What DuckDB says of these quotes the statement, never a value.
ABOUT_THE_STATEMENT = (
    duckdb.BinderException,
    duckdb.CatalogException,
    duckdb.NotImplementedException,
    duckdb.ParserException,
    duckdb.SyntaxException,
)


@dataclass(frozen=True)
class Limits:
    """How much may be read, and of which companies."""

    max_rows_scanned: int
    allow_partial: bool
    company: str | None
    cross_company: bool
    bound: CompanyBound


@dataclass
class Answer:
    """What a statement returned, and what it took. `requests` are the OData requests, as people read them."""

    columns: tuple[str, ...] = ()
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    more: bool = False
    requests: list[str] = field(default_factory=list)
    rows_scanned: dict[str, int] = field(default_factory=dict)
    default_company: bool = False
    company: str = ""  # the default company, where it had to be named
    partial: bool = False
    notes: list[str] = field(default_factory=list)


class Database:
    """One DuckDB in memory, shut off from files, network and extensions, used from one thread of its own.

    Text compares without case, as F&O's does. Raises InvalidArgument for what DuckDB refuses.
    """

    def __init__(self) -> None:
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="duckdb")
        self.connection = duckdb.connect(":memory:", config=CONFIG)
        self.connection.execute("SET default_collation = 'NOCASE'")
        self.connection.execute("SET lock_configuration = true")

    def constant(self, node: Any) -> Any:
        """Evaluate an expression without columns."""
        with told(of_records=False):
            found = self.connection.execute(f"SELECT {node.sql('duckdb')}").fetchone()
        return found[0] if found else None

    def create(self, scan: Scan) -> None:
        columns = ", ".join(f'"{prop.name}" {column_type(prop)}' for prop in properties(scan))
        self.connection.execute(f'CREATE TABLE "{scan.name}" ({columns})')

    def load(self, scan: Scan, records: Sequence[Mapping[str, Any]]) -> None:
        """Add records to a scan's table."""
        shape = json.dumps([{prop.name: arriving_type(prop) for prop in properties(scan)}])
        values = ", ".join(cast(prop) for prop in properties(scan))
        arriving = "SELECT unnest(from_json(CAST(? AS JSON), ?)) AS r"
        rows = [{name: record.get(name) for name in scan.columns} for record in records]
        with told():
            self.connection.execute(
                f'INSERT INTO "{scan.name}" SELECT {values} FROM ({arriving})',  # noqa: S608 - our names only
                [json.dumps(rows), shape],
            )

    def query(self, sql: str) -> tuple[list[tuple[Any, ...]], bool]:
        """Return the rows of a statement, and whether there were more than may be returned."""
        with told():
            found = self.connection.execute(sql).fetchmany(MAX_RESULT_ROWS + 1)
        return found[:MAX_RESULT_ROWS], len(found) > MAX_RESULT_ROWS

    async def off_loop(self, work: partial[Any]) -> Any:
        """Run a piece of work in the thread; when the caller is cancelled, stop it."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self.thread, work)
        except asyncio.CancelledError:
            self.connection.interrupt()
            raise

    def close(self) -> None:
        """Stop what is running and free the memory, without waiting for it."""
        self.connection.interrupt()
        self.thread.submit(self.connection.close)
        self.thread.shutdown(wait=False)


def properties(scan: Scan) -> Iterator[Any]:
    return (scan.entity.properties[name] for name in scan.columns)


@contextmanager
def told(*, of_records: bool = True) -> Iterator[None]:
    """Turn DuckDB's complaints about a statement into ours, and running out of memory into advice."""
    try:
        yield
    except duckdb.OutOfMemoryException:
        mend = "Select fewer columns, filter more, or aggregate in a subquery first."
        raise InvalidArgument(f"This statement needs more than the {MEMORY_LIMIT} it may use. {mend}") from None
    except duckdb.InterruptException:
        raise DeadlineExceeded("The statement took too long: filter more rows out, or aggregate fewer.") from None
    except ABOUT_THE_STATEMENT as problem:
        raise unanswerable(str(problem)) from None
    except duckdb.Error as problem:
        if not of_records:
            raise unanswerable(str(problem)) from None
        # Its words may be a record's.
        raise InvalidArgument(
            "The statement cannot be answered: some value in the records does not suit it.",
            hint="Convert with TRY_CAST, compute within TRY(…), and let a subquery return one row.",
        ) from None


def unanswerable(told: str) -> InvalidArgument:
    first = told.splitlines()[0][:300]
    return InvalidArgument(
        f"The statement cannot be answered: {first}", hint=OTHER_DIALECTS if "unction" in first else None
    )


async def run(plan: Plan, database: Database, client: D365Client, limits: Limits) -> Answer:
    """Fetch what the plan's scans need and answer it. The answer is never over partial data unless that is allowed.

    Raises InvalidArgument when a table is too large, DeadlineExceeded when time runs out; both name what would help.
    """
    answer = Answer(columns=plan.headings)
    gate = asyncio.Semaphore(IN_FLIGHT)
    try:
        async with asyncio.TaskGroup() as tables:
            for scan in plan.scans:
                tables.create_task(Fetch(database, client, limits, gate, answer, scan).run())
    except ExceptionGroup as several:
        raise several.exceptions[0] from None
    answer.rows, answer.more = await within_time(database, partial(database.query, plan.sql))
    return answer


async def within_time(database: Database, work: partial[Any]) -> Any:
    """Run DuckDB's own work within what is left of the request's time."""
    operation = current_operation()
    seconds = max(0.5, operation.remaining() - 0.5) if operation else None
    try:
        async with asyncio.timeout(seconds):
            return await database.off_loop(work)
    except TimeoutError:
        raise DeadlineExceeded("The statement took too long: filter more rows out, or aggregate fewer.") from None


@dataclass
class Fetch:
    """Fetches one scan, page by page, into its table."""

    database: Database
    client: D365Client
    limits: Limits
    gate: asyncio.Semaphore
    answer: Answer
    scan: Scan
    rows: int = 0

    async def run(self) -> None:
        await self.database.off_loop(partial(self.database.create, self.scan))
        for options in await self.requests():
            if not await self.pages(options):
                break
        name = self.scan.entity.entity_set
        self.answer.rows_scanned[name] = self.answer.rows_scanned.get(name, 0) + self.rows

    async def requests(self) -> list[QueryOptions]:
        """Return the requests that fetch the scan: one, or several where its filter is split."""
        scan, limits = self.scan, self.limits
        translation = translate_filter(scan.filter, scan.entity) if scan.filter else None
        scope = scope_read(
            scan.entity,
            limits.bound,
            company=limits.company if scan.entity.has_company else None,
            cross_company=limits.cross_company,
            translation=translation,
        )
        self.answer.default_company |= scope.is_default
        if limits.bound.allowed and scope.is_default:
            self.answer.company = (await self.client.session()).company
            scope = scope.named(limits.bound, self.answer.company)
        filters = translation.filters if translation else ("",)
        notes = [*(translation.notes if translation else ()), *scope.notes]
        self.answer.notes += [f"{scan.entity.entity_set}: {note}" for note in notes]
        one = QueryOptions(
            select=tuple(dict.fromkeys([*scan.columns, *limits.bound.columns(scan.entity)])),
            order_by=scan.order_by if len(filters) == 1 else (),
            top=min(self.limits.max_rows_scanned + 1, scan.top or self.limits.max_rows_scanned + 1),
            cross_company=scope.cross_company,
        )
        return [replace(one, filter=and_filters(scope.filter, each)) for each in filters]

    async def pages(self, options: QueryOptions) -> bool:
        """Load every page of one request. Returns False when the scan was cut short."""
        entity, limit = self.scan.entity, self.limits.max_rows_scanned
        pages, begun = Pages(self.client, entity, options, self.limits.bound), self.rows
        ordered = in_key_order(options, entity)
        self.answer.requests.append(f"GET /data/{entity.entity_set}?{unquote(ordered.query_string())}")
        while True:
            if self.out_of_time():
                return self.cut("the request's time ran out", DeadlineExceeded)
            try:
                async with self.gate:
                    page = await pages.next()
            except (DeadlineExceeded, Unreachable):
                return self.cut("F&O did not answer in time", DeadlineExceeded)
            if page is None:
                break
            room = limit - self.rows
            await self.database.off_loop(partial(self.database.load, self.scan, page.records[:room]))
            self.rows += min(len(page.records), room)
            if len(page.records) > room:
                return self.cut(f"more than {limit:,} rows", InvalidArgument)
        if pages.read > 1 and pages.rows != options.top:
            note = await difference(self.client, entity.entity_set, options, self.rows - begun, pages.repeated)
            self.answer.notes += [note] if note else []
        return True

    def out_of_time(self) -> bool:
        operation = current_operation()
        return operation is not None and operation.remaining() < RESERVED_SECONDS

    def cut(self, reason: str, kind: type[DeadlineExceeded | InvalidArgument]) -> bool:
        """Note that the scan is incomplete where that is allowed, else refuse to answer over part of the data."""
        name = self.scan.entity.entity_set
        if not self.limits.allow_partial:
            raise kind(f"{name} was not read to its end: {reason}.", hint=self.mend())
        self.answer.partial = True
        self.answer.notes.append(f"{name}: only the first {self.rows:,} rows were read ({reason})")
        return False

    def mend(self) -> str:
        """Name the columns whose filter would help most."""
        open_columns = [
            prop.name
            for prop in self.scan.entity.properties.values()
            if prop.name not in self.scan.filter and (prop.name in self.scan.columns or prop.data_type == "Date")
        ]
        wanted = sorted(open_columns, key=lambda name: preference(self.scan.entity.properties[name]))[:3]
        advice = f"Filter {self.scan.entity.entity_set} by {' or '.join(wanted)}" if wanted else "Filter more"
        return f"{advice}, raise max_rows_scanned, or set allow_partial."


def preference(prop: Any) -> int:
    """Rank columns by how well a filter on them narrows a scan: dates, companies, enumerations, the rest."""
    if column_type(prop) in ("DATE", "TIMESTAMP"):
        return 0
    if prop.name == "dataAreaId":
        return 1
    return 2 if prop.enumeration else 3


def shown(value: Any) -> Any:
    """Return a DuckDB value as JSON shows it: 15 significant digits are what a double holds."""
    if isinstance(value, float):
        return float(f"{value:.15g}")
    if isinstance(value, datetime.datetime):
        return f"{value:%Y-%m-%dT%H:%M:%SZ}"
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return [shown(each) for each in value]
    if isinstance(value, dict):
        return {str(name): shown(each) for name, each in value.items()}
    return value if isinstance(value, str | int | bool | None) else shown_number(value)


def shown_number(value: Any) -> Any:
    try:
        return shown(float(value))
    except (TypeError, ValueError):
        return str(value)

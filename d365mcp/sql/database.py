"""DuckDB in memory, for one statement: its constants, its tables, its answer, and what it refuses in our words."""

import asyncio
import datetime
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from decimal import Context, Decimal
from functools import partial
from typing import Any

import duckdb

from d365mcp.errors import DeadlineExceeded, InvalidArgument
from d365mcp.sql import loading
from d365mcp.sql.calendar import EMPTY_DAY
from d365mcp.sql.loading import Column, Loaded
from d365mcp.sql.refusals import OTHER_DIALECTS

MEMORY_LIMIT = "384MB"
MAX_RESULT_ROWS = 10_000
# Up to here every whole number is one of JSON's.
LARGEST_WHOLE = 2**53
DIGITS = 15  # of a double, whatever the number
WIDE = Context(prec=80)  # decimals have up to 38 digits
CONFIG: dict[str, Any] = {
    "memory_limit": MEMORY_LIMIT,
    "threads": 2,
    "enable_external_access": "false",
    "autoload_known_extensions": "false",
    "autoinstall_known_extensions": "false",
}
SETTINGS = (
    "SET default_collation = 'NOCASE'",  # as F&O compares text
    "SET TimeZone = 'UTC'",  # as F&O's times are, wherever the server stands
    "SET lock_configuration = true",
)
# What DuckDB says of these quotes the statement, never a value.
ABOUT_THE_STATEMENT = (
    duckdb.BinderException,
    duckdb.CatalogException,
    duckdb.NotImplementedException,
    duckdb.ParserException,
    duckdb.SyntaxException,
)
TOO_LONG = "The statement took too long: filter more rows out, or aggregate fewer."
# What to write instead, by what DuckDB says.
HINTS = {
    "(DATE, ": "A date is no text: year(d) = 2021, d >= '2021-01-01' and strftime(d, '%Y-%m') work.",
    "(TIMESTAMP, ": "A time is no text: year(t) = 2021, t >= '2021-01-01' and strftime(t, '%Y-%m') work.",
    "(DECIMAL(": "A number is no text: compare it with numbers, or write CAST(x AS VARCHAR).",
    "Cannot compare values of type VARCHAR": "A text is compared with a text in quotes.",
    "unction": OTHER_DIALECTS,
}
UNFIT = re.compile(r"to ([A-Z0-9]+) when casting from source column (\w+)")
KINDS = {"BOOL": "true or false", "DATE": "a date", "TIMESTAMP": "a time", "DOUBLE": "a number", "DECIMAL": "a number"}


class Database:
    """One DuckDB, shut off from files, network and extensions, used from one thread of its own.

    Text compares without case, as F&O's does. Raises InvalidArgument for what DuckDB refuses.
    """

    def __init__(self) -> None:
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="duckdb")
        self.connection = duckdb.connect(":memory:", config=CONFIG)
        for setting in SETTINGS:
            self.connection.execute(setting)

    def values(self, constants: Sequence[str]) -> dict[str, Any]:
        """Return what expressions without columns come to; those that cannot be evaluated are left out."""
        found = {}
        for sql in constants:
            try:
                asked = self.connection.execute(f"SELECT {sql}")
                row, kind = asked.fetchone(), str(asked.description[0][1])
            except duckdb.Error:
                continue  # the statement will say so itself
            if row and kind != "FLOAT":  # beside which a column loses digits, too
                found[sql] = row[0]
        return found

    def create(self, table: str, columns: Sequence[Column]) -> None:
        loading.create(self.connection, table, columns)

    def load(self, table: str, columns: Sequence[Column], page: bytes, room: int) -> Loaded:
        """Add up to `room` records of a page. Raises NoRecords for a page that has none."""
        with refusals():
            return loading.load(self.connection, table, columns, page, room)

    def inexact(self, table: str, columns: Sequence[Column]) -> list[str]:
        """Return the columns whose numbers had too many digits to be exact."""
        return loading.inexact(self.connection, table, columns)

    def distinct(self, table: str, columns: Sequence[str]) -> list[dict[str, Any]]:
        """Return what is in some columns, each combination once."""
        names = ", ".join(map(loading.quoted, columns))
        sql = f"SELECT DISTINCT {names} FROM {loading.quoted(table)}"  # noqa: S608 - our names, quoted
        return [dict(zip(columns, row, strict=True)) for row in self.connection.execute(sql).fetchall()]

    def repeated(self, table: str, columns: Sequence[str]) -> int:
        """Return how many records have the same values in these columns as another one."""
        names = ", ".join(map(loading.quoted, columns))
        sql = f"SELECT count(*) - count(DISTINCT ({names})) FROM {loading.quoted(table)}"  # noqa: S608 - our names, quoted
        row = self.connection.execute(sql).fetchone()
        return int(row[0]) if row else 0

    def query(self, sql: str) -> tuple[list[tuple[Any, ...]], bool]:
        """Return the rows of a statement as JSON values, and whether there were more than may be returned."""
        with refusals():
            found = self.connection.execute(sql).fetchmany(MAX_RESULT_ROWS + 1)
        return [tuple(map(json_value, row)) for row in found[:MAX_RESULT_ROWS]], len(found) > MAX_RESULT_ROWS

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


@contextmanager
def refusals() -> Iterator[None]:
    """Turn DuckDB's complaints about a statement into ours, and running out of memory into advice."""
    try:
        yield
    except duckdb.OutOfMemoryException:
        advice = "Select fewer columns, filter more, or aggregate in a subquery first."
        raise InvalidArgument(f"This statement needs more than the {MEMORY_LIMIT} it may use. {advice}") from None
    except duckdb.InterruptException:
        raise DeadlineExceeded(TOO_LONG) from None
    except ABOUT_THE_STATEMENT as problem:
        text = str(problem).splitlines()[0][:300]
        hint = next((hint for part, hint in HINTS.items() if part in text), None)
        raise InvalidArgument(f"The statement cannot be answered: {text}", hint=hint) from None
    except duckdb.Error as problem:
        raise about_a_value(str(problem)) from None


def about_a_value(text: str) -> InvalidArgument:
    """Return the error for a value that a statement cannot use, without the value: it may be a record's words."""
    if "DECIMAL" in text and ("scale" in text or "Overflow" in text):
        hint = "Write CAST(x AS DOUBLE) around one factor, or round() in between."
        return InvalidArgument("A product or sum has more digits than can be exact.", hint=hint)
    if found := UNFIT.search(text):
        kind, column = found.groups()
        wanted = KINDS.get(kind, "a whole number")
        return InvalidArgument(
            f"The statement cannot be answered: a value of {column} is not {wanted}.",
            hint=f"Compare {column} with a text in quotes, or leave out what is not {wanted}: WHERE TRY_CAST({column} AS …) IS NOT NULL.",
        )
    return InvalidArgument(
        "The statement cannot be answered: some value in the records does not suit it.",
        hint="Compute within TRY(…), and let a subquery return one row. TRY_CAST gives NULL for what does not convert.",
    )


def json_value(value: Any) -> Any:
    """Return a DuckDB value as JSON has it: a number where JSON's are exact, else its text; no date is null."""
    match value:
        case None | bool() | str():
            return value
        case int():
            return value if abs(value) <= LARGEST_WHOLE else str(value)
        case Decimal():
            return number(value)
        case float():
            return float(f"{value:.{DIGITS}g}")
        case datetime.datetime():
            return None if value.date() == EMPTY_DAY else f"{value:%Y-%m-%dT%H:%M:%SZ}"
        case datetime.date():
            return None if value == EMPTY_DAY else value.isoformat()
        case datetime.time():
            return value.isoformat()
        case list() | tuple():
            return [json_value(each) for each in value]
        case dict():
            return {str(name): json_value(each) for name, each in value.items()}
    return str(value)


def number(value: Decimal) -> int | float | str:
    """Return a decimal as a JSON number, or as text where a double does not hold all of it."""
    if not value.is_finite():
        return str(value)
    short = value.normalize(WIDE)
    if short == short.to_integral_value():
        return int(short) if abs(short) <= LARGEST_WHOLE else f"{short:f}"
    return float(short) if Decimal(repr(float(short))) == short else f"{short:f}"

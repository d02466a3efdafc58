"""A statement's tables in its database process: its constants, its answer, and what is refused, in our words."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from d365mcp.d365.client import record_page
from d365mcp.d365.responses import HttpAnswer
from d365mcp.errors import InvalidAnswer, InvalidArgument
from d365mcp.sql.allowed import OTHER_DIALECTS
from d365mcp.sql.arrivals import Arrival, ArrivedPage
from d365mcp.sql.child.cells import untyped
from d365mcp.sql.child.loading import Column, quoted_name
from d365mcp.sql.processes import DatabaseProcess, out_of_memory
from d365mcp.wire import read_json

_MAX_RESULT_ROWS = 10_000
MAX_RESULT_CHARS = 1_000_000
# What to write instead, by what DuckDB says.
_DUCKDB_HINTS = {
    "(DATE, ": "A date is no text: year(d) = 2021, d >= '2021-01-01' and strftime(d, '%Y-%m') work.",
    "(TIMESTAMP, ": "A time is no text: year(t) = 2021, t >= '2021-01-01' and strftime(t, '%Y-%m') work.",
    "(DECIMAL(": "A number is no text: compare it with numbers, or write CAST(x AS VARCHAR).",
    "Cannot compare values of type VARCHAR": "A text is compared with a text in quotes.",
    "unction": OTHER_DIALECTS,
}
_UNFIT = re.compile(r"to ([A-Z0-9]+) when casting from source column (\w+)")
_WANTED = {
    "BOOL": "true or false",
    "DATE": "a date",
    "TIMESTAMP": "a time",
    "DOUBLE": "a number",
    "DECIMAL": "a number",
}


@dataclass(frozen=True)
class Rows:
    """A statement's rows as JSON values, as far as they fit; `count` says how many there are, `more` that these are not all."""

    rows: list[tuple[Any, ...]] = field(default_factory=list)
    count: int = 0
    more: bool = False
    peak_bytes: int = 0  # of the process's memory


@dataclass(frozen=True)
class Looked:
    """What a table holds: values of some columns, and how many records are there twice."""

    records: list[dict[str, Any]]
    repeated: int


class Table:
    """Where the pages of one scan go, as F&O sent them, one after the other.

    `rows` are there. `more` says that a page had others, for which there was no room. `unread` says that some values were
    missing or of another type, and are NULL; `inexact` are the columns whose numbers had too many digits.
    """

    def __init__(self, process: DatabaseProcess, name: str, columns: Sequence[Column], room: int) -> None:
        self._process = process
        self.name = name
        self.columns = list(columns)
        self.room = room
        self.rows = 0
        self.more = self.unread = False
        self.inexact: list[str] = []
        self._is_made = False
        self._arrivals: list[Arrival] = []

    def drop_arrived(self) -> None:
        """Forget the pages that arrived and were not loaded. None may be on its way."""
        while self._arrivals:
            self._arrivals.pop().drop()

    async def clear(self) -> None:
        """Let the table be empty: what it has is read anew."""
        self.rows, self.more, self.unread, self._is_made, self.inexact = 0, False, False, False, []

    async def _asked(self, work: str, body: bytes = b"", **head: Any) -> dict[str, Any]:
        """Let the process do a piece of work on the table; the first makes it."""
        columns, self._is_made = None if self._is_made else self.columns, True
        found, _ = await _asked(self._process, work, body, table=self.name, columns=columns, **head)
        return found

    def arrival(self) -> Arrival:
        """Return what takes a page for this table as it arrives."""
        self._arrivals.append(Arrival(self._process))
        return self._arrivals[-1]

    async def load(self, page: ArrivedPage, *, skip_first: bool = False) -> int:
        """Add a page, and return how many rows it added. Raises InvalidAnswer for one that has no records."""
        room = self.room - self.rows
        self._process.ahead.pop(page.number, None)
        try:
            found = await self._asked("load", page.rest, page=page.number, room=room, skip=skip_first)
        except _NoRecordsError as problem:
            await asyncio.to_thread(record_page, HttpAnswer(200, body=problem.page), "")  # says what came instead
            raise InvalidAnswer("F&O answered a query with records that cannot be read.") from None
        self.rows += found["rows"]
        self.more |= found["more"]
        self.unread |= found["unread"]
        self.inexact = found["inexact"]
        return int(found["rows"])

    async def look(self, columns: Sequence[str] = (), key: Sequence[str] = ()) -> Looked:
        """Look at what there is, in these columns, and with this key more than once."""
        if self._is_made and not (columns or key):
            return Looked([], 0)
        found = await self._asked("look", distinct=list(columns), key=list(key))
        records = [dict(zip(columns, row, strict=True)) for row in found["distinct"]]
        return Looked(records, found["repeated"])


class Database:
    """A statement's database. Raises InvalidArgument for what DuckDB refuses."""

    def __init__(self, process: DatabaseProcess, max_chars: int = MAX_RESULT_CHARS) -> None:
        self._process = process
        self._max_chars = max_chars

    async def values(self, constants: Sequence[str]) -> Mapping[str, Any]:
        """Return what expressions without columns come to; those that cannot be evaluated are left out."""
        if not constants:
            return {}
        found, _ = await _asked(self._process, "constants", sql=list(constants))
        return {sql: untyped(*value) for sql, value in found["values"].items()}

    def table(self, name: str, columns: Sequence[Column], room: int) -> Table:
        return Table(self._process, name, columns, room)

    async def query(self, sql: str, days: Sequence[int] = ()) -> Rows:
        """Return the rows of a statement, as far as they fit into an answer. At the places `days` a time is a day."""
        found, body = await _asked(
            self._process, "query", sql=sql, days=list(days), max_rows=_MAX_RESULT_ROWS, max_chars=self._max_chars
        )
        return Rows([tuple(row) for row in read_json(body)], found["count"], found["more"], found["peak"])

    async def values_of(self, table: str, column: str, most: int) -> list[str] | None:
        """Return as texts the values that a column has, each once; None where they are more than `most`, or one is NULL."""
        sql = f"SELECT DISTINCT {quoted_name(column)} FROM {quoted_name(table)}"  # noqa: S608 - names in quotes
        found, body = await _asked(self._process, "query", sql=sql, max_rows=most, max_chars=MAX_RESULT_CHARS)
        values = [value for (value,) in read_json(body)]
        is_whole = not found["more"] and len(values) == found["count"] and None not in values
        return [*map(str, values)] if is_whole else None


class _NoRecordsError(Exception):
    """A page without records."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.page = page


async def _asked(process: DatabaseProcess, work: str, body: bytes = b"", **head: Any) -> tuple[dict[str, Any], bytes]:
    """Let the process do a piece of work, and raise what it refuses, in our words."""
    found, answer = await process.call(work, body, **head)
    match found.get("refused"):
        case None:
            return found, answer
        case "page":
            raise _NoRecordsError(answer)
        case "memory":
            process.end()  # nobody knows what it still holds
            raise out_of_memory(process.memory_mb)
        case "statement":
            raise _about_the_statement(str(found["text"]))
    raise _about_a_value(str(found["text"]))


def _about_the_statement(text: str) -> InvalidArgument:
    text = text.splitlines()[0][:300]
    hint = next((hint for part, hint in _DUCKDB_HINTS.items() if part in text), None)
    return InvalidArgument(f"The statement cannot be answered: {text}", hint=hint)


def _about_a_value(text: str) -> InvalidArgument:
    """Return the error for a value that a statement cannot use, without the value: it may be a record's words."""
    if "DECIMAL" in text and ("scale" in text or "Overflow" in text):
        hint = "Write CAST(x AS DOUBLE) around one factor, or round() in between."
        return InvalidArgument("A product or sum has more digits than can be exact.", hint=hint)
    if found := _UNFIT.search(text):
        kind, column = found.groups()
        wanted = _WANTED.get(kind, "a whole number")
        return InvalidArgument(
            f"The statement cannot be answered: a value of {column} is not {wanted}.",
            hint=f"Compare {column} with a text in quotes, or leave out what is not {wanted}: WHERE TRY_CAST({column} AS …) IS NOT NULL.",
        )
    return InvalidArgument(
        "The statement cannot be answered: some value in the records does not suit it.",
        hint="Compute within TRY(…), and let a subquery return one row. TRY_CAST gives NULL for what does not convert.",
    )

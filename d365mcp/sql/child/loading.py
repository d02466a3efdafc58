"""Loads F&O's pages into DuckDB as they came, typed by the entity's schema.

A column is its name and its DuckDB type. Decimals are exact: F&O's have 6 places; where a page has more, up to the 16 a
real can have, its columns get them.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from d365mcp.sql.child.cells import WIDE
from d365mcp.sql.child.pages import begins_as_page

Column = tuple[str, str]

_EMPTY = "1900-01-01"
_DATES = ("DATE", "TIMESTAMP")
_MOST_PLACES = 16
_DIGITS = 38
# More places than a column has, or a negative power of ten. Each begins with one character: one expression for all
# would take three times as long.
_MANY_PLACES = tuple(map(re.compile, (r"\.[0-9]{7}", r"E-[0-9]", r"e-[0-9]")))
# Escapes in JSON; half of a surrogate pair is no character, and DuckDB reads no page that has one.
_HALVES = re.compile(
    r"(?P<whole>\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\(?!u[dD][89a-fA-F]).)|\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
)


class NoRecords(Exception):
    """A page that is none: F&O, or something in between, answered with something else."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.page = page


@dataclass(frozen=True)
class ScanTable:
    """The table of a scan: its columns as the schema has them, and the types that their numbers needed."""

    name: str
    columns: Sequence[Column]
    kinds: dict[str, str]

    @property
    def inexact(self) -> list[str]:
        """Return the decimal columns that had to become floats."""
        return [name for name, kind in self.columns if kind.startswith("DECIMAL") and self.kinds[name] == "DOUBLE"]


@dataclass(frozen=True)
class Loaded:
    """`rows` were added, `more` that the page has were not; `unread` where values were of another type than the
    schema's, or missing: they are NULL."""

    rows: int
    more: bool = False
    unread: bool = False


@dataclass(frozen=True)
class _Part:
    """Which records of a page are wanted: no more than there is room for, and perhaps not the first."""

    room: int
    skip_first: bool

    def clause(self) -> str:
        return f"LIMIT {int(self.room)}" + (" OFFSET 1" if self.skip_first else "")


def create_table(connection: Any, table: str, columns: Sequence[Column]) -> ScanTable:
    """Create the table of a scan, empty."""
    shape = ", ".join(f"{quoted_name(name)} {kind}" for name, kind in columns)
    connection.execute(f"CREATE OR REPLACE TABLE {quoted_name(table)} ({shape})")
    return ScanTable(table, columns, dict(columns))


def load(connection: Any, table: ScanTable, page: bytes, room: int, skip_first: bool = False) -> Loaded:
    """Add up to `room` records of a page to a table, without its first one where asked. Raises NoRecords, and what DuckDB
    raises where memory runs out."""
    if not begins_as_page(page):
        raise NoRecords(page)
    text = page.decode("utf-8-sig", errors="replace")
    if any(places.search(text) for places in _MANY_PLACES):
        _widen(connection, table, text)
    part, unread = _Part(room, skip_first), False
    rows = _attempt(connection, _insert, table, text, part)
    if rows is None and not _attempt(connection, _odd_records, text):
        _widen(connection, table, text)
        text = _HALVES.sub(lambda found: found[0] if found["whole"] else r"\ufffd", text)
        rows = _attempt(connection, _insert, table, text, part)
        if rows is None:
            rows, unread = _attempt(connection, _insert, table, text, part, strict=False), True
    if rows is None:
        raise NoRecords(page)
    more = rows == room and _records_in(connection, text) > room + skip_first
    return Loaded(rows, more, unread)


def _attempt(connection: Any, work: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Do a piece of work; return None where DuckDB refuses a value. Running out of memory or time is raised."""
    try:
        return work(connection, *arguments, **options)
    except Exception as problem:
        if type(problem).__name__ in ("OutOfMemoryException", "InterruptException", "MemoryError"):
            raise
        return None


def _odd_records(connection: Any, text: str) -> int:
    """Return how many of a page's records are none."""
    found = connection.execute("SELECT count(*) FROM json_each(?, '$.value') WHERE type <> 'OBJECT'", [text])
    return int(found.fetchone()[0])


def _records_in(connection: Any, text: str) -> int:
    return int(connection.execute("SELECT json_array_length(?, '$.value')", [text]).fetchone()[0])


def _insert(connection: Any, table: ScanTable, text: str, part: _Part, *, strict: bool = True) -> int:
    """Insert the records of a page. `strict` refuses values of another type; otherwise they are NULL."""
    shape = {name: "VARCHAR" if kind in _DATES else kind for name, kind in table.kinds.items()}
    values = ", ".join(_value_of(name, kind) for name, kind in table.kinds.items())
    # What looks random is not computed while the statement is planned: a page that is a constant takes four times as long.
    page = "CASE WHEN random() < 2 THEN ? END"
    records = f"SELECT unnest({'from_json_strict' if strict else 'from_json'}({page}, ?).value) AS r"
    into = f"INSERT INTO {quoted_name(table.name)} SELECT {values} FROM ({records}) {part.clause()}"  # noqa: S608 - names in quotes, a number
    return int(connection.execute(into, [text, json.dumps({"value": [shape]})]).fetchone()[0])


def _value_of(name: str, kind: str) -> str:
    """Return the SQL of a column from record `r`. Whatever is empty is 1900-01-01; F&O keeps no part of a second."""
    value = f"r.{quoted_name(name)}"
    if kind == "DATE":
        return f"coalesce(CAST(left({value}, 10) AS DATE), DATE '{_EMPTY}')"
    if kind == "TIMESTAMP":
        return f"CASE WHEN {value} NOT LIKE '{_EMPTY}%' THEN CAST(left({value}, 19) AS TIMESTAMP) ELSE TIMESTAMP '{_EMPTY}' END"
    return value


def _widen(connection: Any, table: ScanTable, text: str) -> None:
    """Give decimal columns the places that a page's numbers have; those with too many digits become floats."""
    for name, kind in list(table.kinds.items()):
        if not kind.startswith("DECIMAL"):
            continue
        places, whole = _needed(_numbers(text, name))
        has = int(kind.rstrip(")").split(",")[1])
        if places <= has and whole <= _DIGITS - has:
            continue
        places = max(places, has)
        fits = whole <= _DIGITS - places
        if not fits or _attempt(connection, _retype, table, name, f"DECIMAL({_DIGITS},{places})") is None:
            _retype(connection, table, name, "DOUBLE")


def _retype(connection: Any, table: ScanTable, name: str, kind: str) -> bool:
    connection.execute(f"ALTER TABLE {quoted_name(table.name)} ALTER COLUMN {quoted_name(name)} TYPE {kind}")
    table.kinds[name] = kind
    return True


def _numbers(text: str, name: str) -> Iterator[Decimal]:
    """Yield the numbers a column has in a page."""
    pattern = re.compile(re.escape(json.dumps(name)) + r"\s*:\s*(-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,3})?)")
    yield from (Decimal(found[1]) for found in pattern.finditer(text))


def _needed(values: Iterator[Decimal]) -> tuple[int, int]:
    """Return how many places and how many whole digits numbers have, no more places than F&O's can have."""
    places = whole = 0
    for value in values:
        _, digits, exponent = value.normalize(WIDE).as_tuple()
        if isinstance(exponent, int):
            places = max(places, min(-exponent, _MOST_PLACES))
            whole = max(whole, len(digits) + exponent)
    return places, whole


def distinct(connection: Any, table: str, columns: Sequence[str]) -> list[list[Any]]:
    """Return what is in some columns, each combination once."""
    sql = f"SELECT DISTINCT {', '.join(map(quoted_name, columns))} FROM {quoted_name(table)}"  # noqa: S608 - our names, quoted
    return [list(row) for row in connection.execute(sql).fetchall()]


def repeated(connection: Any, table: str, columns: Sequence[str]) -> int:
    """Return how many records have the same values in these columns as another one."""
    names = ", ".join(map(quoted_name, columns))
    sql = f"SELECT count(*) - count(DISTINCT ({names})) FROM {quoted_name(table)}"  # noqa: S608 - our names, quoted
    return int(connection.execute(sql).fetchone()[0])


def quoted_name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'

"""What the database process does, one piece of work after the other: load, look at and query tables."""

import sys
from typing import Any

from d365mcp.sql.child import cells, fences, loading
from d365mcp.sql.child.frames import Frame

_CONFIG = {
    "threads": 2,
    "temp_directory": "",  # nothing is ever written to disk
    "autoload_known_extensions": "false",
    "autoinstall_known_extensions": "false",
    "allow_community_extensions": "false",
}
_SETTINGS = (
    "SET default_collation = 'NOCASE'",  # as F&O compares text
    "SET TimeZone = 'UTC'",  # as F&O's times are, wherever the server stands
    "SET enable_progress_bar = false",
    # Not in CONFIG, which DuckDB applies in an order of its own: it may refuse temp_directory once access is off.
    "SET enable_external_access = false",
    "SET lock_configuration = true",
)
# Functions of JSON, dates and decimals are loaded before memory is bounded.
_WARM_UP = """SELECT from_json('{"a":1.5}', '{"a":"DECIMAL(38,6)"}'), current_date, 1.5::DECIMAL(38,6)"""
# What DuckDB says of these quotes the statement, never a value.
_ABOUT_THE_STATEMENT = (
    "BinderException",
    "CatalogException",
    "NotImplementedException",
    "ParserException",
    "SyntaxException",
)


class DatabaseWork:
    """One DuckDB, shut off from files, network and extensions. Text compares without case, as F&O's does."""

    def __init__(self, duckdb: Any, memory_bytes: int) -> None:
        self.duckdb = duckdb
        self.connection = duckdb.connect(":memory:", config={**_CONFIG, "memory_limit": f"{memory_bytes}B"})
        for setting in _SETTINGS:
            self.connection.execute(setting)
        self.connection.execute(_WARM_UP).fetchall()
        self.tables: dict[str, loading.ScanTable] = {}
        self.pieces: dict[int, list[bytes]] = {}  # of pages that are still to be loaded

    def answer(self, head: dict[str, Any], body: bytes) -> Frame | None:
        """Do one piece of work; None where nobody waits for an answer. What goes wrong is said by its kind; a value's text is never repeated by the server."""
        try:
            return getattr(self, head["work"])(head, body)  # type: ignore[no-any-return]
        except loading.NoRecords as problem:
            return {"refused": "page"}, problem.page
        except Exception as problem:
            return {"refused": _refusal_of(problem), "text": str(problem)[:2000]}, b""

    def constants(self, head: dict[str, Any], body: bytes) -> Frame:
        """Evaluate expressions without columns; those that cannot be evaluated are left out."""
        found: dict[str, list[str]] = {}
        for sql in head["sql"]:
            try:
                asked = self.connection.execute(f"SELECT {sql}")
                row, kind = asked.fetchone(), str(asked.description[0][1])
            except Exception as problem:
                if _refusal_of(problem) == "memory":
                    raise
                continue  # the statement will say so itself
            # Beside a FLOAT a column loses digits, too.
            if row and kind != "FLOAT" and (value := cells.with_type(row[0])):
                found[sql] = value
        return {"values": found}, b""

    def table(self, head: dict[str, Any]) -> loading.ScanTable:
        """Return the table that is meant, empty where its columns come along."""
        name = str(head["table"])
        if head.get("columns"):
            columns = [(column, kind) for column, kind in head["columns"]]
            self.tables[name] = loading.create_table(self.connection, name, columns)
        return self.tables[name]

    def keep(self, head: dict[str, Any], body: bytes) -> None:
        """Keep a piece of a page until the rest of it comes."""
        self.pieces.setdefault(head["page"], []).append(body)

    def drop(self, head: dict[str, Any], body: bytes) -> None:
        """Forget the pieces of a page that will not be loaded."""
        self.pieces.pop(head["page"], None)

    def load(self, head: dict[str, Any], body: bytes) -> Frame:
        """Add records of a page, as F&O sent it, to a table: no more than there is room for. Its last piece comes along."""
        table = self.table(head)
        body = b"".join([*self.pieces.pop(head["page"], ()), body])
        loaded = loading.load(self.connection, table, body, head["room"], head["skip"])
        return {"rows": loaded.rows, "more": loaded.more, "unread": loaded.unread, "inexact": table.inexact}, b""

    def look(self, head: dict[str, Any], body: bytes) -> Frame:
        """Return what is in some columns of a table, each combination once, and how many records have the same values in
        its key as another one."""
        table = self.table(head)
        distinct = loading.distinct(self.connection, table.name, head["distinct"]) if head["distinct"] else []
        repeated = loading.repeated(self.connection, table.name, head["key"]) if head["key"] else 0
        return {"distinct": distinct, "repeated": repeated}, b""

    def query(self, head: dict[str, Any], body: bytes) -> Frame:
        """Answer the statement: its rows as JSON, no more rows and characters than are wanted."""
        result = self.connection.execute(head["sql"])
        count, more, rows = cells.json_rows(result, head.get("days", ()), head["max_rows"], head["max_chars"])
        return {"count": count, "more": more, "peak": fences.peak_memory()}, rows

    def reset(self, head: dict[str, Any], body: bytes) -> Frame:
        """Forget the statement, so that the next one finds nothing of it."""
        for table in self.tables:
            self.connection.execute(f"DROP TABLE IF EXISTS {loading.quoted_name(table)}")
        self.tables.clear()
        self.pieces.clear()
        fences.forget_peak()
        return {"memory": fences.memory()}, b""


def _refusal_of(problem: Exception) -> str:
    """Return what a problem is about: `memory`, `statement`, or else `value`, whose text may be a record's."""
    name, text = type(problem).__name__, str(problem)
    if name in ("OutOfMemoryException", "MemoryError") or "bad_alloc" in text or "bad allocation" in text:
        return "memory"
    return "statement" if name in _ABOUT_THE_STATEMENT else "value"


def imported_duckdb() -> Any:
    """Import DuckDB without its Python half, which takes as long again and is not needed."""
    import _duckdb

    return sys.modules[_duckdb.__name__]

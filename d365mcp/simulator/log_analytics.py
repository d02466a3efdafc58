"""Log Analytics: one workspace whose tables are really queried with KQL, by duckdb-kql.

DuckDB comes in with the first query: a simulator that gives no statistics needs neither package.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from d365mcp.simulator.errors import Reply

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

WORKSPACE = "00000000-0000-4000-8000-0000000000d1"
COLUMNS = {
    "TimeGenerated": "TIMESTAMP",
    "Id": "VARCHAR",
    "Name": "VARCHAR",
    "DependencyType": "VARCHAR",
    "Target": "VARCHAR",
    "Data": "VARCHAR",
    "ResultCode": "VARCHAR",
    "Success": "BOOLEAN",
    "DurationMs": "DOUBLE",
    "ItemCount": "INTEGER",
    "Properties": "JSON",
    "Measurements": "JSON",
    "OperationId": "VARCHAR",
    "OperationName": "VARCHAR",
    "ParentId": "VARCHAR",
    "AppRoleName": "VARCHAR",
    "AppRoleInstance": "VARCHAR",
    "AppVersion": "VARCHAR",
}
TABLES = ("AppDependencies", "AppRequests", "AppEvents")
TYPES = {"TIMESTAMP": "datetime", "DOUBLE": "real", "BOOLEAN": "bool", "VARCHAR": "string", "JSON": "dynamic"}
# What duckdb-kql lacks. Every row here counts once, so that a weighted percentile is a plain one.
WEIGHTED = re.compile(r"percentilew\(([^(),]+),[^(),]+,")

Row = dict[str, object]


class Workspace:
    """The tables; rows reach DuckDB with the next query."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._waiting: dict[str, list[Row]] = defaultdict(list)
        self._connection: DuckDBPyConnection | None = None

    def add(self, table: str, row: Row) -> None:
        self._waiting[table].append(row)

    def answer(self, workspace: str, query: str) -> Reply:
        if workspace.lower() != WORKSPACE:
            return error_reply(404, "WorkspaceNotFoundError", "The workspace could not be found")
        import duckdb
        import duckdb_kql

        try:
            result = duckdb_kql.kql(self._tables(), WEIGHTED.sub(r"percentile(\1,", query))
            columns = [_column(name, str(kind)) for name, kind in zip(result.columns, result.types, strict=True)]
            rows = [[_value(value) for value in row] for row in result.fetchall()]
        except (duckdb_kql.KqlError, duckdb.Error) as exc:
            return error_reply(400, "BadArgumentError", "The request had some invalid properties", str(exc))
        return _reply({"tables": [{"name": "PrimaryResult", "columns": columns, "rows": rows}]})

    def _tables(self) -> DuckDBPyConnection:
        if self._connection is None:
            self._connection = _empty_tables()
        for table, rows in self._waiting.items():
            values = ", ".join(f"unnest(?::{kind}[])" for kind in COLUMNS.values())
            given = [[row.get(name) for row in rows] for name in COLUMNS]
            self._connection.execute(f"INSERT INTO {table} SELECT {values}", given)
        self._waiting.clear()
        return self._connection


def _empty_tables() -> DuckDBPyConnection:
    import duckdb

    connection = duckdb.connect(config={"enable_external_access": "false"})
    connection.execute("SET timezone = 'UTC'")
    for table in TABLES:
        connection.execute(f"CREATE TABLE {table} ({', '.join(f'{name} {kind}' for name, kind in COLUMNS.items())})")
    return connection


def _column(name: str, kind: str) -> dict[str, str]:
    return {"name": name, "type": TYPES.get(kind, "long" if "INT" in kind else "string")}


def _value(value: Any) -> Any:
    return f"{value.isoformat()}Z" if isinstance(value, datetime) else value


def error_reply(status: int, code: str, message: str, inner: str = "") -> Reply:
    error: dict[str, object] = {"message": message, "code": code}
    if inner:
        error["innererror"] = {"code": "SemanticError", "message": inner}
    return _reply({"error": error}, status)


def _reply(value: object, status: int = 200) -> Reply:
    return Reply(status, json.dumps(value, default=str).encode(), {"Content-Type": "application/json"})

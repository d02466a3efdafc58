"""The catalog's own tables for statements: `metadata.entities`, `metadata.properties` and so on, read from the snapshot.

SQLite writes them as pages of JSON, so that they take the same way into the database as F&O's. Asks F&O nothing.
"""

import asyncio
import sqlite3
import zlib
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property

from d365mcp.d365.models import DataEntity, EntityProperty
from d365mcp.errors import NotReady, UnknownName, close_names
from d365mcp.metadata.snapshot import Snapshot
from d365mcp.sql.answers import StatementAnswer
from d365mcp.sql.arrivals import ArrivedPage
from d365mcp.sql.database import Database, Table
from d365mcp.sql.plan import Scan
from d365mcp.sql.statement import CATALOG_SCHEMA
from d365mcp.sql.types import column_type

_PAGE_ROWS = 5_000
_MAX_ROWS = 2_000_000
_TEXT, _FLAG, _NUMBER = "Edm.String", "Edm.Boolean", "Edm.Int32"
_SCHEMAS = "SELECT entity_set, unzipped(body) AS body FROM schemas"


@dataclass(frozen=True)
class _Source:
    """Where a table's rows come from, and what each of its columns is there."""

    rows: str
    columns: Mapping[str, tuple[str, str]]  # type and SQL
    key: tuple[str, ...]

    def entity(self, name: str) -> DataEntity:
        properties = {
            column: EntityProperty(column, kind, is_key=column in self.key)
            for column, (kind, _) in self.columns.items()
        }
        return DataEntity(name, name, properties, is_read_only=True)

    def sql(self, columns: tuple[str, ...]) -> str:
        """Return the query whose rows are JSON objects with these columns."""
        parts = []
        for column in columns:
            kind, sql = self.columns[column]
            if kind == _FLAG:
                sql = f"json(CASE WHEN {sql} THEN 'true' ELSE 'false' END)"
            elif kind == _TEXT:
                sql = f"nullif({sql}, '')"
            parts.append(f"'{column}', {sql}")
        return f"SELECT json_object({', '.join(parts)}) FROM ({self.rows})"  # noqa: S608 - our own words


def _label(id: str) -> str:
    return f"(SELECT text FROM labels WHERE labels.id = {id} AND labels.language = :language)"  # noqa: S608 - our own words


def _of(row: str, name: str, default: str = "NULL") -> str:
    return f"coalesce(json_extract({row}, '$.{name}'), {default})"


def _labelled(row: str) -> dict[str, tuple[str, str]]:
    id = _of(row, "LabelId")
    return {"label_id": (_TEXT, id), "label": (_TEXT, _label(id))}


_SOURCES: Mapping[str, _Source] = {
    "entities": _Source(
        "SELECT row AS r FROM entities",
        {
            "entity_set": (_TEXT, _of("r", "PublicCollectionName")),
            "public_name": (_TEXT, _of("r", "PublicEntityName")),
            "aot_name": (_TEXT, _of("r", "Name")),
            **_labelled("r"),
            "category": (_TEXT, _of("r", "EntityCategory")),
            "is_read_only": (_FLAG, _of("r", "IsReadOnly", "0")),
            "in_odata": (_FLAG, _of("r", "DataServiceEnabled", "1")),
            "in_data_management": (_FLAG, _of("r", "DataManagementEnabled", "1")),
        },
        ("aot_name",),
    ),
    "properties": _Source(
        f"SELECT s.entity_set, p.value AS r FROM ({_SCHEMAS}) s, json_each(s.body, '$.Properties') p",  # noqa: S608 - nothing but our own words
        {
            "entity_set": (_TEXT, "entity_set"),
            "property": (_TEXT, _of("r", "Name")),
            "type": (_TEXT, f"replace({_of('r', 'TypeName')}, 'Microsoft.Dynamics.DataEntities.', '')"),
            "data_type": (_TEXT, _of("r", "DataType")),
            **_labelled("r"),
            "is_key": (_FLAG, _of("r", "IsKey", "0")),
            "is_mandatory": (_FLAG, _of("r", "IsMandatory", "0")),
            "allow_edit": (_FLAG, _of("r", "AllowEdit", "1")),
            "allow_edit_on_create": (_FLAG, _of("r", "AllowEditOnCreate", "1")),
        },
        ("entity_set", "property"),
    ),
    "enumerations": _Source(
        "SELECT e.name AS enumeration, m.value AS r FROM enumerations e, json_each(e.row, '$.Members') m",
        {
            "enumeration": (_TEXT, "enumeration"),
            "member": (_TEXT, _of("r", "Name")),
            "value": (_NUMBER, _of("r", "Value", "0")),
            **_labelled("r"),
        },
        ("enumeration", "member"),
    ),
    "actions": _Source(
        f"SELECT s.entity_set, a.value AS r FROM ({_SCHEMAS}) s, json_each(s.body, '$.Actions') a",  # noqa: S608 - nothing but our own words
        {
            "entity_set": (_TEXT, "entity_set"),
            "action": (_TEXT, _of("r", "Name")),
            "binding": (_TEXT, _of("r", "BindingKind", "'Unbound'")),
            "parameters": (
                _TEXT,
                "(SELECT group_concat(json_extract(value, '$.Name'), ', ') FROM json_each(r, '$.Parameters'))",
            ),
            "return_type": (_TEXT, _of("r", "ReturnType.TypeName")),
        },
        ("entity_set", "action"),
    ),
    "labels": _Source(
        "SELECT id, language, text FROM labels",
        {"label_id": (_TEXT, "id"), "language": (_TEXT, "language"), "text": (_TEXT, "text")},
        ("label_id", "language"),
    ),
}


def catalog_entity(name: str) -> DataEntity:
    """Return a catalog's table as statements are planned over it. Raises UnknownName."""
    table = name.removeprefix(f"{CATALOG_SCHEMA}.").casefold()
    if table not in _SOURCES:
        close = [f"{CATALOG_SCHEMA}.{each}" for each in close_names(table, _SOURCES) or _SOURCES]
        raise UnknownName("table", name, close)
    return _SOURCES[table].entity(f"{CATALOG_SCHEMA}.{table}")


@dataclass
class CatalogFetch:
    """Fetches one scan of the catalog's into its table."""

    database: Database
    snapshot: Snapshot | None
    answer: StatementAnswer
    scan: Scan
    companies: set[str] = field(default_factory=set)

    async def run(self) -> None:
        """Load the table's rows. Raises NotReady where there is no catalog yet."""
        if self.snapshot is None:
            raise NotReady(
                f"{self.scan.entity.entity_set} cannot be read: this environment has no catalog yet.",
                hint="It is built at night and by d365fo_sync_metadata. The search tools read F&O's metadata meanwhile.",
            )
        table = self.table
        await table.clear()
        pages = self._pages(self.snapshot)
        while page := await asyncio.to_thread(next, pages, b""):
            await table.load(ArrivedPage(page))
        self.answer.count(self.scan.entity.entity_set, table.rows)

    async def run_without_top(self) -> bool:
        """Return that all rows were read."""
        return False

    def advise(self, seconds: float) -> None:
        """Say nothing: this asks F&O nothing."""

    @cached_property
    def table(self) -> Table:
        properties = self.scan.entity.properties
        columns = [(name, column_type(properties[name])) for name in self.scan.columns]
        return self.database.table(self.scan.name, columns, _MAX_ROWS)

    def _pages(self, snapshot: Snapshot) -> Iterator[bytes]:
        """Yield the rows as pages. Blocks."""
        source = _SOURCES[self.scan.entity.entity_set.removeprefix(f"{CATALOG_SCHEMA}.")]
        address = f"file:{snapshot.path}?mode=ro&immutable=1"
        with closing(sqlite3.connect(address, uri=True, check_same_thread=False)) as connection:
            connection.create_function("unzipped", 1, lambda body: zlib.decompress(body).decode(), deterministic=True)
            language = {"language": snapshot.languages[0].casefold()}
            rows = connection.execute(source.sql(self.scan.columns), language)
            while found := rows.fetchmany(_PAGE_ROWS):
                yield f'{{"value":[{",".join(row for (row,) in found)}]}}'.encode("utf-8", "replace")

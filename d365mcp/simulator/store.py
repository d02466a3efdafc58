# ruff: noqa: S608  names in SQL come from the world, and everything a request says is a parameter
"""The records, in SQLite: one table per entity set, built on first use, and an undo list that puts the world back.

Knows no OData beyond the ETag, whose pairs are the record version and RecId of each joined table.
"""

from __future__ import annotations

import sqlite3
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from math import fmod

from d365mcp.simulator.contents import bulk
from d365mcp.simulator.derived import DERIVED, WITH_WRITTEN
from d365mcp.simulator.errors import Refusal
from d365mcp.simulator.model import Entity, World
from d365mcp.simulator.values import SQL_TYPES, empty_value, stored

FIRST_REC_ID = 5637144576

Row = tuple[object, ...]


class Store:
    """The tables of one world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.numbers: Counter[tuple[str, str]] = Counter()
        self._tables: dict[str, str] = {}
        self._undo: list[tuple[str, Sequence[object]]] = []
        self._database = sqlite3.connect(":memory:", isolation_level=None)
        self._database.create_function("fold", 1, lambda text: text and text.casefold(), deterministic=True)
        self._database.create_function("modulo", 2, fmod, deterministic=True)
        self._database.execute("PRAGMA case_sensitive_like = OFF")

    def owner(self, entity: Entity) -> Entity:
        """The entity whose table this one reads and writes: V2 and V4 of a header are views of the same records."""
        return self.world.entities[entity.backed_by] if entity.backed_by else entity

    def table(self, entity: Entity) -> str:
        """The quoted name of the entity's table, which is filled on first use."""
        owner = self.owner(entity)
        if owner.entity_set not in self._tables:
            self._build(owner)
            self._tables[owner.entity_set] = quoted(owner.entity_set)
        return self._tables[owner.entity_set]

    def index(self, entity: Entity, names: Sequence[str]) -> None:
        """Let records be found by these properties without a look at each."""
        table, index = self.table(entity), quoted(" ".join([self.owner(entity).entity_set, *names]))
        self._database.execute(f"CREATE INDEX IF NOT EXISTS {index} ON {table} ({', '.join(map(quoted, names))})")

    def select(self, sql: str, parameters: Sequence[object] = ()) -> list[Row]:
        return self._database.execute(sql, parameters).fetchall()

    def insert(self, entity: Entity, record: Mapping[str, object]) -> int:
        """Store a record with all its columns and return its RecId."""
        table = self.table(entity)
        columns, marks = ", ".join(map(quoted, record)), ", ".join("?" * len(record))
        rec_id = self._next_rec_id(table)
        sql = f"INSERT INTO {table} (_rec_id, _version, {columns}) VALUES (?, 1, {marks})"
        self._database.execute(sql, [rec_id, *record.values()])
        self._undo.append((f"DELETE FROM {table} WHERE _rec_id = ?", (rec_id,)))
        return rec_id

    def update(self, entity: Entity, rec_id: int, changes: Mapping[str, object]) -> None:
        """Change some columns of a record, and with them its version."""
        table = self.table(entity)
        before = self.select(f"SELECT * FROM {table} WHERE _rec_id = ?", (rec_id,))[0]
        self._undo.append(_restoring(table, before))
        names = "".join(f", {quoted(name)} = ?" for name in changes)
        # F&O's versions are random 32-bit numbers after the first change.
        sql = f"UPDATE {table} SET _version = (_version * 48271 + 11) % 2147483647{names} WHERE _rec_id = ?"
        self._database.execute(sql, [*changes.values(), rec_id])

    def delete(self, entity: Entity, rec_id: int) -> None:
        table = self.table(entity)
        before = self.select(f"SELECT * FROM {table} WHERE _rec_id = ?", (rec_id,))[0]
        self._undo.append(_restoring(table, before))
        self._database.execute(f"DELETE FROM {table} WHERE _rec_id = ?", (rec_id,))

    @contextmanager
    def all_or_nothing(self) -> Iterator[None]:
        """Take back every write of the block when it raises."""
        mark = len(self._undo)
        try:
            yield
        except BaseException:  # whatever ends the block, a cancellation too, takes its writes back
            self._take_back(mark)
            raise

    def reset(self) -> None:
        """Put every record back as the world has it."""
        self._take_back(0)
        self.numbers.clear()

    def _next_rec_id(self, table: str) -> int:
        ((last,),) = self.select(f"SELECT max(_rec_id) FROM {table}")
        return FIRST_REC_ID if last is None else int(str(last)) + 1

    def _take_back(self, mark: int) -> None:
        while len(self._undo) > mark:
            self._database.execute(*self._undo.pop())

    def _build(self, entity: Entity) -> None:
        name = quoted(entity.entity_set)
        properties = list(entity.properties.values())
        columns = ", ".join(f"{quoted(prop.name)} {SQL_TYPES.get(prop.edm_type, 'TEXT')}" for prop in properties)
        unique = f", UNIQUE ({', '.join(map(quoted, entity.keys))})" if entity.keys else ""
        self._database.execute("BEGIN")
        self._database.execute(
            f"CREATE TABLE {name} (_rec_id INTEGER PRIMARY KEY, _version INTEGER, {columns}{unique})"
        )
        marks = ", ".join("?" * len(properties))
        try:
            self._database.executemany(f"INSERT INTO {name} VALUES (?, 1, {marks})", _filled(self.world, entity))
        except sqlite3.IntegrityError as exc:
            self._database.execute("ROLLBACK")
            raise Refusal(f"The world has two {entity.entity_set} with the same key ({exc}).", 500, "") from exc
        self._database.execute("COMMIT")


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def etag(rec_id: int, version: int, data_sources: int) -> str:
    """The ETag of a record; outer-joined tables without a row count as 0,0."""
    pairs = ";".join([f"{version},{rec_id}", *["0,0"] * (data_sources - 1)])
    encoded = b64encode(f"'{pairs}'".encode()).decode()
    return f'W/"{encoded}"'


def _filled(world: World, entity: Entity) -> Iterator[Row]:
    """The entity's records as the world has them, completed with empty values."""
    properties = entity.properties
    empty = [empty_value(prop) for prop in properties.values()]
    position = {name: index for index, name in enumerate(properties)}
    computed = (
        {name: stored(properties[name], value) for name, value in record.items()}
        for record in (DERIVED[entity.derived](world) if entity.derived else bulk(entity))
    )
    written = () if entity.derived in WITH_WRITTEN else entity.records
    for rec_id, record in enumerate(chain(written, computed), FIRST_REC_ID):
        row = empty.copy()
        for name, value in record.items():
            row[position[name]] = value
        yield (rec_id, *row)


def _restoring(table: str, before: Row) -> tuple[str, Row]:
    return f"REPLACE INTO {table} VALUES ({', '.join('?' * len(before))})", before

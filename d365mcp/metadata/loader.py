"""F&O's metadata service → a snapshot, stage by stage. What a stage has done is kept, so that a later run goes on.

Answers are parsed as they stream: PublicEntities alone has some 50 MB.
"""

import asyncio
import hashlib
import json
import sqlite3
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import ijson

from d365mcp.d365.client import NOT_METADATA, D365Client, of_known_shape
from d365mcp.d365.metadata_service import enumeration_of, named, summary_of
from d365mcp.d365.metadata_service import name as name_of
from d365mcp.d365.odata import QueryOptions
from d365mcp.d365.responses import MAX_DEPTH, NOT_BRACKETS, peeled, too_deep
from d365mcp.errors import InvalidAnswer, NotFound
from d365mcp.metadata.search import Document, write_index
from d365mcp.metadata.snapshot import packed, read_fact, write_fact

MAX_BYTES = 400 * 1024 * 1024
# F&O has some 5,000 entities, the widest of half a megabyte.
MAX_ROWS = 100_000
MAX_LABELS = 500_000
MAX_LABEL_ID = 200
MAX_ROW_BYTES = 8 * 1024 * 1024
STREAM_SECONDS = 480.0
LABELS_IN_FLIGHT = 16
LABELS_AT_ONCE = 400
PROPERTY_MEMBERS = frozenset(
    {"Name", "TypeName", "DataType", "LabelId", "IsKey", "IsMandatory", "AllowEdit", "AllowEditOnCreate"}
)
SUMMARY_MEMBERS = (
    "Name",
    "PublicEntityName",
    "PublicCollectionName",
    "LabelId",
    "DataServiceEnabled",
    "DataManagementEnabled",
    "EntityCategory",
    "IsReadOnly",
)

Report = Callable[[str, int, int | None], None]  # stage, done, of how many


@dataclass
class Loader:
    """Fills a snapshot. `until` is the time (monotonic) at which it has to have stopped."""

    connection: sqlite3.Connection
    client: D365Client
    languages: tuple[str, ...]
    report: Report
    until: float

    async def run(self) -> bool:
        """Do what is not done yet. Returns False when time ran out, and the rest is for the next run."""
        stages: list[tuple[str, Callable[[], Awaitable[bool]]]] = [
            ("entities", self.load_entities),
            ("schemas", self.load_schemas),
            ("enumerations", self.load_enumerations),
            ("labels", self.load_labels),
            ("index", self.build_index),
        ]
        for name, work in stages:
            if self.is_done(name):
                continue
            if time.monotonic() > self.until or not await work():
                return False
            write_fact(self.connection, f"done:{name}", "1")
            self.connection.commit()
        return True

    def is_done(self, stage: str) -> bool:
        return read_fact(self.connection, f"done:{stage}") is not None

    async def load_entities(self) -> bool:
        """Read the light rows of all entities, and what tells this list from another."""
        self.connection.execute("DELETE FROM entities")
        query = QueryOptions(select=SUMMARY_MEMBERS).query_string()
        names = []
        async for row in self.rows("DataEntities", query):
            if not name_of(row, "Name"):
                continue
            names.append(f"{row.get('Name')}|{row.get('PublicCollectionName')}|{row.get('DataServiceEnabled')}")
            kept = {name: row.get(name) for name in SUMMARY_MEMBERS}
            self.connection.execute(
                "INSERT OR REPLACE INTO entities VALUES (?, ?)", (row.get("Name"), json.dumps(kept))
            )
            self.told("entities", len(names))
        versions = await self.client.versions()
        write_fact(self.connection, "application_version", versions.known.get("application", ""))
        write_fact(self.connection, "fingerprint", fingerprint(names, versions.known))
        write_fact(self.connection, "entities", str(len(names)))
        return True

    async def load_schemas(self) -> bool:
        """Read every public entity with its properties."""
        self.connection.execute("DELETE FROM schemas")
        count = 0
        async for row in self.rows("PublicEntities", ""):
            with of_known_shape():
                row["Properties"] = [slim(prop) for prop in row.get("Properties") or ()]
            key = (name_of(row, "EntitySetName"), name_of(row, "Name"))
            if not all(key):
                continue
            self.connection.execute("INSERT OR REPLACE INTO schemas VALUES (?, ?, ?)", (*key, packed(row)))
            count += 1
            self.told("schemas", count)
            if time.monotonic() > self.until:
                return False
        self.write_names()
        write_fact(self.connection, "schemas", str(count))
        return True

    def write_names(self) -> None:
        """Write which entity set each name means: the set itself first, then the public name, then the AOT's."""
        self.connection.execute("DELETE FROM names")
        aot_names = {
            row["PublicCollectionName"]: row["Name"]
            for row in map(json.loads, (found for (found,) in self.connection.execute("SELECT row FROM entities")))
        }
        sets = self.connection.execute("SELECT entity_set, public_name FROM schemas").fetchall()
        for place in range(3):
            for entity_set, public_name in sets:
                aot_name = aot_names.get(entity_set)
                name = (entity_set, public_name, aot_name)[place]
                if name:
                    row = (name.casefold(), entity_set, aot_name)
                    self.connection.execute("INSERT OR IGNORE INTO names VALUES (?, ?, ?)", row)

    async def load_enumerations(self) -> bool:
        self.connection.execute("DELETE FROM enumerations")
        count = 0
        async for row in self.rows("PublicEnumerations", ""):
            if not (name := name_of(row, "Name")):
                continue
            values = (name.casefold(), name, json.dumps(row, ensure_ascii=False))
            self.connection.execute("INSERT OR REPLACE INTO enumerations VALUES (?, ?, ?)", values)
            count += 1
            self.told("enumerations", count)
        return True

    async def load_labels(self) -> bool:
        """Read the labels the catalog shows, those not read yet, some at a time. A label that fails is left out."""
        wanted = [(label_id, language) for language in self.languages for label_id in self.label_ids()]
        have = set(self.connection.execute("SELECT id, language FROM labels"))
        missing = [each for each in wanted if (each[0], each[1].casefold()) not in have]
        done = len(wanted) - len(missing)
        for start in range(0, len(missing), LABELS_AT_ONCE):
            if time.monotonic() > self.until:
                return False
            some = missing[start : start + LABELS_AT_ONCE]
            gate = asyncio.Semaphore(LABELS_IN_FLIGHT)
            texts = await asyncio.gather(*(self.label(gate, *each) for each in some))
            rows = [(name, language.casefold(), text) for (name, language), text in zip(some, texts, strict=True)]
            self.connection.executemany("INSERT OR REPLACE INTO labels VALUES (?, ?, ?)", rows)
            self.connection.commit()
            done += len(some)
            self.report("labels", done, len(wanted))
        return True

    async def label(self, gate: asyncio.Semaphore, label_id: str, language: str) -> str:
        async with gate:
            try:
                return await self.client.label(label_id, language) or ""
            except NotFound:
                return ""

    def label_ids(self) -> list[str]:
        """Return the label ids of entities, properties, enumerations and their members."""
        found: dict[str, None] = {}
        for row in self.stored_rows():
            for holder in (row, *(row.get("Properties") or ()), *(row.get("Members") or ())):
                label_id = str(holder.get("LabelId") or "")
                if 0 < len(label_id) <= MAX_LABEL_ID:
                    found[label_id] = None
            if len(found) > MAX_LABELS:
                raise InvalidAnswer("F&O's metadata names labels without end.", hint=NOT_METADATA)
        return list(found)

    def stored_rows(self) -> Iterator[dict[str, Any]]:
        for (row,) in self.connection.execute("SELECT row FROM entities"):
            yield json.loads(row)
        for (body,) in self.connection.execute("SELECT body FROM schemas"):
            yield json.loads(zlib.decompress(body))
        for (row,) in self.connection.execute("SELECT row FROM enumerations"):
            yield json.loads(row)

    async def build_index(self) -> bool:
        """Write what search looks at: names, labels and fields in the first language."""
        self.report("index", 0, None)
        write_fact(self.connection, "language", self.languages[0])
        write_index(self.connection, documents(Labels(self.connection, self.languages[0]), self.connection))
        return True

    async def rows(self, resource: str, query: str) -> AsyncIterator[dict[str, Any]]:
        """Yield a metadata resource's rows as they stream. Raises InvalidAnswer for one that is cut or no JSON."""
        opened = self.client.metadata_stream(resource, query, max_bytes=MAX_BYTES, seconds=STREAM_SECONDS)
        async with opened as chunks:
            arriving = Chunks(chunks)
            try:
                async for row in ijson.items(arriving, "value.item", use_float=True):
                    yield arriving.passed(row)
            except (ijson.JSONError, ijson.IncompleteJSONError, ValueError):  # a number may be too long for Python
                raise InvalidAnswer(f"F&O's answer to {resource} ended before its end, or is no JSON.") from None

    def told(self, stage: str, done: int) -> None:
        if done % 100 == 0:
            self.report(stage, done, None)


@dataclass(frozen=True)
class Labels:
    """The labels kept in one language."""

    connection: sqlite3.Connection
    language: str

    def text(self, label_id: str | None) -> str:
        query = "SELECT text FROM labels WHERE id = ? AND language = ?"
        found = self.connection.execute(query, (label_id, self.language.casefold())).fetchone()
        return str(found[0] or "") if found else ""


def documents(labels: Labels, connection: sqlite3.Connection) -> Iterator[Document]:
    """Yield what can be found: entities with their fields, enumerations, and actions with their entity."""
    for (text,) in connection.execute("SELECT row FROM entities"):
        row = summary_of(json.loads(text))
        body = connection.execute("SELECT body FROM schemas WHERE entity_set = ?", (row.entity_set,)).fetchone()
        schema = json.loads(zlib.decompress(body[0])) if body else {}
        fields = [
            text for each in named(schema, "Properties") for text in (each["Name"], labels.text(each.get("LabelId")))
        ]
        names = tuple(name for name in (row.entity_set, row.public_name, row.aot_name) if name)
        yield Document("entity", names, labels.text(row.label_id), tuple(fields), row.aot_name)
        for action in named(schema, "Actions"):
            yield Document("action", (action["Name"], row.entity_set), shown=f"{row.entity_set}.{action['Name']}")
    for (text,) in connection.execute("SELECT row FROM enumerations"):
        found = enumeration_of(json.loads(text))
        members = [text for each in found.members for text in (each.name, labels.text(each.label_id))]
        yield Document("enumeration", (found.name,), labels.text(found.label_id), tuple(members), found.name)


class Chunks:
    """An async iterator of bytes as the file-like object a streaming parser reads from."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self.chunks = chunks
        self.since = 0  # bytes since the last row
        self.rows = 0
        self.open = 0  # brackets, which in metadata stand in no text

    async def read(self, size: int = -1) -> bytes:
        """Return the next chunk.

        Raises InvalidAnswer for what the parser would hold whole: a row without end, or levels without end, each of
        which it remembers with the way there.
        """
        if size == 0 or (chunk := await anext(self.chunks, None)) is None:
            return b""
        self.since += len(chunk)
        if self.since > MAX_ROW_BYTES:
            raise InvalidAnswer("F&O's metadata has a row without end.", hint=NOT_METADATA)
        left = peeled(chunk.translate(None, NOT_BRACKETS))
        opening = left.count(b"[") + left.count(b"{")
        self.open += 2 * opening - len(left)
        if max(opening, self.open) > MAX_DEPTH:
            raise too_deep()
        return chunk

    def passed(self, row: Any) -> dict[str, Any]:
        """Return a row that was read. Raises InvalidAnswer for what is none, or one too many."""
        self.since = 0
        self.rows += 1
        if not isinstance(row, dict) or self.rows > MAX_ROWS:
            raise InvalidAnswer("F&O's metadata has rows of another kind, or without end.", hint=NOT_METADATA)
        return row


def slim(prop: dict[str, Any]) -> dict[str, Any]:
    """Keep of a property what the catalog reads."""
    return {name: value for name, value in prop.items() if name in PROPERTY_MEMBERS}


def fingerprint(names: list[str], versions: dict[str, str]) -> str:
    """Return what changes when F&O is updated or an entity comes or goes."""
    text = "\n".join([*(f"{name}={value}" for name, value in sorted(versions.items())), *sorted(names)])
    return hashlib.sha256(text.encode()).hexdigest()

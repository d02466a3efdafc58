"""F&O's metadata service → a snapshot, stage by stage. What a stage has done is kept, so that a later run goes on.

Names and fields have to be had; an entity, an enumeration or a label that fails is left out and counted.
"""

import asyncio
import hashlib
import sqlite3
import time
import zlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from d365mcp.d365.client import NOT_METADATA, D365Client, key_text, of_known_shape
from d365mcp.d365.filters.names import UNWRITABLE
from d365mcp.d365.metadata_service import entity_from, enumeration_from, name_member, summary_from
from d365mcp.d365.odata import QueryOptions
from d365mcp.errors import D365McpError, DeadlineExceeded, InvalidAnswer, NotFound, Unavailable, Unreachable
from d365mcp.metadata.build_progress import OnProgress
from d365mcp.metadata.fan_out import ask_each
from d365mcp.metadata.search.documents import catalog_documents
from d365mcp.metadata.search.index import write_index
from d365mcp.metadata.snapshot import attached, packed, read_fact, stored_rows, write_fact
from d365mcp.metadata.streaming import rows
from d365mcp.wire import write_json

_MAX_LABEL_IDS = 500_000
MAX_LABEL_ID = 200
# However little time a run has, the list of entities gets this long: else a build would never come to anything.
ENTITY_LIST_SECONDS = 5.0
VERSIONS_SECONDS = 20.0
ENUMERATIONS_SECONDS = 90.0
# An answer with all entities that did not come to its end in that time is not waited for again.
STREAM_PATIENCE = 60.0
LONGEST_PAUSE = 20.0
LABEL_ATTEMPTS = 2
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

T = TypeVar("T")


@dataclass
class Loader:
    """Fills a snapshot. `until` is the time (monotonic) at which it stops asking."""

    connection: sqlite3.Connection
    client: D365Client
    languages: tuple[str, ...]
    report: OnProgress
    until: float
    labels: int = 0  # that are there
    added: int = 0

    @property
    def left(self) -> float:
        return max(0.0, self.until - time.monotonic())

    def is_done(self, stage: str) -> bool:
        return read_fact(self.connection, f"done:{stage}") is not None

    def finish(self, stage: str) -> None:
        write_fact(self.connection, f"done:{stage}", "1")
        self.connection.commit()

    async def load_list(self) -> None:
        """Read the list of all entities, and what identifies it."""
        if self.is_done("entities"):
            return
        try:
            async with asyncio.timeout(max(ENTITY_LIST_SECONDS, self.left)):
                await persistently(self.load_entities)
        except TimeoutError:
            raise DeadlineExceeded("F&O did not list its entities in time.") from None
        self.finish("entities")

    async def load_fields(self, older: Iterable[Path]) -> bool:
        """Read entities and enumerations. Returns False where time ran out, and the rest is for the next run."""
        given = self.left
        try:
            async with asyncio.timeout(given):
                if not self.is_done("schemas"):
                    await self.load_schemas()
                    self.finish("schemas")
                if not self.is_done("enumerations"):
                    await self.load_enumerations(older)
                    self.finish("enumerations")
        except TimeoutError:
            if given > STREAM_PATIENCE:
                self.finish("stream")
            return False
        return True

    async def load_entities(self) -> None:
        self.connection.execute("DELETE FROM entities")
        names = []
        async for row in rows(self.client, "DataEntities", QueryOptions(select=SUMMARY_MEMBERS).query_string()):
            if row is None or not (name := name_member(row, "Name")):
                continue
            names.append(f"{name}|{row.get('PublicCollectionName')}|{row.get('DataServiceEnabled')}")
            kept = {member: row.get(member) for member in SUMMARY_MEMBERS}
            self.connection.execute("INSERT OR REPLACE INTO entities VALUES (?, ?)", (name, write_json(kept).decode()))
            self.report("entities", len(names), None)
        if not names:
            raise InvalidAnswer("F&O's metadata names no entity.", hint=NOT_METADATA)
        versions: dict[str, str] = {}
        with suppress(D365McpError, TimeoutError):  # the catalog does without
            async with asyncio.timeout(VERSIONS_SECONDS):
                versions = (await self.client.versions()).known
        write_fact(self.connection, "application_version", versions.get("application", ""))
        write_fact(self.connection, "fingerprint", _fingerprint(names, versions))
        write_fact(self.connection, "entities", str(len(names)))

    async def load_schemas(self) -> None:
        """Read every public entity with its properties; where the one large answer does not come whole, one by one."""
        is_whole, problem = False, None
        if not (self.is_done("stream") or self.has_schemas()):
            try:
                is_whole = await persistently(self.stream_schemas)
            except (Unavailable, Unreachable) as failure:  # which may be one entity's
                problem = failure
        if not is_whole:
            await self.load_other_schemas()
        if not self.has_schemas():
            raise problem or InvalidAnswer("F&O's metadata has no public entity.", hint=NOT_METADATA)
        self.write_names()

    def has_schemas(self) -> bool:
        return self.connection.execute("SELECT 1 FROM schemas LIMIT 1").fetchone() is not None

    async def stream_schemas(self) -> bool:
        """Return whether the answer came to its end. Raises what ends it before its first entity."""
        odd = count = 0
        try:
            async for row in rows(self.client, "PublicEntities"):
                odd += not self.keep_schema(row)
                count += 1
                self.report("schemas", count, None)
        except D365McpError:
            if not self.has_schemas():
                raise
            return False
        self.leave_out("entities", odd)
        return True

    async def load_other_schemas(self) -> None:
        """Read the public entities that are not there yet. Raises where F&O is away."""
        have = {name for (name,) in self.connection.execute("SELECT public_name FROM schemas")}
        listed = map(summary_from, stored_rows(self.connection, "entities"))
        wanted = {row.public_name for row in listed if row.data_service_enabled and row.public_name}
        count = len(have)

        async def load(public_name: str) -> None:
            nonlocal count
            with suppress(NotFound):  # listed, but not served: its configuration key is off
                if not self.keep_schema(await self.client.metadata(f"PublicEntities({key_text(public_name)})")):
                    raise InvalidAnswer("F&O's metadata has a shape that is not known here.")
            count += 1
            self.report("schemas", count, len(wanted | have))

        asked = await ask_each(sorted(wanted - have, key=mixed), load)
        if asked.stopped_by:
            raise asked.stopped_by
        self.leave_out("entities", asked.failed)

    def keep_schema(self, row: dict[str, Any] | None) -> bool:
        """Keep an entity. Returns False for what could not be read when it is asked for."""
        try:
            with of_known_shape():
                row = {**row, "Properties": [slim(each) for each in row.get("Properties") or ()]}  # type: ignore
                entity = entity_from({**row, "Properties": ()})  # any object can be read as a property
        except InvalidAnswer:
            return False
        values = (entity.entity_set, entity.public_name, packed(row))
        self.connection.execute("INSERT OR REPLACE INTO schemas VALUES (?, ?, ?)", values)
        return True

    def write_names(self) -> None:
        """Write which entity set each name means: the set itself first, then the public name, then the AOT's."""
        self.connection.execute("DELETE FROM names")
        aot_names = {
            row.entity_set: row.aot_name for row in map(summary_from, stored_rows(self.connection, "entities"))
        }
        sets = self.connection.execute("SELECT entity_set, public_name FROM schemas").fetchall()
        for place in range(3):
            for entity_set, public_name in sets:
                aot_name = aot_names.get(entity_set)
                name = (entity_set, public_name, aot_name)[place]
                if name:
                    row = (name.casefold(), entity_set, aot_name)
                    self.connection.execute("INSERT OR IGNORE INTO names VALUES (?, ?, ?)", row)

    async def load_enumerations(self, older: Iterable[Path]) -> None:
        """Read the enumerations; where they cannot be had, those of an older snapshot do."""
        try:
            async with asyncio.timeout(ENUMERATIONS_SECONDS):
                await persistently(self.stream_enumerations)
        except (D365McpError, TimeoutError) as problem:
            for path in older:
                with attached(self.connection, path):
                    self.connection.execute("INSERT OR IGNORE INTO enumerations SELECT * FROM older.enumerations")
            why = problem.message if isinstance(problem, D365McpError) else "F&O did not give them in time."
            self.leave_out("enumerations", why)

    async def stream_enumerations(self) -> None:
        self.connection.execute("DELETE FROM enumerations")
        odd = count = 0
        async for row in rows(self.client, "PublicEnumerations"):
            try:
                with of_known_shape():
                    name = enumeration_from(row).name  # type: ignore[arg-type]
            except InvalidAnswer:
                odd += 1
                continue
            values = (name.casefold(), name, write_json(row).decode())
            self.connection.execute("INSERT OR REPLACE INTO enumerations VALUES (?, ?, ?)", values)
            count += 1
            self.report("enumerations", count, None)
        self.leave_out("enumerations", odd)

    def leave_out(self, kind: str, what: int | str) -> None:
        if what:
            write_fact(self.connection, f"left_out:{kind}", str(what))

    def left_out(self) -> str | None:
        """Return what F&O has and the snapshot has not: how many of a kind, or why none."""
        found: dict[str, Any] = {
            kind: read_fact(self.connection, f"left_out:{kind}") for kind in ("entities", "enumerations")
        }
        found["labels"] = len(self.missing_labels())
        return "; ".join(f"{kind}: {what}" for kind, what in found.items() if what) or None

    def take_over_labels(self, older: Path) -> None:
        """Take over the labels of an older snapshot that are still wanted.

        What had no text is asked for again once F&O has another version.
        """
        with attached(self.connection, older):
            wanted = write_json([label_id for tier in self.label_ids for label_id in tier]).decode()
            self.connection.execute(
                """INSERT OR IGNORE INTO labels SELECT id, language, text FROM older.labels
                WHERE id IN (SELECT value FROM json_each(:wanted)) AND language IN (SELECT value FROM json_each(:languages))
                AND (text <> '' OR :version = (SELECT value FROM older.facts WHERE name = 'application_version'))""",
                {
                    "wanted": wanted,
                    "languages": write_json([language.casefold() for language in self.languages]).decode(),
                    "version": read_fact(self.connection, "application_version"),
                },
            )

    async def load_labels(self) -> bool:
        """Read the labels that are not there yet. Returns False where the rest is for the next run.

        A build asks for each at least once, however many fail before it: what failed comes last.
        """
        for _ in range(LABEL_ATTEMPTS):
            missing = self.missing_labels()
            self.labels = self.labels_wanted - len(missing)
            try:
                async with asyncio.timeout(self.left):
                    asked = await ask_each(missing, self.load_label, self.record_failed)
            except TimeoutError:
                is_ended = True
            else:
                is_ended = asked.stopped_by is not None
            if is_ended:
                return not self.not_failed(self.missing_labels())
        return True

    async def load_label(self, wanted: tuple[str, str]) -> None:
        label_id, language = wanted
        text = ""
        with suppress(NotFound):
            text = await self.client.label(label_id, language) or ""
        values = (label_id, language.casefold(), UNWRITABLE.sub("", text))
        self.connection.execute("INSERT OR REPLACE INTO labels VALUES (?, ?, ?)", values)
        self.labels += 1
        self.added += 1
        self.report("labels", self.labels, self.labels_wanted)

    @property
    def labels_wanted(self) -> int:
        return sum(map(len, self.label_ids)) * len(self.languages)

    def missing_labels(self) -> list[tuple[str, str]]:
        """Return id and language of the labels that are not there, what is looked for most first."""
        have = set(self.connection.execute("SELECT id, language FROM labels"))
        every = ((label_id, language) for tier in self.label_ids for language in self.languages for label_id in tier)
        missing = [(label_id, language) for label_id, language in every if (label_id, language.casefold()) not in have]
        first = self.not_failed(missing)
        return [*first, *(each for each in missing if each not in first)]

    def record_failed(self, wanted: tuple[str, str]) -> None:
        label_id, language = wanted
        self.connection.execute("INSERT OR IGNORE INTO failed VALUES (?, ?)", (label_id, language.casefold()))

    def not_failed(self, labels: Iterable[tuple[str, str]]) -> dict[tuple[str, str], None]:
        """Return those that have not failed in this build, in their order."""
        failed = set(self.connection.execute("SELECT id, language FROM failed"))
        return {each: None for each in labels if (each[0], each[1].casefold()) not in failed}

    @cached_property
    def label_ids(self) -> tuple[Sequence[str], Sequence[str]]:
        """Return the label ids of entities and of keys and mandatory properties, and all the others."""
        first: dict[str, None] = {}
        others: dict[str, None] = {}
        for table in ("entities", "schemas", "enumerations"):
            for row in stored_rows(self.connection, table):
                (others if table == "enumerations" else first)[label_of(row)] = None
                for each in row.get("Properties") or row.get("Members") or ():
                    is_first = each.get("IsKey") or each.get("IsMandatory")
                    (first if is_first else others)[label_of(each)] = None
        rest = others.keys() - first.keys() - {""}
        first.pop("", None)
        return sorted(first, key=mixed)[:_MAX_LABEL_IDS], sorted(rest, key=mixed)[:_MAX_LABEL_IDS]

    def build_index(self) -> None:
        """Write what search looks at: names, and labels and fields in all languages."""
        self.report("index", 0, None)
        write_fact(self.connection, "languages", ",".join(self.languages))
        write_index(self.connection, catalog_documents(self.connection, self.languages))


def label_of(row: dict[str, Any]) -> str:
    """Return a row's label id, or nothing where it is none that could be asked for."""
    found = str(row.get("LabelId") or "")
    return found if len(found) <= MAX_LABEL_ID and not UNWRITABLE.search(found) else ""


def mixed(name: str) -> tuple[int, str]:
    """Sort by this what is asked for: where all of one module fail, many in a row would look as if F&O were away."""
    return zlib.crc32(name.encode(errors="replace")), name


async def persistently(load: Callable[[], Awaitable[T]]) -> T:
    """Load, and once more where F&O failed in a way that passes."""
    try:
        return await load()
    except D365McpError as problem:
        if not problem.retryable:
            raise
        await asyncio.sleep(min(problem.retry_after or 1.0, LONGEST_PAUSE))
    return await load()


def slim(prop: dict[str, Any]) -> dict[str, Any]:
    """Keep of a property what the catalog reads."""
    return {name: value for name, value in prop.items() if name in PROPERTY_MEMBERS}


def _fingerprint(names: list[str], versions: dict[str, str]) -> str:
    """Return what changes when F&O is updated or an entity comes or goes."""
    text = "\n".join([*(f"{name}={value}" for name, value in sorted(versions.items())), *sorted(names)])
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()

"""A snapshot: one environment's metadata in one SQLite file, read-only once it is made. Knows no F&O and no storage."""

import sqlite3
import threading
import weakref
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from d365mcp.d365.metadata_service import entity_from, enumeration_from, summary_from
from d365mcp.d365.models import DataEntity, EntitySummary, Enumeration
from d365mcp.errors import StorageError
from d365mcp.metadata.shared_connection import SharedConnection
from d365mcp.wire import read_json, write_json

if TYPE_CHECKING:
    from d365mcp.metadata.search.entities import EntityFinder
    from d365mcp.metadata.search.questions import Search

# Raised with every change of the tables: an older or newer file is not read, but made anew.
SNAPSHOT_FORMAT = 8
APPLICATION_ID = 0xD365
MAX_READ = 500

_TABLES = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE entities (aot_name TEXT PRIMARY KEY, row TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE schemas (entity_set TEXT PRIMARY KEY, public_name TEXT NOT NULL, body BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE names (folded TEXT PRIMARY KEY, entity_set TEXT NOT NULL, aot_name TEXT) WITHOUT ROWID;
CREATE TABLE enumerations (folded TEXT PRIMARY KEY, name TEXT NOT NULL, row TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE labels (id TEXT, language TEXT, text TEXT, PRIMARY KEY (id, language)) WITHOUT ROWID;
CREATE TABLE failed (id TEXT, language TEXT, PRIMARY KEY (id, language)) WITHOUT ROWID;
"""


def _create(path: Path, environment_url: str) -> sqlite3.Connection:
    """Return a new, empty snapshot for writing."""
    path.unlink(missing_ok=True)
    connection = sqlite3.connect(path)
    connection.executescript(
        f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SNAPSHOT_FORMAT}; {_TABLES}"
    )
    write_fact(connection, "environment", environment_url)
    return connection


def open_for_writing(path: Path, environment_url: str) -> sqlite3.Connection:
    """Return an unfinished snapshot to go on with, or a new one where there is none of ours."""
    if path.exists() and is_ours(path, environment_url):
        return sqlite3.connect(path)
    return _create(path, environment_url)


def is_ours(path: Path, environment_url: str) -> bool:
    """Return whether a file is a whole snapshot of this format and environment."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            marks = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")]
            return (
                marks == [APPLICATION_ID, SNAPSHOT_FORMAT] and read_fact(connection, "environment") == environment_url
            )
    except sqlite3.Error:
        return False


def write_fact(connection: sqlite3.Connection, name: str, value: str) -> None:
    connection.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))


def read_fact(connection: sqlite3.Connection | SharedConnection, name: str) -> str | None:
    return next((value for (value,) in connection.execute("SELECT value FROM facts WHERE name = ?", (name,))), None)


def packed(row: Mapping[str, Any]) -> bytes:
    """Return a row for storing."""
    return zlib.compress(write_json(row), 1)


def unpacked(body: bytes) -> dict[str, Any]:
    found: dict[str, Any] = read_json(zlib.decompress(body))
    return found


STORED: Mapping[str, tuple[str, Callable[[Any], dict[str, Any]]]] = {
    "entities": ("SELECT row FROM entities", read_json),
    "schemas": ("SELECT body FROM schemas", unpacked),
    "enumerations": ("SELECT row FROM enumerations", read_json),
}


def stored_rows(connection: sqlite3.Connection | SharedConnection, table: str) -> Iterator[dict[str, Any]]:
    """Yield F&O's own rows: of entities, schemas or enumerations."""
    query, read = STORED[table]
    for (kept,) in connection.execute(query):
        yield read(kept)


def schema_row(connection: sqlite3.Connection, entity_set: str) -> dict[str, Any] | None:
    found = connection.execute("SELECT body FROM schemas WHERE entity_set = ?", (entity_set,)).fetchone()
    return unpacked(found[0]) if found else None


@contextmanager
def attached(connection: sqlite3.Connection, path: Path) -> Iterator[None]:
    """Let an older snapshot be read beside this one, as `older`."""
    connection.commit()
    connection.execute("ATTACH ? AS older", (str(path),))
    try:
        yield
    finally:
        connection.commit()
        connection.execute("DETACH older")


class Snapshot:
    """A finished snapshot, open for reading."""

    def __init__(self, path: Path, environment_url: str) -> None:
        if not is_ours(path, environment_url):
            raise StorageError("The catalog's file is damaged, or another version's or environment's.")
        self.path = path
        address = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
        self.connection = SharedConnection(sqlite3.connect(address, uri=True, check_same_thread=False))
        # Closed when the last call that reads it lets go of it: a newer one may have taken over long before.
        weakref.finalize(self, self.connection.close)
        self.read: dict[str, DataEntity | None] = {}  # by name: a wide entity takes 10 ms to unpack
        self.finding: EntityFinder | None = None
        self.searches: dict[str, Search] = {}
        self.loading = threading.Lock()

    def fact(self, name: str) -> str | None:
        return read_fact(self.connection, name)

    @property
    def languages(self) -> list[str]:
        """Return the languages whose labels are kept, the default first."""
        return (self.fact("languages") or "").split(",")

    @property
    def finder(self) -> "EntityFinder":
        """Return the search over entities. The first takes a third of a second: never on an event loop."""
        from d365mcp.metadata.search.entities import EntityFinder

        with self.loading:
            self.finding = self.finding or EntityFinder(self.connection, self.summaries())
        return self.finding

    def search(self, kind: str) -> "Search":
        """Return the search over enumerations or actions. The first takes a while, as an entity finder does."""
        from d365mcp.metadata.search.questions import Search

        with self.loading:
            if kind not in self.searches:
                self.searches[kind] = Search(self.connection, kind)
            return self.searches[kind]

    def summaries(self) -> Iterator[EntitySummary]:
        """Yield the light rows of all entities."""
        yield from map(summary_from, stored_rows(self.connection, "entities"))

    def entity(self, name: str) -> DataEntity | None:
        """Return an entity by any of its names, with the enumerations its properties use."""
        folded, kept = name.casefold(), self.read  # which another thread may replace
        if folded in kept:
            return kept[folded]
        if len(kept) >= MAX_READ:
            kept = self.read = {}
        found = kept[folded] = self.read_entity(folded)
        return found

    def has_read(self, name: str) -> bool:
        """Return whether an entity is at hand, so that it need not be unpacked."""
        return name.casefold() in self.read

    def read_entity(self, folded: str) -> DataEntity | None:
        query = "SELECT schemas.body, names.aot_name FROM names JOIN schemas USING (entity_set) WHERE names.folded = ?"
        found = self.connection.row(query, (folded,))
        if found is None:
            return None
        entity = entity_from(unpacked(found[0]))
        category = self.category(found[1])
        used = dict.fromkeys(prop.enumeration for prop in entity.properties.values())
        return replace(
            entity,
            aot_name=found[1],
            category=entity.category or category,
            enumerations={each.name: each for each in self.enumerations(filter(None, used))},
        )

    def category(self, aot_name: str | None) -> str | None:
        found = self.connection.row("SELECT row FROM entities WHERE aot_name = ?", (aot_name,))
        return summary_from(read_json(found[0])).category if found else None

    def enumeration(self, name: str) -> Enumeration | None:
        found = self.connection.row("SELECT row FROM enumerations WHERE folded = ?", (name.casefold(),))
        return enumeration_from(read_json(found[0])) if found else None

    def enumerations(self, names: Iterable[str]) -> Iterator[Enumeration]:
        for name in names:
            if (found := self.enumeration(name)) is not None:
                yield found

    def enumeration_names(self) -> list[str]:
        return [name for (name,) in self.connection.execute("SELECT name FROM enumerations")]

    def labels(self, ids: Iterable[str], language: str) -> dict[str, str]:
        """Return the texts that are kept in a language, an empty one where F&O has none."""
        query = "SELECT id, text FROM labels WHERE language = ? AND id IN (SELECT value FROM json_each(?))"
        return dict(self.connection.execute(query, (language.casefold(), write_json(list(ids)).decode())))

"""What exists in an environment: entities by any of their names, enumerations, labels.

Answers come from the snapshot where there is one, else from the metadata service; those are kept for a while in this
process, an accelerator and nothing more.
"""

import asyncio
import sqlite3
import time
import weakref
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from d365mcp.d365.client import D365Client
from d365mcp.d365.kept_answers import KeptAnswers
from d365mcp.d365.models import DataEntity, EntitySummary, Enumeration
from d365mcp.errors import D365McpError, InvalidArgument, NotFound, UnknownName, close_names
from d365mcp.metadata.shared_connection import SharedConnection
from d365mcp.metadata.snapshot import Snapshot
from d365mcp.metadata.snapshot_cache import SnapshotCache
from d365mcp.metadata.store import Progress

if TYPE_CHECKING:
    from d365mcp.metadata.search.entities import EntityFinder, EntityResult, Hit
    from d365mcp.metadata.search.index import SearchDocument
    from d365mcp.metadata.search.questions import Found, Search

T = TypeVar("T")

KEPT_SECONDS = 900.0
MAX_KEPT = 2_000
# Lists of everything there is, megabytes each: one, but with on-behalf-of one for each user.
MAX_LISTS = 8
LABELS_IN_FLIGHT = 8
_SUGGESTED = 3
# An action is not what was asked for where it is named for less of it.
_MOST_UNNAMED = 0.5
# Asked for beyond this, enumerations of a wide entity would cost more calls than they save.
_MAX_ENUMERATION_CALLS = 40


@dataclass(frozen=True)
class CatalogSource:
    """Where metadata comes from, and how old it is."""

    kind: str  # snapshot or service
    age_seconds: float | None = None
    entities: int | None = None
    application_version: str | None = None
    is_whole: bool = True

    def describe(self) -> dict[str, Any]:
        facts = {
            "source": self.kind,
            "age_seconds": self.age_seconds,
            "entities": self.entities,
            "application_version": self.application_version,
            "complete": None if self.is_whole else False,
        }
        return {name: value for name, value in facts.items() if value is not None}


@dataclass(frozen=True)
class OthersFound:
    """The enumerations or actions that fit best, how many more fit, and among how many."""

    found: tuple[tuple[str, tuple[str, ...]], ...]  # a name, and the members that have the words it has not
    more: int
    searched: int
    lacking: tuple[str, ...]  # the words that none of them has
    corrected: Mapping[str, str]  # what was read for a word without a meaning, by that word


@dataclass
class MetadataCatalog:
    """The metadata of one environment."""

    client: D365Client
    snapshots: SnapshotCache

    def __post_init__(self) -> None:
        http = self.client.http
        self.entities: KeptAnswers[DataEntity] = KeptAnswers(http, KEPT_SECONDS, MAX_KEPT)
        self.enumerations: KeptAnswers[Enumeration] = KeptAnswers(http, KEPT_SECONDS, MAX_KEPT)
        self.labels_kept: KeptAnswers[str | None] = KeptAnswers(http, KEPT_SECONDS, MAX_KEPT)
        self.summaries_kept: KeptAnswers[list[EntitySummary]] = KeptAnswers(http, KEPT_SECONDS, MAX_LISTS)
        self.finder_kept: KeptAnswers[EntityFinder] = KeptAnswers(http, KEPT_SECONDS, MAX_LISTS)
        self.enumeration_search: KeptAnswers[Search] = KeptAnswers(http, KEPT_SECONDS, MAX_LISTS)

    async def entity(self, name: str) -> DataEntity:
        """Return an entity by entity set, public or AOT name, in any case. Raises UnknownName with the close ones."""
        if (found := await self.kept_entity(name.strip())) is not None:
            return found
        return await self.entities.get(name.strip().casefold(), lambda: self.find_entity(name.strip()))

    async def kept_entity(self, name: str) -> DataEntity | None:
        """Return an entity as the snapshot has it. A wide one takes 10 ms to unpack: off the event loop."""
        if (snapshot := await self.snapshots.current()) is None:
            return None
        return snapshot.entity(name) if snapshot.has_read(name) else await asyncio.to_thread(snapshot.entity, name)

    async def public_entity(self, public_name: str) -> DataEntity:
        """Return an entity by its public name alone, as navigation properties give it. Raises NotFound."""
        if (found := await self.kept_entity(public_name)) is not None:
            return found
        # Another look-up than by any name: what is one entity's public name may be another's set.
        key = ("public", public_name.casefold())
        return await self.entities.get(key, lambda: self.client.public_entity(public_name))

    async def find_entity(self, name: str) -> DataEntity:
        """Try the entity set first (one call), then look among all names."""
        try:
            return await self.client.public_entity_by_set(name)
        except NotFound:
            pass
        summaries = await self.summaries()
        wanted = name.casefold()
        for summary in summaries:
            if wanted in (summary.entity_set.casefold(), summary.public_name.casefold(), summary.aot_name.casefold()):
                return await self.of_summary(summary)
        close = list(dict.fromkeys([*await self.meant_by(name), *close_entities(name, summaries)]))
        raise UnknownName("data entity", name, close[:_SUGGESTED], hint="Try d365fo_search_entities.")

    async def meant_by(self, name: str) -> list[str]:
        """Return the entity set that search finds for a name, where it is named for all of it."""
        if await self.snapshots.current() is None:  # the names alone would have to be indexed first
            return []
        found = await self.search_entities(name, limit=1)
        is_clear = not found.lacking and all(hit.is_named and not hit.unnamed for hit in found.hits)
        return [hit.summary.entity_set for hit in found.hits] if is_clear else []

    async def of_summary(self, summary: EntitySummary) -> DataEntity:
        if not summary.data_service_enabled or not summary.public_name:
            raise InvalidArgument(
                f"{summary.aot_name} exists, but OData does not show it: it is for data management only."
            )
        entity = await self.client.public_entity(summary.public_name)
        return replace(entity, aot_name=summary.aot_name, category=entity.category or summary.category)

    async def enumerations_of(self, entity: DataEntity, properties: Iterable[str]) -> Mapping[str, Enumeration]:
        """Return the enumerations these properties use, as many as are reasonable."""
        used = dict.fromkeys(prop.enumeration for name in properties if (prop := entity.properties.get(name)))
        if entity.enumerations:
            return {name: each for name, each in entity.enumerations.items() if name in used}
        names = [name for name in used if name][:_MAX_ENUMERATION_CALLS]
        found = await asyncio.gather(*(self.enumeration(name) for name in names), return_exceptions=True)
        return {each.name: each for each in found if isinstance(each, Enumeration)}

    async def enumeration(self, name: str) -> Enumeration:
        """Return an enumeration by its name in any case. Raises UnknownName with the close ones."""
        snapshot = await self.snapshots.current()
        if snapshot is not None and (found := snapshot.enumeration(name.strip())) is not None:
            return found
        return await self.enumerations.get(name.strip().casefold(), lambda: self.find_enumeration(name.strip()))

    async def find_enumeration(self, name: str) -> Enumeration:
        try:
            return await self.client.enumeration(name)
        except NotFound:
            pass
        names = [known for known, _ in await self.client.enumeration_names()]
        if found := next((known for known in names if known.casefold() == name.casefold()), None):
            return await self.client.enumeration(found)
        raise UnknownName("enumeration", name, close_names(name, names))

    async def summaries(self) -> list[EntitySummary]:
        """Return the light rows of all entities."""
        return await self.summaries_kept.get("", self.client.data_entities)

    async def known_summaries(self) -> list[EntitySummary]:
        """Return the light rows of all entities, as the snapshot has them where there is one."""
        if (snapshot := await self.snapshots.current()) is None:
            return await self.summaries()
        return await self.summaries_kept.get(
            str(snapshot.path), lambda: asyncio.to_thread(lambda: list(snapshot.summaries()))
        )

    async def search_entities(
        self,
        words: str,
        *,
        category: str | None = None,
        read_only: bool | None = None,
        public_only: bool = True,
        limit: int = 20,
    ) -> "EntityResult":
        """Return the entities that fit words best."""

        def keep(row: EntitySummary) -> bool:
            of_category = category is None or (row.category or "").casefold() == category.casefold()
            return of_category and (read_only is None or row.is_read_only == read_only)

        snapshot = await self.snapshots.current()
        if snapshot is not None:
            finder = await asyncio.to_thread(lambda: snapshot.finder)
        else:
            finder = await self.finder_kept.get("", self.finder_by_names)
        return await asyncio.to_thread(
            lambda: _with_snapshot(finder.find(words, keep, public_only=public_only), snapshot, limit)
        )

    async def entities_with(self, words: str) -> Sequence[EntitySummary]:
        """Return the entities that have all of these words in names, labels or properties; none without a snapshot."""
        if (snapshot := await self.snapshots.current()) is None:
            return ()
        return await asyncio.to_thread(lambda: snapshot.finder.having(words))

    async def finder_by_names(self) -> "EntityFinder":
        """Return a search over the names of all entities, all that can be had at once without a snapshot."""
        return await asyncio.to_thread(_finder_of, await self.summaries())

    async def search_others(self, words: str, kind: str, limit: int) -> OthersFound:
        """Return the enumerations or actions (`Set.Action`) that fit words best. Actions need a snapshot: else none."""
        snapshot = await self.snapshots.current()
        if snapshot is not None:
            return await asyncio.to_thread(_others_found, snapshot.search(kind), kind, words, limit, snapshot)
        if kind != "enumeration":
            return OthersFound((), 0, 0, (), {})
        search = await self.enumeration_search.get("", self.search_enumeration_names)
        return _others_found(search, kind, words, limit)

    async def search_enumeration_names(self) -> "Search":
        return await asyncio.to_thread(_search_of, [name for name, _ in await self.client.enumeration_names()])

    async def labels(self, ids: Iterable[str], language: str) -> tuple[dict[str, str], dict[str, str]]:
        """Return texts and failures by label id; calls run a few at a time."""
        gate = asyncio.Semaphore(LABELS_IN_FLIGHT)
        asked = list(dict.fromkeys(ids))
        snapshot = await self.snapshots.current()
        kept: dict[str, str] = snapshot.labels(asked, language) if snapshot is not None else {}
        wanted = [label_id for label_id in asked if label_id not in kept]

        async def one(label_id: str) -> str | None | D365McpError:
            async with gate:
                try:
                    return await self.labels_kept.get(
                        (label_id, language.casefold()), lambda: self.client.label(label_id, language)
                    )
                except D365McpError as problem:
                    return problem

        answers = kept | dict(zip(wanted, await asyncio.gather(*map(one, wanted)), strict=True))
        texts = {name: answer for name, answer in answers.items() if isinstance(answer, str) and answer}
        failures = {name: label_failure(answer, language) for name, answer in answers.items() if name not in texts}
        return texts, failures

    async def kept_labels(self, ids: Iterable[str], languages: Iterable[str]) -> dict[str, str]:
        """Return by label id its texts in all of these languages, as far as the snapshot knows of them."""
        if (snapshot := await self.snapshots.current()) is None:
            return {}
        asked = list(ids)
        kept = [snapshot.labels(asked, language) for language in dict.fromkeys(languages)]
        known = {label_id for texts in kept for label_id in texts}
        return {label_id: " ".join(texts.get(label_id, "") for texts in kept) for label_id in known}

    async def ask_for_build(self, by: str) -> None:
        """Leave the request for a new snapshot, for whoever's timer comes next. Raises StorageError."""
        await asyncio.to_thread(lambda: self.snapshots.open_store().ask(by))

    async def build_progress(self) -> tuple[Progress | None, float]:
        """Return how the last build went, and when (seconds since 1970) one was asked for. Raises StorageError."""

        def read() -> tuple[Progress | None, float]:
            store = self.snapshots.open_store()
            return store.progress(), store.asked_at()

        return await asyncio.to_thread(read)

    def source(self) -> CatalogSource:
        """Return where metadata comes from."""
        pointer = self.snapshots.pointer
        if pointer is None:
            return CatalogSource("metadata service")
        age = round(time.time() - pointer.built_at)
        return CatalogSource("snapshot", age, pointer.entities, pointer.application_version, pointer.is_whole)

    def note(self) -> str | None:
        """Return what a caller should know of the catalog, or None."""
        if self.snapshots.snapshot is not None:
            return None
        return "no catalog snapshot yet: read live from F&O, searched without labels and columns"


def label_failure(answer: D365McpError | str | None, language: str) -> str:
    if isinstance(answer, NotFound) or answer == "":
        return f"F&O has no such label in {language}: ids are like @SYS1 or @File:Name, languages like en-US or de"
    return answer.message if isinstance(answer, D365McpError) else f"has no text in {language}"


# The functions below import what searches, in a thread: the first query need not wait for it.
def _finder_of(rows: list[EntitySummary]) -> "EntityFinder":
    from d365mcp.metadata.search.documents import entity_documents
    from d365mcp.metadata.search.entities import EntityFinder

    connection = indexed(entity_documents(rows))
    return closing_with(EntityFinder(connection, rows), connection)


def _search_of(enumerations: list[str]) -> "Search":
    from d365mcp.metadata.search.index import SearchDocument
    from d365mcp.metadata.search.questions import Search

    connection = indexed(SearchDocument("enumeration", (name,), ref=name) for name in enumerations)
    return closing_with(Search(connection, "enumeration"), connection)


def indexed(documents: "Iterable[SearchDocument]") -> SharedConnection:
    from d365mcp.metadata.search.index import write_index

    connection = sqlite3.connect(":memory:", check_same_thread=False)
    write_index(connection, documents)
    return SharedConnection(connection)


def closing_with(owner: T, connection: SharedConnection) -> T:
    """Return `owner`; its connection is closed when nobody holds it any more."""
    weakref.finalize(owner, connection.close)
    return owner


def _with_snapshot(result: "EntityResult", snapshot: Snapshot | None, limit: int) -> "EntityResult":
    """Return the best hits with what a snapshot knows of them. Unpacks their entities: never on the event loop."""
    hits = tuple(_with_details(snapshot, hit) for hit in result.hits[:limit])
    not_served = _with_details(snapshot, result.not_served) if result.not_served else None
    return replace(result, hits=hits, not_served=not_served, more=max(0, len(result.hits) - limit))


def _with_details(snapshot: Snapshot | None, hit: "Hit") -> "Hit":
    """Return a hit with its label, in the first language that has one, its key, and the columns that were asked for."""
    from d365mcp.metadata.search.questions import fields_with

    if snapshot is None:
        return hit
    entity = snapshot.entity(hit.summary.entity_set or hit.summary.aot_name)
    label_id = hit.summary.label_id
    labels = (snapshot.labels([label_id], language).get(label_id) for language in snapshot.languages)
    label = next(filter(None, labels), "")
    if entity is None:
        return replace(hit, label=label)
    key = tuple(prop.name for prop in entity.key)
    return replace(hit, label=label, key=key, columns=fields_with(entity.properties, hit.unnamed))


def _others_found(search: "Search", kind: str, words: str, limit: int, snapshot: Snapshot | None = None) -> OthersFound:
    wanted = search.wanted(words)
    found = search.fitting(wanted)
    if kind == "action":
        found = [each for each in found if wanted.unnamed_share(each.unnamed) <= _MOST_UNNAMED]
    best = tuple((each.ref, _members(snapshot, each)) for each in found[:limit])
    lacking = search.lacking(wanted, {each.ref: each.unnamed for each in found})
    return OthersFound(best, max(0, len(found) - limit), search.size, lacking, wanted.corrected)


def _members(snapshot: Snapshot | None, found: "Found") -> tuple[str, ...]:
    from d365mcp.metadata.search.questions import fields_with

    enumeration = snapshot.enumeration(found.ref) if snapshot is not None else None
    return fields_with((each.name for each in enumeration.members), found.unnamed) if enumeration else ()


def close_entities(name: str, summaries: Iterable[EntitySummary]) -> list[str]:
    """Return the entity sets whose names come closest: alike in letters, else containing the name."""
    public = [row for row in summaries if row.data_service_enabled and row.entity_set]
    by_name = {known: row.entity_set for row in public for known in (row.entity_set, row.public_name) if known}
    alike = [by_name[found] for found in close_names(name, by_name, 6)]
    containing = sorted((row.entity_set for row in public if name.casefold() in row.entity_set.casefold()), key=len)
    return list(dict.fromkeys([*containing[:2], *alike]))[:_SUGGESTED]

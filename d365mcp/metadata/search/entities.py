"""Finds entities: what fits the words, and of that what people mean, the newest public one. Performs no I/O."""

import re
import sqlite3
from collections.abc import Callable, Iterable

from d365mcp.d365.models import EntitySummary
from d365mcp.metadata.search.index import Hit, Search
from d365mcp.metadata.search.terms import TOKEN, VERSION, version_of

Keep = Callable[[EntitySummary], bool]


class EntityFinder:
    """Searches the entities of an indexed connection. `rows` are their light rows, by AOT name in the index."""

    def __init__(self, connection: sqlite3.Connection, rows: Iterable[EntitySummary]) -> None:
        self.search = Search(connection)
        self.rows = {row.aot_name: row for row in rows}
        self.written = {name.casefold(): name for row in self.rows.values() for name in names_of(row)}
        self.versioned = {
            name.casefold(): row.aot_name
            for row in self.rows.values()
            for name in names_of(row)
            if VERSION.search(name)
        }
        newest = newest_versions(self.rows.values())
        self.standing = {name: standing(row, newest[family(row)]) for name, row in self.rows.items()}

    def find(self, question: str, keep: Keep = lambda row: True) -> list[Hit]:
        """Return the entities that fit a question, best first."""
        # A name's words are told by its capitals, so it gets them back.
        question = TOKEN.sub(lambda token: self.written.get(token[0].casefold(), token[0]), question)
        found = self.search.find(question, "entity", lambda shown: shown in self.rows and keep(self.rows[shown]))
        asked = {self.versioned.get(token.casefold()) for token in TOKEN.findall(question)}
        hits = [
            Hit(self.rows[each.shown], each.score + self.standing[each.shown] + (each.shown in asked), each.why)
            for each in found
        ]
        return sorted(hits, key=lambda hit: (-round(hit.score, 6), len(name_of(hit.summary)), name_of(hit.summary)))


def newest_versions(rows: Iterable[EntitySummary]) -> dict[str, int]:
    """Return the newest version of each name without its version."""
    newest: dict[str, int] = {}
    for row in rows:
        newest[family(row)] = max(newest.get(family(row), 1), version_of(name_of(row)))
    return newest


def family(row: EntitySummary) -> str:
    return VERSION.sub("", name_of(row))


def names_of(row: EntitySummary) -> list[str]:
    return [name for name in (row.entity_set, row.public_name, row.aot_name) if name]


def name_of(row: EntitySummary) -> str:
    return row.entity_set or row.aot_name


# What is found beside the newest public entity of a name is rarely what is meant.
# One country's: what ends in _RU or _BR, and the Russian modules (RAsset, RTax25).
LOCAL = re.compile(r"_[A-Z]{1,3}(Entity)?$|^R[A-Z]")
INTERNAL = ("Staging", "CDS", "Tmp", "BI", "DimAttribute", "ForIntegration", "Mserp")


def standing(row: EntitySummary, newest: int) -> float:
    """Return what an entity's nature adds to its score."""
    return (
        (-0.25 if not row.data_service_enabled else 0.0)
        + (-0.05 if row.is_read_only else 0.0)
        + (-0.12 if any(part in row.aot_name for part in INTERNAL) else 0.0)
        + (-0.08 if LOCAL.search(row.aot_name) else 0.0)
        + (-0.03 * (newest - version_of(name_of(row))))
    )

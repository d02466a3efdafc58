"""What can be found in a snapshot: entities with their fields, enumerations, and actions with their entity."""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from d365mcp.d365.metadata_service import enumeration_from, rows_with_name, summary_from, text_member
from d365mcp.d365.models import EntitySummary
from d365mcp.metadata.search.index import SearchDocument
from d365mcp.metadata.search.phrases import Phrasebook
from d365mcp.metadata.snapshot import schema_row, stored_rows

Row = Mapping[str, Any]


@dataclass
class _Labels:
    """The labels kept, by id, in all the languages there are, the first language's first."""

    texts: dict[str, list[str]] = field(default_factory=dict)

    def of(self, row: Row) -> Sequence[str]:
        return self.texts.get(text_member(row, "LabelId"), ())

    def fields(self, rows: Iterator[Row]) -> tuple[str, ...]:
        """Return names and labels of properties or members."""
        return tuple(each for row in rows for each in (row["Name"], *self.of(row)))


def _read_labels(connection: sqlite3.Connection, languages: Sequence[str]) -> _Labels:
    labels = _Labels()
    for language in languages:
        query = "SELECT id, text FROM labels WHERE language = ? AND text <> ''"
        for label_id, found in connection.execute(query, (language.casefold(),)):
            known = labels.texts.setdefault(label_id, [])
            if found not in known:
                known.append(found)
    return labels


def catalog_documents(connection: sqlite3.Connection, languages: Sequence[str]) -> Iterator[SearchDocument]:
    """Yield what can be found, with its labels in these languages."""
    labels, phrasebook = _read_labels(connection, languages), Phrasebook()
    for light in stored_rows(connection, "entities"):
        row = summary_from(light)
        schema = schema_row(connection, row.entity_set) or {}
        fields = labels.fields(rows_with_name(schema, "Properties"))
        phrases = phrasebook.of((row.aot_name, row.public_name))
        yield _document("entity", row.names, labels.of(light), fields, row.aot_name, phrases)
        for action in rows_with_name(schema, "Actions"):
            yield SearchDocument("action", (action["Name"], row.entity_set), ref=f"{row.entity_set}.{action['Name']}")
    for stored in stored_rows(connection, "enumerations"):
        name = enumeration_from(stored).name
        yield _document(
            "enumeration", (name,), labels.of(stored), labels.fields(rows_with_name(stored, "Members")), name
        )


def _document(
    kind: str,
    names: tuple[str, ...],
    labels: Sequence[str],
    fields: tuple[str, ...],
    ref: str,
    phrases: Sequence[str] = (),
) -> SearchDocument:
    first, *others = [*labels, ""]
    return SearchDocument(kind, names, first, fields, ref, tuple(filter(None, others)), phrases)


def entity_documents(rows: Iterable[EntitySummary]) -> Iterator[SearchDocument]:
    """Yield the document of each entity by its names and phrases."""
    phrasebook = Phrasebook()
    for row in rows:
        phrases = phrasebook.of((row.aot_name, row.public_name))
        yield SearchDocument("entity", row.names, ref=row.aot_name, phrases=phrases)

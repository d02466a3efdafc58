"""What can be found in a snapshot: entities with their fields, enumerations, and actions with their entity."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from d365mcp.d365.metadata_service import enumeration_from, rows_with_name, summary_from, text_member
from d365mcp.metadata.search.index import Document
from d365mcp.metadata.snapshot import schema_row, stored_rows

Row = Mapping[str, Any]


@dataclass
class Labels:
    """The labels kept, by id, in all the languages there are, the first language's first."""

    texts: dict[str, list[str]] = field(default_factory=dict)

    def of(self, row: Row) -> Sequence[str]:
        return self.texts.get(text_member(row, "LabelId"), ())

    def fields(self, rows: Iterator[Row]) -> tuple[str, ...]:
        """Return names and labels of properties or members."""
        return tuple(each for row in rows for each in (row["Name"], *self.of(row)))


def read_labels(connection: sqlite3.Connection, languages: Sequence[str]) -> Labels:
    labels = Labels()
    for language in languages:
        query = "SELECT id, text FROM labels WHERE language = ? AND text <> ''"
        for label_id, found in connection.execute(query, (language.casefold(),)):
            known = labels.texts.setdefault(label_id, [])
            if found not in known:
                known.append(found)
    return labels


def documents(connection: sqlite3.Connection, languages: Sequence[str]) -> Iterator[Document]:
    """Yield what can be found, with its labels in these languages."""
    labels = read_labels(connection, languages)
    for light in stored_rows(connection, "entities"):
        row = summary_from(light)
        schema = schema_row(connection, row.entity_set) or {}
        names = tuple(name for name in (row.entity_set, row.public_name, row.aot_name) if name)
        fields = labels.fields(rows_with_name(schema, "Properties"))
        yield document("entity", names, labels.of(light), fields, row.aot_name)
        for action in rows_with_name(schema, "Actions"):
            yield Document("action", (action["Name"], row.entity_set), shown=f"{row.entity_set}.{action['Name']}")
    for stored in stored_rows(connection, "enumerations"):
        name = enumeration_from(stored).name
        yield document(
            "enumeration", (name,), labels.of(stored), labels.fields(rows_with_name(stored, "Members")), name
        )


def document(kind: str, names: tuple[str, ...], labels: Sequence[str], fields: tuple[str, ...], shown: str) -> Document:
    first, *others = [*labels, ""]
    return Document(kind, names, first, fields, shown, tuple(filter(None, others)))

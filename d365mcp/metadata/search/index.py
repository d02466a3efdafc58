"""The index of what can be found: which word stands in which document, and what it is worth there.

The same tables serve in a snapshot and, made of names and phrases alone, in memory.
"""

import sqlite3
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

from d365mcp.metadata.search.scoring import (
    FIELDS,
    FULL_WORTH,
    HEARD_SATURATION,
    LABELS,
    NAMES,
    counted,
    frequencies,
    saturated,
    summed,
)
from d365mcp.metadata.search.terms import Phrase, name_words, said_words, usual
from d365mcp.metadata.shared_connection import SharedConnection

# A posting is a document's number and, in its last eight bits, what the word is worth there.
_TABLES = """
DROP TABLE IF EXISTS search_documents;
DROP TABLE IF EXISTS search_words;
DROP TABLE IF EXISTS search_phrases;
CREATE TABLE search_documents (kind INTEGER, number INTEGER, ref TEXT, names TEXT, labels TEXT, PRIMARY KEY (kind, number))
    WITHOUT ROWID;
CREATE TABLE search_words (kind INTEGER, word TEXT, documents INTEGER, named BLOB, fields BLOB, PRIMARY KEY (kind, word));
CREATE TABLE search_phrases (kind INTEGER, word TEXT, heard BLOB, PRIMARY KEY (kind, word));
"""
_KINDS = ("entity", "enumeration", "action")
# What more of all documents have among their fields distinguishes none.
_COMMON = 0.1

Postings = dict[int, int]  # what a word is worth, by a document's number


@dataclass(frozen=True)
class SearchDocument:
    """Something to find: an entity, enumeration or action. `ref` comes back with a hit.

    `label` is in the first language, `translations` are in the others. By its `phrases` people ask for it.
    """

    kind: str
    names: tuple[str, ...]
    label: str = ""
    fields: tuple[str, ...] = ()
    ref: str = ""
    translations: tuple[str, ...] = ()
    phrases: Sequence[str] = ()


def _numbers() -> "array[int]":
    return array("I")


class _Writer:
    """The words of one kind's documents as they come in."""

    def __init__(self) -> None:
        self.documents: list[tuple[str, str, str]] = []
        self.named: defaultdict[str, array[int]] = defaultdict(_numbers)
        self.fields: defaultdict[str, array[int]] = defaultdict(_numbers)
        self.heard: defaultdict[str, array[int]] = defaultdict(_numbers)  # by words as phrases have them

    def add(self, document: SearchDocument, words_of: Callable[[str], Phrase]) -> None:
        number = len(self.documents)
        names = [words_of(name) for name in document.names]
        labels = [words_of(text) for text in (document.label, *document.translations) if text] or names[:1]
        self.documents.append((document.ref, _parted(names), _parted(labels)))
        named = summed(frequencies(NAMES, names), frequencies(LABELS, labels))
        for word, frequency in summed(named, counted(FIELDS, map(words_of, document.fields))).items():
            place = self.named if word in named else self.fields
            place[word].append(number << 8 | saturated(frequency))
        for word, count in _heard(names, labels, document.phrases).items():
            self.heard[word].append(number << 8 | saturated(count, HEARD_SATURATION))

    def words(self) -> Iterator[tuple[str, int, bytes, bytes]]:
        nothing = _numbers()
        for word in self.named.keys() | self.fields.keys():
            named, fields = self.named.get(word, nothing), self.fields.get(word, nothing)
            yield word, len(named) + len(fields), named.tobytes(), fields.tobytes()


def write_index(connection: sqlite3.Connection, documents: Iterable[SearchDocument]) -> None:
    """Write the tables that search looks at, anew."""
    connection.executescript(_TABLES)
    writers = {kind: _Writer() for kind in _KINDS}
    words_of = cache(lambda text: tuple(name_words(text)))  # the same names and labels stand in many entities
    for document in documents:
        writers[document.kind].add(document, words_of)
    for kind, writer in enumerate(writers.values()):
        rows = ((kind, number, *document) for number, document in enumerate(writer.documents))
        connection.executemany("INSERT INTO search_documents VALUES (?, ?, ?, ?, ?)", rows)
        words = ((kind, *row) for row in writer.words())
        connection.executemany("INSERT INTO search_words VALUES (?, ?, ?, ?, ?)", words)
        heard = ((kind, word, found.tobytes()) for word, found in writer.heard.items())
        connection.executemany("INSERT INTO search_phrases VALUES (?, ?, ?)", heard)
    connection.commit()


def _heard(names: Iterable[Phrase], labels: Iterable[Phrase], phrases: Iterable[str]) -> dict[str, int]:
    """Return how many phrases have each word. The names together are one, and so are the labels."""
    said = [{usual(word) for text in texts for word in text} for texts in (names, labels)]
    said += [{word for part in phrase.split() for word in said_words(part)} for phrase in phrases]
    counts: dict[str, int] = {}
    for words in said:
        for word in words:
            counts[word] = counts.get(word, 0) + 1
    return counts


def _parted(texts: Iterable[Phrase]) -> str:
    """Return texts padded, so that a word stands between blanks, and parted by bars."""
    return "|".join(f" {' '.join(words)} " for words in texts)


class Index:
    """Reads the index of one kind."""

    def __init__(self, connection: SharedConnection, kind: str) -> None:
        self.connection = connection
        self.kind = _KINDS.index(kind)
        query = "SELECT ref, names, labels FROM search_documents WHERE kind = ? ORDER BY number"
        self.documents: list[tuple[str, str, str]] = connection.execute(query, (self.kind,))
        self.has = lru_cache(maxsize=4096)(self.is_there)
        self.postings = lru_cache(maxsize=512)(self.read_postings)
        self.heard = lru_cache(maxsize=512)(self.read_heard)

    def is_there(self, word: str) -> bool:
        query = "SELECT 1 FROM search_words WHERE kind = ? AND word = ?"
        return self.connection.row(query, (self.kind, word)) is not None

    def read_postings(self, word: str) -> Postings:
        """Return the documents that have a word; for a common one, those that have it in a name or label."""
        query = "SELECT documents, named, fields FROM search_words WHERE kind = ? AND word = ?"
        found = self.connection.row(query, (self.kind, word))
        if found is None:
            return {}
        documents, named, fields = found
        is_common = named and documents > _COMMON * len(self.documents)
        return {posting >> 8: posting & FULL_WORTH for posting in array("I", named if is_common else named + fields)}

    def all_with(self, word: str) -> tuple[set[int], set[int]]:
        """Return the documents that have a word in a name or label, and those that have it in a field, however common."""
        query = "SELECT named, fields FROM search_words WHERE kind = ? AND word = ?"
        found = self.connection.row(query, (self.kind, word)) or (b"", b"")
        named, fields = ({posting >> 8 for posting in array("I", each)} for each in found)
        return named, fields

    def read_heard(self, word: str) -> Postings:
        """Return the documents that have a word in phrases, names or labels."""
        query = "SELECT heard FROM search_phrases WHERE kind = ? AND word = ?"
        found = self.connection.row(query, (self.kind, word))
        return {posting >> 8: posting & FULL_WORTH for posting in array("I", found[0])} if found else {}

    def having_all(self, words: Iterable[str]) -> set[int]:
        """Return the documents that have all of the words, however common, wherever these stand."""
        found = [named | fields for named, fields in map(self.all_with, words)]
        return set.intersection(*found) if found else set()

    def having(self, run: Phrase) -> Postings:
        """Return the documents that have a word, or have several next to each other in a name or label."""
        if len(run) == 1:
            return self.postings(run[0])
        first, *others = sorted(map(self.postings, run), key=len)
        words, documents = f" {' '.join(run)} ", self.documents
        return {
            number: min(worth, *(other[number] for other in others))
            for number, worth in first.items()
            if all(number in other for other in others)
            and (words in documents[number][1] or words in documents[number][2])
        }

    def beginning_with(self, start: str) -> list[tuple[str, int]]:
        """Return the words that begin so, and how many documents have each."""
        query = "SELECT word, documents FROM search_words WHERE kind = ? AND word >= ? AND word < ?"
        return self.connection.execute(query, (self.kind, start, f"{start}{{"))  # { comes after z

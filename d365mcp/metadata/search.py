"""Ranks entities, enumerations and actions by how well they fit a question. SQLite's FTS5 finds, this judges.

The same tables serve in a snapshot and, made of names alone, in memory.
"""

import json
import math
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import lru_cache

from d365mcp.d365.models import EntitySummary
from d365mcp.metadata.words import LONGEST, MEANINGS, question_words, split, version_of

TABLES = """
CREATE VIRTUAL TABLE IF NOT EXISTS search_names USING fts5(words, tokenize = 'unicode61');
CREATE VIRTUAL TABLE IF NOT EXISTS search_fields USING fts5(words, tokenize = 'unicode61');
CREATE TABLE IF NOT EXISTS documents (id INTEGER PRIMARY KEY, kind TEXT, names TEXT, label TEXT, fields TEXT, shown TEXT);
CREATE TABLE IF NOT EXISTS words (word TEXT PRIMARY KEY, documents INTEGER) WITHOUT ROWID;
"""
# Judged at most: names are found apart from fields, whose number would drown them.
BY_NAME, BY_FIELDS = 80, 20
FIND = """
SELECT id, names, label, fields, shown FROM documents WHERE kind = :kind AND id IN (
  SELECT rowid FROM (SELECT rowid FROM search_names WHERE search_names MATCH :query ORDER BY rank LIMIT :by_name)
  UNION SELECT rowid FROM (SELECT rowid FROM search_fields WHERE search_fields MATCH :query ORDER BY rank LIMIT :by_fields))
"""
IN_NAME, IN_LABEL, IN_FIELDS, BY_MEANING = 1.0, 1.0, 0.5, 0.92


@dataclass(frozen=True)
class Document:
    """Something to find: an entity, enumeration or action. `shown` comes back with a hit."""

    kind: str
    names: tuple[str, ...]
    label: str = ""
    fields: tuple[str, ...] = ()
    shown: str = ""


@dataclass(frozen=True)
class Hit:
    """An entity found, how well it fits, and why."""

    summary: EntitySummary
    score: float
    why: str
    label: str = ""
    key: tuple[str, ...] = ()


@dataclass(frozen=True)
class Term:
    """A word of the question, and what else it may be called: runs of words."""

    word: str
    others: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class Found:
    """A document judged."""

    shown: str
    score: float
    why: str


def write_index(connection: sqlite3.Connection, documents: Iterable[Document]) -> None:
    """Write the tables that search looks at, anew."""
    connection.executescript(TABLES)
    connection.executescript(
        "DELETE FROM search_names; DELETE FROM search_fields; DELETE FROM documents; DELETE FROM words;"
    )
    counts: dict[str, int] = {}
    for number, document in enumerate(documents, 1):
        names = [" ".join(split(name)) for name in document.names]
        label, fields = " ".join(split(document.label)), " ".join(" ".join(split(field)) for field in document.fields)
        connection.execute("INSERT INTO search_names (rowid, words) VALUES (?, ?)", (number, " ".join([*names, label])))
        if fields:
            connection.execute("INSERT INTO search_fields (rowid, words) VALUES (?, ?)", (number, fields))
        row = (number, document.kind, json.dumps(names), label, f" {fields} ", document.shown)
        connection.execute("INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?)", row)
        for word in {*" ".join(names).split(), *label.split(), *fields.split()}:
            counts[word] = counts.get(word, 0) + 1
    connection.executemany("INSERT INTO words VALUES (?, ?)", counts.items())
    connection.commit()


class Search:
    """Searches an indexed connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.total = max(1, connection.execute("SELECT count(*) FROM documents").fetchone()[0])
        self.weight = lru_cache(maxsize=4096)(self.weight_of)

    def find(self, question: str, kind: str, keep: Callable[[str], bool] = lambda shown: True) -> list[Found]:
        """Return what fits a question, best first."""
        terms = self.known(meanings(question_words(question)[:12]))
        if not terms:
            return []
        query = " OR ".join(
            f'"{word}"' for term in terms for word in {term.word, *(w for run in term.others for w in run)}
        )
        asked = {"query": query, "kind": kind, "by_name": BY_NAME, "by_fields": BY_FIELDS}
        rows = self.connection.execute(FIND, asked).fetchall()
        judged = (self.judge(terms, *row[1:]) for row in rows if keep(row[4]))
        return sorted((each for each in judged if each.score > 0), key=lambda each: -each.score)

    def judge(self, terms: Sequence[Term], names: str, label: str, fields: str, shown: str) -> Found:
        """Weigh how much of the question a document covers against what else its name says."""
        own = [f" {name} " for name in json.loads(names)]
        place = Place(own, f" {label} ", fields)
        matches = [place.match(term) for term in terms]
        weights = [self.weight(term.word) for term in terms]
        coverage = sum(weight * value for weight, (value, _) in zip(weights, matches, strict=True)) / sum(weights)
        # A header is the thing itself; its lines are another.
        said = {
            "header",
            *(term.word for term in terms),
            *(word for term in terms for run in term.others for word in run),
        }
        spare = 0.5 * (min(len(set(name.split()) - said) for name in own) + len(set((label or own[0]).split()) - said))
        score = coverage - 0.06 * min(spare, 5) + 0.06 * place.phrases(terms)
        if spare < 1 and all(value >= BY_MEANING for value, _ in matches):
            score += 0.25 * (1 - spare)
        why = "; ".join(dict.fromkeys(reason for value, reason in matches if value))
        return Found(shown, score, why)

    def known(self, terms: Sequence[Term]) -> list[Term]:
        """Return the terms with words nobody uses replaced by the closest one that is used."""
        return [term if term.others or self.count(term.word) else Term(self.closest(term.word)) for term in terms]

    def closest(self, word: str) -> str:
        if len(word) < 4:
            return word
        vocabulary = [found for (found,) in self.connection.execute(
            "SELECT word FROM words WHERE length(word) BETWEEN ? AND ? AND substr(word, 1, 1) = ?",
            (len(word) - 2, len(word) + 2, word[0]),
        )]  # fmt: skip
        return str((get_close_matches(word, vocabulary, 1, cutoff=0.75) or [word])[0])

    def count(self, word: str) -> int:
        found = self.connection.execute("SELECT documents FROM words WHERE word = ?", (word,)).fetchone()
        return int(found[0]) if found else 0

    def weight_of(self, word: str) -> float:
        """Return how much a word tells: rare ones tell more."""
        return 0.4 + math.log(1 + self.total / (1 + self.count(word)))


@dataclass(frozen=True)
class Place:
    """Where a document's words stand."""

    names: Sequence[str]
    label: str
    fields: str

    def match(self, term: Term) -> tuple[float, str]:
        """Return how well a term is met, and where."""
        best = (0.0, "")
        runs = [((term.word,), 1.0), *((run, BY_MEANING) for run in term.others)]
        for run, factor in runs:
            text = f" {' '.join(run)} "
            if any(text in name for name in self.names):
                best = max(best, (IN_NAME * factor, f"name has {text.strip()}"))
            elif text in self.label:
                best = max(best, (IN_LABEL * factor, f"label has {text.strip()}"))
            elif text in self.fields:
                best = max(best, (IN_FIELDS * factor, f"fields have {text.strip()}"))
        return best

    def phrases(self, terms: Sequence[Term]) -> int:
        """Return how many neighbours in the question are neighbours here."""
        pairs = [f" {one.word} {other.word} " for one, other in zip(terms, terms[1:], strict=False)]
        texts = [*self.names, self.label, self.fields]
        return sum(1 for pair in pairs if any(pair in text for text in texts))


def meanings(words: Sequence[str]) -> list[Term]:
    """Return the terms of a question: runs with a meaning of their own first, else its single words."""
    terms: list[Term] = []
    place = 0
    while place < len(words):
        for length in range(min(LONGEST, len(words) - place), 0, -1):
            run = tuple(words[place : place + length])
            if length > 1 and run not in MEANINGS:
                continue
            others = MEANINGS.get(run, ())
            if length == 1:
                terms.append(Term(run[0], others))
            else:  # each word stands for itself too
                terms += [replace(Term(word), others=others) for word in run]
            place += length
            break
    return terms


def entity_documents(rows: Iterable[EntitySummary]) -> Iterator[Document]:
    """Yield the document of each entity by its names alone."""
    for row in rows:
        names = tuple(name for name in (row.entity_set, row.public_name, row.aot_name) if name)
        yield Document("entity", names, shown=row.aot_name)


# What is found beside the newest public entity of a name is rarely what is meant.
def standing(row: EntitySummary, newest: int) -> float:
    """Return what an entity's nature adds to its score."""
    name = row.entity_set or row.aot_name
    internal = any(
        part in row.aot_name for part in ("Staging", "CDS", "Tmp", "BI", "DimAttribute", "ForIntegration", "Mserp")
    )
    local = row.aot_name.removesuffix("Entity")[-3:-2] == "_"
    return (
        (-0.25 if not row.data_service_enabled else 0.0)
        + (-0.05 if row.is_read_only else 0.0)
        + (-0.12 if internal else 0.0)
        + (-0.08 if local else 0.0)
        + (-0.03 * (newest - version_of(name)))
    )

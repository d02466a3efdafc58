"""Finds entities, enumerations and actions by the words of a question. SQLite's FTS5 looks up words, this judges.

The same tables serve in a snapshot and, made of names alone, in memory.
"""

import math
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import islice

from d365mcp.d365.models import EntitySummary
from d365mcp.metadata.search.scoring import BY_MEANING, IN_FIELDS, SPARE, Question, Term
from d365mcp.metadata.search.synonyms import WEAK
from d365mcp.metadata.search.terms import LONGEST, MEANINGS, question_words, split
from d365mcp.metadata.search.vocabulary import Vocabulary
from d365mcp.wire import json_text

# The words of names and labels are looked up apart from those of fields, whose number would drown them.
TABLES = """
DROP TABLE IF EXISTS search_names;
DROP TABLE IF EXISTS search_fields;
DROP TABLE IF EXISTS documents;
DROP TABLE IF EXISTS words;
CREATE VIRTUAL TABLE search_names USING fts5(words, content = '', columnsize = 0, tokenize = 'unicode61 remove_diacritics 0');
CREATE VIRTUAL TABLE search_fields USING fts5(words, content = '', columnsize = 0, tokenize = 'unicode61 remove_diacritics 0');
CREATE TABLE documents (id INTEGER PRIMARY KEY, size INTEGER, shown TEXT, names TEXT, labels TEXT, fields TEXT);
CREATE TABLE words (word TEXT PRIMARY KEY, documents INTEGER) WITHOUT ROWID;
"""
NAMES = "SELECT rowid FROM search_names WHERE words MATCH :words AND rowid BETWEEN :first AND :last"
FIELDS = "SELECT rowid FROM search_fields WHERE words MATCH :words AND rowid BETWEEN :first AND :last"
READ = "SELECT id, names, labels, fields FROM documents WHERE id IN (SELECT value FROM json_each(:numbers))"
KINDS = ("entity", "enumeration", "action")
# Documents of a kind stand together, so that a range of ids is a kind.
OF_ONE_KIND = 1 << 20
MOST_TERMS = 12
MOST_JUDGED = 60
COMMON = 0.1
WEAKLY = 0.35


@dataclass(frozen=True)
class Document:
    """Something to find: an entity, enumeration or action. `shown` comes back with a hit.

    `label` is in the first language, `translations` are in the others.
    """

    kind: str
    names: tuple[str, ...]
    label: str = ""
    fields: tuple[str, ...] = ()
    shown: str = ""
    translations: tuple[str, ...] = ()


@dataclass(frozen=True)
class Hit:
    """An entity found, how well it fits, and why."""

    summary: EntitySummary
    score: float
    why: str
    label: str = ""
    key: tuple[str, ...] = ()


@dataclass(frozen=True)
class Found:
    """A document judged."""

    shown: str
    score: float
    why: str


def write_index(connection: sqlite3.Connection, documents: Iterable[Document]) -> None:
    """Write the tables that search looks at, anew."""
    connection.executescript(TABLES)
    counts: Counter[str] = Counter()
    words_of = cache(lambda text: " ".join(split(text)))  # the same names and labels stand in many entities
    for number, document in enumerate(documents):
        counts.update(write_document(connection, KINDS.index(document.kind) * OF_ONE_KIND + number, document, words_of))
    connection.executemany("INSERT INTO words VALUES (?, ?)", counts.items())
    connection.commit()


def write_document(
    connection: sqlite3.Connection, number: int, document: Document, words_of: Callable[[str], str]
) -> set[str]:
    """Write one document. Returns its words."""
    names = [words_of(name) for name in document.names]
    label, *translations = [words_of(text) for text in (document.label, *document.translations)]
    fields = " ".join(filter(None, map(words_of, document.fields)))
    named = " ".join([*names, label, *translations])
    connection.execute("INSERT INTO search_names (rowid, words) VALUES (?, ?)", (number, named))
    if fields:
        connection.execute("INSERT INTO search_fields (rowid, words) VALUES (?, ?)", (number, fields))
    size = min(map(length, names), default=0) + length(label or (names or [""])[0])
    row = (number, size, document.shown, parted(names), parted([label, *translations]), fields)
    connection.execute("INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?)", row)
    return {*named.split(), *fields.split()}


def length(text: str) -> int:
    return len(text.split())


def parted(texts: Iterable[str]) -> str:
    """Return texts as they are judged: padded, so that a word stands between blanks, and parted by bars."""
    return "|".join(f" {text} " for text in texts if text)


class Search:
    """Searches an indexed connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.known = {
            number: (shown, size) for number, shown, size in connection.execute("SELECT id, shown, size FROM documents")
        }
        self.vocabulary = Vocabulary(connection)
        self.ways = lru_cache(maxsize=4096)(self.ways_of)

    def find(self, question: str, kind: str, keep: Callable[[str], bool] = lambda shown: True) -> list[Found]:
        """Return what fits a question, best first."""
        terms = self.terms(question_words(question)[:MOST_TERMS])
        asked = Question([term for term in terms if term.ways])
        judged = (
            Found(self.known[number][0], *asked.judge(names, labels, fields))
            for number, names, labels, fields in self.read(self.reached(asked, kind, keep))
        )
        return sorted((each for each in judged if each.score > 0), key=lambda each: -each.score)

    def terms(self, words: Sequence[str]) -> list[Term]:
        """Return what a question's words mean here: runs with a meaning of their own first, else single words."""
        corrected = [known for word in words for known in self.vocabulary.understood(word)]
        return [
            Term(word, self.weight(word), self.ways(word, others)) for run, others in runs(corrected) for word in run
        ]

    def weight(self, word: str) -> float:
        """Return how much a word tells: rare ones tell more."""
        rarity = 0.4 + math.log(1 + len(self.known) / (1 + self.vocabulary.count(word)))
        return rarity * (WEAKLY if word in WEAK else 1)

    def ways_of(self, word: str, others: tuple[tuple[str, ...], ...]) -> tuple[tuple[str, float], ...]:
        """Return how a word may stand in a document, and what each way is worth, best first."""
        ways = {word: 1.0} | {" ".join(other): BY_MEANING for other in others} | self.vocabulary.kin(word)
        return tuple((words, worth) for words, worth in ways.items() if self.vocabulary.has(words))

    def reached(self, asked: Question, kind: str, keep: Callable[[str], bool]) -> list[int]:
        """Return the documents worth judging: with most of the question in few words."""
        scores: dict[int, float] = {}
        for term in asked.terms:
            share = term.weight / asked.weight
            for number, worth in self.met(term, kind).items():
                scores[number] = scores.get(number, 0.0) + share * worth
        known = self.known
        ordered = sorted(scores, key=lambda number: SPARE / 2 * known[number][1] - scores[number])
        return list(islice((number for number in ordered if keep(known[number][0])), MOST_JUDGED))

    def met(self, term: Term, kind: str) -> dict[int, float]:
        """Return the documents that have a term, and what that is worth."""
        found = self.having(NAMES, term, kind, 1.0)
        # What so many have among their fields tells none from another.
        common = self.vocabulary.count(term.word) > COMMON * len(self.known)
        return found if found and common else self.having(FIELDS, term, kind, IN_FIELDS) | found

    def having(self, query: str, term: Term, kind: str, place: float) -> dict[int, float]:
        first = KINDS.index(kind) * OF_ONE_KIND
        found: dict[int, float] = {}
        for words, worth in term.ways:
            asked = {"words": f'"{words}"', "first": first, "last": first + OF_ONE_KIND - 1}
            rows = self.connection.execute(query, asked).fetchall()
            found = dict.fromkeys([number for (number,) in rows], place * worth) | found
        return found

    def read(self, numbers: Sequence[int]) -> list[tuple[int, str, str, str]]:
        return self.connection.execute(READ, {"numbers": json_text(numbers)}).fetchall()


def runs(words: Sequence[str]) -> Iterator[tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]]:
    """Yield the longest runs with a meaning of their own, and what else they are called; single words otherwise."""
    place = 0
    while place < len(words):
        lengths = range(min(LONGEST, len(words) - place), 1, -1)
        length = next((each for each in lengths if tuple(words[place : place + each]) in MEANINGS), 1)
        run = tuple(words[place : place + length])
        yield run, MEANINGS.get(run, ())
        place += length


def entity_documents(rows: Iterable[EntitySummary]) -> Iterator[Document]:
    """Yield the document of each entity by its names alone."""
    for row in rows:
        names = tuple(name for name in (row.entity_set, row.public_name, row.aot_name) if name)
        yield Document("entity", names, shown=row.aot_name)

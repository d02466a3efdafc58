"""The words of an index: how many documents have one, its kin, and what a word that none has was meant to be."""

import sqlite3
from collections.abc import Sequence
from difflib import SequenceMatcher
from functools import lru_cache

from d365mcp.metadata.search.synonyms import SHORT
from d365mcp.metadata.search.terms import UNDERSTOOD, root, stem

BY_KIN = 0.85
SHORTEST_PART = 3
SHORTEST_COMPOUND = 7
SHORTEST_TYPO = 4
ALIKE = 0.75


class Vocabulary:
    """The words of an indexed connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.count = lru_cache(maxsize=4096)(self.count_of)
        self.kin = lru_cache(maxsize=1024)(self.kin_of)
        self.understood = lru_cache(maxsize=1024)(self.understood_as)

    def count_of(self, word: str) -> int:
        """Return how many documents have a word."""
        found = self.connection.execute("SELECT documents FROM words WHERE word = ?", (word,)).fetchone()
        return int(found[0]) if found else 0

    def has(self, words: str) -> bool:
        """Return whether all words of a run occur."""
        return all(self.count(word) for word in words.split())

    def kin_of(self, word: str) -> dict[str, float]:
        """Return the other words with the same root, and what they are worth."""
        own = root(word)
        if len(own) < SHORTEST_TYPO:
            return {}
        return {other: BY_KIN for other in self.beginning_with(own) if other != word and root(other) == own}

    def beginning_with(self, start: str) -> list[str]:
        query = "SELECT word FROM words WHERE word >= :start AND word < :start || '{'"  # { comes after z
        return [word for (word,) in self.connection.execute(query, {"start": start})]

    def understood_as(self, word: str) -> Sequence[str]:
        """Return a word that means something here, else the words it is made of, else the one most like it."""
        if self.means(word) or self.kin(word):
            return [word]
        if len(word) >= SHORTEST_COMPOUND and (parts := self.parts(word)):
            return parts
        return [self.closest(word)] if len(word) >= SHORTEST_TYPO else [word]

    def means(self, word: str) -> bool:
        return word in UNDERSTOOD or self.count(word) > 0

    def parts(self, word: str) -> list[str]:
        """Return the fewest known words that make up this one: sale, order, line for salesorderlines."""
        if self.is_part(word):
            return part_words(word)
        cuts = (
            place for place in range(len(word) - SHORTEST_PART, SHORTEST_PART - 1, -1) if self.is_part(word[:place])
        )
        found = ([*part_words(word[:place]), *rest] for place in cuts if (rest := self.parts(word[place:])))
        return min(found, key=len, default=[])

    def is_part(self, word: str) -> bool:
        return word in SHORT or self.means(stem(word))

    def closest(self, word: str) -> str:
        """Return the word most like a word: the more common one of two."""
        matcher = SequenceMatcher(b=word)
        best = (ALIKE, 0, word)
        for other, count in self.candidates(word):
            matcher.set_seq1(other)
            if matcher.real_quick_ratio() >= ALIKE and matcher.quick_ratio() >= best[0]:
                best = max(best, (round(matcher.ratio(), 2), count, other))
        return best[2]

    def candidates(self, word: str) -> list[tuple[str, int]]:
        query = """SELECT word, documents FROM words
            WHERE word >= :first AND word < :first || '{' AND length(word) BETWEEN :shortest AND :longest"""
        asked = {"first": word[0], "shortest": len(word) - 2, "longest": len(word) + 2}
        near = [each for each in UNDERSTOOD if each[0] == word[0] and abs(len(each) - len(word)) <= 2]
        return [*self.connection.execute(query, asked).fetchall(), *((each, 1) for each in near)]


def part_words(word: str) -> list[str]:
    """Return the stem of a part, nothing for one that says nothing."""
    said = SHORT.get(word, word)
    return [stem(said)] if said else []

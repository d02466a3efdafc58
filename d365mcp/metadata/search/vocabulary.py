"""The words of an index: how many documents have one, its kin, and what a word that none has was meant to be."""

from collections.abc import Sequence
from difflib import SequenceMatcher
from functools import cache, lru_cache
from typing import NamedTuple

from d365mcp.metadata.search.index import Index
from d365mcp.metadata.search.synonyms import SHORT
from d365mcp.metadata.search.terms import MEANINGS, root, stem, usual, usual_words

_BY_KIN = 0.85
_SHORTEST_PART = 3
_SHORTEST_COMPOUND = 7
_SHORTEST_TYPO = 4
_SIMILAR = 0.8


@cache
def _understood() -> frozenset[str]:
    """Return the words that need not occur in any name to be understood."""
    return frozenset([*usual_words(), *(word for said in MEANINGS for word in said)])


class Reading(NamedTuple):
    """What a word is read as: words that mean something here, as far as there are any."""

    words: Sequence[str]
    is_typo: bool = False  # it means nothing, but is like a word that does


class Vocabulary:
    """The words of one kind's index."""

    def __init__(self, index: Index) -> None:
        self.index = index
        self.kin = lru_cache(maxsize=1024)(self.kin_of)
        self.reading = lru_cache(maxsize=1024)(self.reading_of)

    def kin_of(self, word: str) -> dict[str, float]:
        """Return the other words with the same root, and what they are worth."""
        own = root(word)
        if len(own) < _SHORTEST_TYPO:
            return {}
        others = [other for other, _ in self.index.beginning_with(own)]
        return {other: _BY_KIN for other in others if other != word and root(other) == own}

    def reading_of(self, word: str) -> Reading:
        """Return a word that means something here, else the words it is made of, else the one most like it."""
        if self.means(word) or self.kin(word):
            return Reading([word])
        if len(word) >= _SHORTEST_COMPOUND and (parts := self.parts(word)):
            return Reading(parts)
        close = self.closest(word) if len(word) >= _SHORTEST_TYPO else word
        return Reading([close], is_typo=close != word)

    def means(self, word: str) -> bool:
        return word in _understood() or self.index.has(word) or bool(self.index.heard(usual(word)))

    def parts(self, word: str) -> list[str]:
        """Return the fewest known words that make up this one: sale, order, line for salesorderlines."""
        if self.is_part(word):
            return _part_words(word)
        cuts = (
            place for place in range(len(word) - _SHORTEST_PART, _SHORTEST_PART - 1, -1) if self.is_part(word[:place])
        )
        found = ([*_part_words(word[:place]), *rest] for place in cuts if (rest := self.parts(word[place:])))
        return min(found, key=len, default=[])

    def is_part(self, word: str) -> bool:
        return word in SHORT or self.means(stem(word))

    def closest(self, word: str) -> str:
        """Return the word most like a word: the more common one of two."""
        matcher = SequenceMatcher(b=word)
        best = (_SIMILAR, 0, word)
        for other, count in self.candidates(word):
            matcher.set_seq1(other)
            if matcher.real_quick_ratio() >= _SIMILAR and matcher.quick_ratio() >= best[0]:
                best = max(best, (round(matcher.ratio(), 2), count, other))
        return best[2]

    def candidates(self, word: str) -> list[tuple[str, int]]:
        known = [*self.index.beginning_with(word[0]), *((each, 1) for each in _understood() if each[0] == word[0])]
        return [(other, count) for other, count in known if abs(len(other) - len(word)) <= 2]


def _part_words(word: str) -> list[str]:
    """Return the stem of a part, nothing for one that says nothing."""
    said = SHORT.get(word, word)
    return [stem(said)] if said else []

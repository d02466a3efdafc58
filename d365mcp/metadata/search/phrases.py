"""By what phrases people ask for standard data: what its names and labels do not say.

A document expanded by the questions it answers is found by people who do not know its name. R. Nogueira, W. Yang, J. Lin,
K. Cho: Document Expansion by Query Prediction (2019). The files in said/ have the phrases.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path

from d365mcp.metadata.search.terms import Phrase, name_words, read_lines

_SAID = Path(__file__).with_name("said")


class Phrasebook:
    """The phrases of all data that is known. It is large, so nobody keeps it longer than they need it."""

    def __init__(self) -> None:
        self.texts: dict[Phrase, list[str]] = {}
        for names, text in read_lines(*sorted(_SAID.glob("*.txt"))):
            for name in names.split(", "):
                self.texts.setdefault(_words(name), []).append(text)

    def of(self, names: Iterable[str]) -> Sequence[str]:
        """Return the phrases for an entity, by the first of its names that is known here.

        Names are compared by their words without module, version and the like: CustCustomerV3Entity is a customer.
        """
        found = next((self.texts[words] for words in map(_words, names) if words in self.texts), [])
        return [phrase for text in found for phrase in text.split("; ")]


def _words(name: str) -> Phrase:
    return tuple(word for word, _ in groupby(name_words(name)))

"""BM25F: what a word in a document's names, labels and fields says of what the document is about. Pure.

S. Robertson, H. Zaragoza: The Probabilistic Relevance Framework: BM25 and Beyond (2009), section 3.6.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import log

from d365mcp.metadata.search.terms import Phrase


@dataclass(frozen=True)
class Zone:
    """A part of a document: how much a word in it counts, and how much of that a long part takes away."""

    weight: float
    length_share: float
    usual_length: float

    def frequency(self, count: int, length: int) -> float:
        """Return how often a word stands in a part, as if the part had the usual length."""
        return self.weight * count / (1 - self.length_share + self.length_share * length / self.usual_length)


# Lengths are usual among F&O's 2,771 public entities: words of a name and of a label, names and labels of fields.
NAMES = Zone(1.2, 0.3, 3.6)
LABELS = Zone(1.2, 0.5, 3.2)
FIELDS = Zone(0.1, 0.6, 30.0)
SATURATION = 2.0
# The second phrase with a word says half as much more as the first.
HEARD_SATURATION = 1.0
FULL_WORTH = 255


def frequencies(zone: Zone, texts: Iterable[Phrase]) -> dict[str, float]:
    """Return the frequency of each word in texts that name the same thing: the best of them counts."""
    found: dict[str, float] = {}
    for words in texts:
        frequency = zone.frequency(1, len(words))
        for word in words:
            found[word] = max(found.get(word, 0.0), frequency)
    return found


def counted(zone: Zone, texts: Iterable[Phrase]) -> dict[str, float]:
    """Return the frequency of each word in texts of which each names another thing."""
    counts: dict[str, int] = {}
    length = 0
    for words in texts:
        length += 1
        for word in words:
            counts[word] = counts.get(word, 0) + 1
    return {word: zone.frequency(count, length) for word, count in counts.items()}


def summed(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    return {word: one.get(word, 0.0) + other.get(word, 0.0) for word in {**one, **other}}


def saturated(frequency: float, saturation: float = SATURATION) -> int:
    """Return what a frequency is worth, at most FULL_WORTH: the first occurrence says most."""
    return round(FULL_WORTH * frequency / (saturation + frequency))


def rarity(documents: int, having: int) -> float:
    """Return how much a word says: rare ones say more."""
    return log(1 + (documents - having + 0.5) / (having + 0.5))

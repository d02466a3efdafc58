"""What a question is about that says a task: to "close a month" is to change a fiscal period.

tasks.txt has words that mean something together, hints.txt has words of which each makes a meaning likelier.
"""

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from heapq import nlargest
from math import log
from pathlib import Path

from d365mcp.metadata.search.synonyms import SHORT, STOP_WORDS, TASK_WORDS
from d365mcp.metadata.search.terms import Phrase, name_words, root, stem

Meanings = tuple[Phrase, ...]

# A task whose words weigh less than that is less sure: many tasks have them.
_SURE = 12.0
# Of the meanings of a task each is worth a little less than the one before.
_LATER = 0.04
# What a few words hint at is doubtful.
_DOUBT = 4.0
_MOST_HINTED = 8
# A word hints at something alone where the question has few others.
_LEAST_ALONE = 0.4
_UNHEARD = 9.0


class _Sayings:
    """What a file says: its lines have meanings, and sayings of some words each."""

    def __init__(self, file: str, parts: Callable[[str, str], list[str]]) -> None:
        self.meanings: list[Meanings] = []  # by line
        self.lines = array("H")  # by saying
        self.having: dict[str, array[int]] = {}  # the sayings that have a word
        self.words: set[str] = set()
        for names, text in _listed(Path(__file__).with_name(file).read_text(encoding="utf-8")):
            self.meanings.append(tuple(tuple(name_words(name)) for name in names.split(",")))
            for saying in parts(names, text):
                words = _said(saying)
                self.words.update(words)
                for word in dict.fromkeys(_usual(words)):
                    self.having.setdefault(word, array("H")).append(len(self.lines))
                self.lines.append(len(self.meanings) - 1)
        self.weights = {word: log(1 + len(self.lines) / len(found)) for word, found in self.having.items()}
        self.whole = array("f", bytes(4 * len(self.lines)))  # what all words of a saying weigh
        for word, found in self.having.items():
            for number in found:
                self.whole[number] += self.weights[word]

    def found(self, words: Iterable[str]) -> list[tuple[float, int, list[str]]]:
        """Return what the words of sayings weigh that have any of these words, with their number and the words."""
        found: dict[int, list[str]] = {}
        for word in words:
            for number in self.having.get(word, ()):
                found.setdefault(number, []).append(word)
        return [(sum(map(self.weights.__getitem__, said)), number, said) for number, said in found.items()]


def task_meanings(words: Sequence[str]) -> list[dict[Phrase, float]]:
    """Return for each word of a question what the tasks it stands in mean, and how sure that is."""
    usual, tasks = _usual(words), _tasks()
    meant: dict[str, dict[Phrase, float]] = {word: {} for word in usual}
    met: set[str] = set()
    found = [each for each in tasks.found(meant) if each[0] > 0.999 * tasks.whole[each[1]]]
    for weight, number, parts in sorted(found, key=lambda each: -each[0]):
        if not met.issuperset(parts):
            met.update(parts)
            sure = min(1.0, weight / _SURE)
            for word in parts:
                for place, meaning in enumerate(tasks.meanings[tasks.lines[number]]):
                    meant[word][meaning] = max(meant[word].get(meaning, 0.0), sure - _LATER * place)
    return [meant[word] for word in usual]


def hinted(words: Sequence[str]) -> list[tuple[Meanings, float]]:
    """Return what the words of a question hint at, and how likely that is."""
    usual, hints = dict.fromkeys(_usual(words)), _hints()
    whole = _DOUBT + sum(hints.weights.get(word, 0.0) for word in usual)
    best = nlargest(_MOST_HINTED, hints.found(usual))
    likely = [(hints.meanings[number], weight / whole, len(said)) for weight, number, said in best]
    return [(meanings, share**2) for meanings, share, said in likely if said > 1 or share >= _LEAST_ALONE]


def task_weight(word: str) -> float:
    """Return how much a word says in a task."""
    return _tasks().weights.get(_usual([word])[0], _UNHEARD)


def hint_weight(word: str) -> float:
    """Return how much a word hints at, zero if at nothing."""
    return _hints().weights.get(_usual([word])[0], 0.0)


@cache
def task_words() -> frozenset[str]:
    """Return the words of all tasks: they are understood, though no name may have them."""
    return frozenset([*_tasks().words, *_hints().words, *_same()])


@cache
def _tasks() -> _Sayings:
    return _Sayings("tasks.txt", lambda names, text: text.split(";"))


@cache
def _hints() -> _Sayings:
    return _Sayings("hints.txt", lambda names, text: [f"{text} {names}"])


@cache
def _same() -> dict[str, str]:
    return {stem(other.strip()): stem(word) for word, others in _listed(TASK_WORDS) for other in others.split(",")}


@cache
def _usual_roots() -> dict[str, str]:
    return {root(other): root(word) for other, word in _same().items()}


def _usual(words: Iterable[str]) -> list[str]:
    """Return words as tasks have them: bill for invoice, paid for pay, and without their endings."""
    return [_usual_roots().get(root(word), root(word)) for word in words]


def _said(saying: str) -> list[str]:
    said = saying.replace(",", " ").split()
    return [stem(SHORT.get(word) or word) for word in said if word not in STOP_WORDS]


def _listed(text: str) -> Iterator[tuple[str, str]]:
    """Yield what stands before the colon of each line, and what behind it."""
    for line in text.splitlines():
        if line and not line.startswith("#"):
            first, others = line.split(":")
            yield first, others

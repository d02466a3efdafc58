"""Judges how well a document fits a question: how much of it the document says, and what else it says. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log

IN_NAME, IN_LABEL, IN_FIELDS, BY_MEANING = 1.0, 0.95, 0.45, 0.9
SPARE = 0.09
NEIGHBOURS = 0.06
NOTHING_ELSE = 0.25
# What has many fields is rather the thing itself than something about it.
MANY_FIELDS = 0.015


@dataclass(frozen=True)
class Term:
    """A word of the question: how much it tells, and how it may stand in a document (and what that is worth)."""

    word: str
    weight: float
    ways: tuple[tuple[str, float], ...]


class Question:
    """The terms of a question."""

    def __init__(self, terms: Sequence[Term]) -> None:
        self.terms = terms
        self.weight = sum(term.weight for term in terms)
        self.ways = [[(f" {words} ", worth) for words, worth in term.ways] for term in terms]
        # A header is the thing itself; its lines are another.
        self.said = {"header", *(word for term in terms for words, _ in term.ways for word in words.split())}
        self.pairs = [f" {one.word} {other.word} " for one, other in zip(terms, terms[1:], strict=False)]

    def judge(self, names: str, labels: str, fields: str) -> tuple[float, str]:
        """Return a score and why. Names and labels are padded and parted by bars."""
        fields = f" {fields} "
        matches = [match(ways, names, labels, fields) for ways in self.ways]
        coverage = sum(term.weight * worth for term, (worth, _) in zip(self.terms, matches, strict=True)) / self.weight
        spare = self.spare(names.split("|"), labels.split("|") if labels else [])
        score = coverage - SPARE * spare + MANY_FIELDS * log(1 + len(fields))
        score += NEIGHBOURS * sum(1 for pair in self.pairs if pair in names or pair in labels or pair in fields)
        if spare < 1 and all(worth >= BY_MEANING for worth, _ in matches):
            score += NOTHING_ELSE * (1 - spare)
        return score, "; ".join(dict.fromkeys(why for _, why in matches if why))

    def spare(self, names: Sequence[str], labels: Sequence[str]) -> float:
        """Return how many words the shortest name and the label say that the question does not."""
        return (min(map(self.unsaid, names)) + min(map(self.unsaid, labels or names[:1]))) / 2

    def unsaid(self, text: str) -> int:
        return sum(word not in self.said for word in text.split())


def match(ways: Sequence[tuple[str, float]], names: str, labels: str, fields: str) -> tuple[float, str]:
    """Return what the best way to meet a term is worth, and where it is met."""
    best, why = 0.0, ""
    for words, worth in ways:
        if words in names:
            value, place = worth * IN_NAME, "name has"
        elif words in labels:
            value, place = worth * IN_LABEL, "label has"
        elif words in fields:
            value, place = worth * IN_FIELDS, "fields have"
        else:
            continue
        if value > best:
            best, why = value, f"{place} {words.strip()}"
    return best, why

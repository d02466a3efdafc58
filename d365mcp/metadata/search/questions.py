"""What a question asks, and which documents of a kind fit it. Performs no I/O but SQLite's."""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice, takewhile
from operator import itemgetter

from d365mcp.metadata.search.index import Index, Postings
from d365mcp.metadata.search.scoring import FULL_WORTH, rarity
from d365mcp.metadata.search.synonyms import ASKING, WEAK
from d365mcp.metadata.search.tasks import Meanings, hint_weight, hinted, task_meanings, task_weight
from d365mcp.metadata.search.terms import LONGEST, MEANINGS, Phrase, name_words, question_words
from d365mcp.metadata.search.vocabulary import Vocabulary

_MOST_TERMS = 12
_MOST_COMPARED = 40
_MOST_FIELDS = 2
# What another way of saying a word is worth.
_BY_MEANING = 0.9
# Hints count the more the less the question's words are found. Of a hint's meanings each counts less than the one before.
_BY_HINT, _NAMED_SHARE, _LATER = 4.0, 0.55, 0.06
# A question about customers is not one about vendors.
_OPPOSITES: tuple[Phrase, ...] = (("customer", "sale"), ("vendor", "purchase"))
_OPPOSITE = 0.4
# What says a state or a time more often than the thing counts so much.
_WEAKLY = 0.35
# What fits much worse than the best is left out.
_LEAST_SHARE = 0.5
# A name or label that says more than the question loses, one that says exactly the question wins.
_SPARE, _NEXT_TO, _EXACT = 0.06, 0.03, 0.1


@dataclass(frozen=True)
class Term:
    """A word of the question: how much it says, and how it may stand in a document (and what that is worth)."""

    word: str
    weight: float
    ways: tuple[tuple[Phrase, float], ...]
    padded: tuple[str, ...]  # the ways as names and labels have them
    own: tuple[str, ...]  # of these the word's own, whatever task it stands in

    def is_in(self, texts: str) -> bool:
        return any(text in texts for text in self.padded)

    def is_itself_in(self, texts: str) -> bool:
        return any(text in texts for text in self.own)


@dataclass(frozen=True)
class Found:
    """A document that fits, and how well: 1 is the most that words can say."""

    ref: str
    score: float
    is_named: bool  # its name or label has one of the question's terms
    unnamed: tuple[Term, ...]  # those that neither has


@dataclass(frozen=True)
class Wanted:
    """What a question asks, and the documents that have any of it, by number, with what their words are worth."""

    terms: Sequence[Term]
    scores: Sequence[tuple[int, float]]
    hinted: Sequence[str] = ()  # what the words hint at, as names and labels have it


class Search:
    """Searches the documents of one kind."""

    def __init__(self, connection: sqlite3.Connection, kind: str) -> None:
        self.index = Index(connection, kind)
        self.vocabulary = Vocabulary(self.index)
        self.term = lru_cache(maxsize=1024)(self.term_of)
        self.met = lru_cache(maxsize=512)(self.met_by)
        self.has_hints = kind == "entity"
        self.named = lru_cache(maxsize=512)(self.named_so)

    def find(self, question: str) -> list[Found]:
        """Return what fits a question about as well as the best."""
        found = self.best(self.wanted(question))
        return [each for each in found if each.score >= least_score(found[0].score)]

    @property
    def size(self) -> int:
        return len(self.index.documents)

    def wanted(self, question: str) -> Wanted:
        """Return what a question asks, and what each document that has any of it is worth."""
        words = [known for word in question_words(question)[:_MOST_TERMS] for known in self.vocabulary.understood(word)]
        terms = self.terms([word for word in words if word not in ASKING] or words)
        scores: dict[int, float] = {}
        for term in terms:
            weight = term.weight
            for number, worth in self.met(term).items():
                scores[number] = scores.get(number, 0.0) + weight * worth
        unnamed = {*words} - {term.word for term in terms} if self.has_hints else ()
        whole = sum(term.weight for term in terms) + sum(map(hint_weight, unnamed))
        shares = {number: score / whole / FULL_WORTH for number, score in scores.items()}
        hints = hinted(words) if self.has_hints else []
        self.add_hints(shares, hints)
        texts = [_padded(run) for meanings, _ in hints for run in meanings]
        return Wanted(terms, sorted(shares.items(), key=itemgetter(1), reverse=True), texts)

    def add_hints(self, shares: dict[int, float], hints: Sequence[tuple[Meanings, float]]) -> None:
        """Add to the documents' shares what the question's words hint at."""
        worth = _BY_HINT * (1 - max(shares.values(), default=0.0) / _NAMED_SHARE)
        if worth <= 0:
            return
        gains: dict[int, float] = {}
        for meanings, likely in hints:
            for place, run in enumerate(meanings):
                for number, share in self.named(run).items():
                    gains[number] = max(gains.get(number, 0.0), worth * likely * share * (1 - _LATER * place))
        for number, gain in gains.items():
            shares[number] = shares.get(number, 0.0) + gain

    def named_so(self, run: Phrase) -> dict[int, float]:
        """Return the documents with a run in a name or label, and how much of that it is."""
        if not all(map(self.index.has, run)):
            return {}
        words, found = _padded(run), {}
        for number in self.index.having(run):
            _, names, labels = self.index.documents[number]
            lengths = [len(text.split()) for text in f"{names}|{labels}".split("|") if words in text]
            if lengths:
                found[number] = (len(run) + 1) / (min(lengths) + 1)
        return found

    def best(self, wanted: Wanted, keep: Callable[[str], bool] = lambda ref: True, least: float = 0.0) -> list[Found]:
        """Return the documents to keep that fit, best first. `least` is what their words have to be worth."""
        documents, wording = self.index.documents, _Wording(wanted)
        enough = takewhile(lambda each: each[1] >= least, wanted.scores)
        kept = ((documents[number], score) for number, score in enough if keep(documents[number][0]))
        found = [wording.compared(document, score) for document, score in islice(kept, _MOST_COMPARED)]
        return sorted(found, key=lambda each: -each.score)

    def terms(self, words: Sequence[str]) -> list[Term]:
        """Return what a question's words mean here: tasks and runs with a meaning of their own first, else single words."""
        others = [meanings for run, meanings in _runs(words) for _ in run]
        tasks = [tuple(meant.items()) for meant in task_meanings(words)]
        found = map(self.term, words, others, tasks)
        return [term for term in found if term.ways]

    def term_of(self, word: str, others: tuple[Phrase, ...], tasks: tuple[tuple[Phrase, float], ...]) -> Term:
        ways: dict[Phrase, float] = {(kin,): worth for kin, worth in self.vocabulary.kin(word).items()}
        ways |= dict.fromkeys(others, _BY_MEANING)
        ways |= dict(tasks)
        ways[(word,)] = 1.0
        known = tuple((run, worth) for run, worth in ways.items() if all(map(self.index.has, run)))
        weight = min(rarity(len(self.index.documents), *self.index.counts(word)), task_weight(word))
        padded = {run: _padded(run) for run, _ in known}
        own = tuple(text for run, text in padded.items() if run == (word,) or run not in dict(tasks))
        weight *= _WEAKLY if word in WEAK and not tasks else 1
        return Term(word, weight, known, tuple(padded.values()), own)

    def met_by(self, term: Term) -> Postings:
        """Return the documents that have a term in one of its ways, and what the best of these is worth."""
        best: Postings = {}
        for run, value in term.ways:
            for number, worth in self.index.having(run).items():
                worth = int(worth * value)
                if worth > best.get(number, 0):
                    best[number] = worth
        return best


class _Wording:
    """How a question's words stand in names and labels."""

    def __init__(self, wanted: Wanted) -> None:
        self.terms = terms = wanted.terms
        self.hinted = wanted.hinted
        self.said = {word for term in terms for run, _ in term.ways for word in run}
        if all(term.word != "line" for term in terms):
            self.said.add("header")  # which is the thing itself; its lines are another
        sides = _sides(_padded(run) for term in terms for run, _ in term.ways if len(run) == 1)
        self.opposite = {*_OPPOSITES} - sides if len(sides) == 1 else None
        self.pairs = [f" {one.word} {other.word} " for one, other in zip(terms, terms[1:], strict=False)]

    def compared(self, document: tuple[str, str, str], score: float) -> Found:
        """Return a document with its score, changed by what its name and label say beside the question."""
        ref, names, labels = document
        if self.opposite is not None and _sides([names]) == self.opposite:
            score *= _OPPOSITE
        spare = (_unsaid(names, self.said) + _unsaid(labels, self.said)) / 2
        pairs = sum(pair in names or pair in labels for pair in self.pairs)
        score += _NEXT_TO * pairs - _SPARE * spare
        texts = f"{names}|{labels}"
        if spare < 1 and any(map(self.is_exact, texts.split("|"))):
            score += _EXACT
        unnamed = tuple(term for term in self.terms if not term.is_itself_in(texts))
        is_named = any(term.is_in(texts) for term in self.terms) or any(text in texts for text in self.hinted)
        return Found(ref, score, is_named, unnamed)

    def is_exact(self, text: str) -> bool:
        return _unsaid(text, self.said) == 0 and all(term.is_in(text) for term in self.terms)


def _padded(run: Phrase) -> str:
    """Return words as the texts of a document have them."""
    return f" {' '.join(run)} "


def _sides(texts: Iterable[str]) -> set[Phrase]:
    """Return the sides of business that texts speak of."""
    return {side for text in texts for side in _OPPOSITES if any(_padded((word,)) in text for word in side)}


def least_score(best: float) -> float:
    """Return the score that is not much worse than the best, which is below zero where only fields have the words."""
    return best - (1 - _LEAST_SHARE) * abs(best)


def _unsaid(texts: str, said: Set[str]) -> int:
    """Return how many words a text has that the question does not say: the text with the fewest counts."""
    return min(sum(word not in said for word in text.split()) for text in texts.split("|"))


def _runs(words: Sequence[str]) -> Iterator[tuple[Phrase, tuple[Phrase, ...]]]:
    """Yield the longest runs with a meaning of their own, and what else they are called; single words otherwise."""
    place = 0
    while place < len(words):
        lengths = range(min(LONGEST, len(words) - place), 1, -1)
        length = next((each for each in lengths if tuple(words[place : place + each]) in MEANINGS), 1)
        run = tuple(words[place : place + length])
        yield run, MEANINGS.get(run, ())
        place += length


def fields_with(names: Iterable[str], terms: Sequence[Term]) -> tuple[str, ...]:
    """Return the fields that have all of these words that say much, the shortest names first, a few."""
    wanted = [term for term in terms if term.word not in WEAK]
    texts = {name: f" {' '.join(name_words(name))} " for name in names} if wanted else {}
    found = (name for name, text in texts.items() if all(term.is_itself_in(text) for term in wanted))
    return tuple(sorted(found, key=len)[:_MOST_FIELDS])

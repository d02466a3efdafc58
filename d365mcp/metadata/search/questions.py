"""What a question asks, and which documents of a kind fit it. Performs no I/O but SQLite's."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import islice, takewhile

from d365mcp.metadata.search.index import Index, Postings
from d365mcp.metadata.search.scoring import FULL_WORTH, rarity
from d365mcp.metadata.search.synonyms import FILLERS, SIDES, WEAK
from d365mcp.metadata.search.terms import LONGEST, MEANINGS, Phrase, name_words, question_words, usual
from d365mcp.metadata.search.vocabulary import Vocabulary
from d365mcp.metadata.shared_connection import SharedConnection

_MOST_TERMS = 12
_MOST_COMPARED = 40
_MOST_FIELDS = 2
# Documents that have just the commonest words of a question, so much of it, are left out.
_REST = 0.3
# What another way of saying a word is worth.
_BY_MEANING = 0.9
# Phrases count the more the less the names say: nothing from that share on. Those that have much less than the best do not.
_BY_PHRASE, _NAMED_SHARE, _LEAST_HEARD = 4.0, 0.7, 0.4
# What has so much of a question by its phrases is meant, whatever its name says.
_MEANT_SHARE = 0.2
# A question about customers is not one about vendors.
_OPPOSITES: tuple[Phrase, ...] = (("customer", "sale"), ("vendor", "purchase"))
_OPPOSITE = 0.4
# What says a state or a time more often than the thing counts so much.
_WEAKLY = 0.35
# What fits much worse than the best is left out, more of it beside one that says exactly what was asked.
_LEAST_SHARE, _BESIDE_EXACT = 0.5, 0.6
# A word that more of the documents have in phrases tells something only where so many are named by it.
_OFTEN_HEARD, _OFTEN_NAMED = 0.05, 0.01
# A name or label that says more than the question loses, one that says exactly the question wins.
_SPARE, _NEXT_TO, _EXACT = 0.06, 0.03, 0.1


@dataclass(frozen=True)
class Term:
    """A word of the question: how much it says, and how it may stand in a document (and what that is worth)."""

    word: str
    weight: float
    ways: tuple[tuple[Phrase, float], ...]
    padded: tuple[str, ...]  # the ways as names and labels have them
    is_telling: bool  # something should be named by it

    def is_among(self, unnamed: Sequence["Term"]) -> bool:
        """Return whether it is one of what a document is not named for: what no document has is always."""
        return not self.ways or self in unnamed

    def is_in(self, texts: str) -> bool:
        return any(text in texts for text in self.padded)


@dataclass(frozen=True)
class Found:
    """A document that fits, and how well: 1 is the most that words can say."""

    ref: str
    score: float
    is_named: bool  # its name or label has one of the question's terms, or its phrases have enough of them
    unnamed: tuple[Term, ...]  # those that neither has
    is_exact: bool  # its name or label says just the question


@dataclass(frozen=True)
class Wanted:
    """What a question asks, and the documents that have any of it, by number, best first."""

    said: Mapping[str, str]  # the question's own word, by the one it is read as
    corrected: Mapping[str, str]  # what is read for a word without a meaning, by that word
    telling: Sequence[Term]
    terms: Sequence[Term]  # those that any document has
    documents: Sequence[int]
    scores: Mapping[int, float]  # what their words are worth
    heard: Mapping[int, float]  # how much of the question their phrases have

    def unnamed_share(self, unnamed: Sequence[Term]) -> float:
        """Return how many of the telling words a document is not named for."""
        return sum(term.is_among(unnamed) for term in self.telling) / max(1, len(self.telling))


class Search:
    """Searches the documents of one kind."""

    def __init__(self, connection: SharedConnection, kind: str) -> None:
        self.index = Index(connection, kind)
        self.vocabulary = Vocabulary(self.index)
        self.term = lru_cache(maxsize=1024)(self.term_of)
        self.met = lru_cache(maxsize=512)(self.met_by)

    def find(self, question: str) -> list[Found]:
        """Return what fits a question about as well as the best."""
        return self.fitting(self.wanted(question))

    def fitting(self, wanted: Wanted) -> list[Found]:
        found = self.best(wanted)
        return [each for each in found if each.score >= least_score(found[0].score, exact=found[0].is_exact)]

    def lacking(self, wanted: Wanted, found: Mapping[str, Sequence[Term]]) -> tuple[str, ...]:
        """Return the telling words that none of these documents has, in name, label or field; of none, of all there are.

        `found` are the terms each is not named for.
        """
        unnamed = [term for term in wanted.telling if all(term.is_among(others) for others in found.values())]
        numbers = {self.numbers[ref] for ref in found} if unnamed else set()
        lacking = (
            term for term in unnamed if not (having := self.all_having(term)) or (found and not numbers & having)
        )
        return tuple(dict.fromkeys(wanted.said[term.word] for term in lacking))

    def tells(self, word: str, ways: Iterable[Phrase]) -> bool:
        """Return whether something should be named by a word: not what is said of anything, or stands in between."""
        if word in WEAK or word in SIDES or word in FILLERS or not word.isalpha():
            return False
        if len(self.index.heard(usual(word))) <= max(1, _OFTEN_HEARD * self.size):
            return True
        named = (len(self.index.all_with(run[0])[0]) for run in ways if len(run) == 1)
        return max(named, default=0) >= _OFTEN_NAMED * self.size

    def all_having(self, term: Term) -> set[int]:
        having = (self.index.all_with(run[0]) if len(run) == 1 else (self.index.having(run),) for run, _ in term.ways)
        return {number for places in having for place in places for number in place}

    @cached_property
    def numbers(self) -> Mapping[str, int]:
        return {ref: number for number, (ref, _, _) in enumerate(self.index.documents)}

    @property
    def size(self) -> int:
        return len(self.index.documents)

    def wanted(self, question: str) -> Wanted:
        """Return what a question asks, and what each document that has any of it is worth."""
        readings = [(word, self.vocabulary.reading(word)) for word in question_words(question)[:_MOST_TERMS]]
        corrected = {word: reading.words[0] for word, reading in readings if reading.is_typo}
        said = {known: word for word, reading in readings for known in reading.words}
        words = [known for _, reading in readings for known in reading.words]
        asked = self.terms(words)
        terms = [term for term in asked if term.ways]
        scores = self.named(terms)
        worth = max(0.0, _BY_PHRASE * (1 - max(scores.values(), default=0.0) / _NAMED_SHARE))
        heard = self.heard(words) if worth else {}
        least = _LEAST_HEARD * max(heard.values(), default=0.0)
        for number, share in heard.items():
            if share >= least:
                scores[number] += worth * share
        telling = [term for term in asked if term.is_telling]
        best = sorted(scores, key=scores.__getitem__, reverse=True)
        return Wanted(said, corrected, telling, terms, best, scores, heard)

    def named(self, terms: Sequence[Term]) -> defaultdict[int, float]:
        """Return how much of a question the documents have in names, labels and fields."""
        scores: defaultdict[int, float] = defaultdict(float)
        whole = sum(term.weight for term in terms) * FULL_WORTH
        for term in terms:
            share = term.weight / whole
            for number, worth in self.met(term).items():
                scores[number] += share * worth
        return scores

    def heard(self, words: Sequence[str]) -> dict[int, float]:
        """Return how much of a question the documents have in phrases, names and labels."""
        said = dict.fromkeys(map(usual, words))
        found = sorted(map(self.index.heard, said), key=len)
        weighed = [(postings, rarity(self.size, len(postings))) for postings in found]
        whole = sum(weight for _, weight in weighed) * FULL_WORTH
        left = sum(weight for postings, weight in weighed if postings)
        enough = _REST * left
        shares: defaultdict[int, float] = defaultdict(float)
        for postings, weight in weighed:
            share = weight / whole
            for number in postings if left > enough else shares.keys() & postings.keys():
                shares[number] += share * postings[number]
            left -= weight if postings else 0
        return shares

    def best(
        self,
        wanted: Wanted,
        keep: Callable[[str], bool] = lambda ref: True,
        least: float = 0.0,
        *,
        only_named: bool = False,
    ) -> list[Found]:
        """Return the documents to keep that fit, best first.

        `least` is what their words have to be worth; with `only_named` they have to be named for all that tells something.
        """
        documents, scores = self.index.documents, wanted.scores
        wording = _Wording(wanted, documents)
        enough = takewhile(lambda number: scores[number] >= least, wanted.documents)
        kept = islice((number for number in enough if keep(documents[number][0])), _MOST_COMPARED)
        fitting = filter(wording.has_all_telling, kept) if only_named else kept
        return sorted((wording.compared(number, scores[number]) for number in fitting), key=lambda each: -each.score)

    def terms(self, words: Sequence[str]) -> list[Term]:
        """Return what a question's words mean here: runs with a meaning of their own first, else single words."""
        others = (meanings for run, meanings in _runs(words) for _ in run)
        return list(map(self.term, words, others))

    def term_of(self, word: str, others: tuple[Phrase, ...]) -> Term:
        ways: dict[Phrase, float] = {(kin,): worth for kin, worth in self.vocabulary.kin(word).items()}
        ways |= dict.fromkeys(others, _BY_MEANING)
        if word not in SIDES:
            ways[(word,)] = 1.0
        known = tuple((run, worth) for run, worth in ways.items() if all(map(self.index.has, run)))
        weight = rarity(self.size, len(self.index.heard(usual(word))))
        weight *= _WEAKLY if word in WEAK else 1
        tells = self.tells(word, (run for run, _ in known))
        return Term(word, weight, known, tuple(_padded(run) for run, _ in known), tells)

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

    def __init__(self, wanted: Wanted, documents: Sequence[tuple[str, str, str]]) -> None:
        self.documents, self.heard = documents, wanted.heard
        self.terms = terms = wanted.terms
        self.telling = wanted.telling
        # Who owes us money is a customer, but names are not all that was asked for.
        self.has_side = any(term.word in SIDES for term in terms)
        self.said = {word for term in terms for run, _ in term.ways for word in run}
        if all(term.word != "line" for term in terms):
            self.said.add("header")  # which is the thing itself; its lines are another
        sides = _sides(_padded(run) for term in terms for run, _ in term.ways if len(run) == 1)
        self.opposite = {*_OPPOSITES} - sides if len(sides) == 1 else None
        self.pairs = [f" {one.word} {other.word} " for one, other in zip(terms, terms[1:], strict=False)]

    def compared(self, number: int, score: float) -> Found:
        """Return a document with its score, changed by what its name and label say beside the question."""
        ref, names, labels = self.documents[number]
        if self.opposite is not None and _sides([names]) == self.opposite:
            score *= _OPPOSITE
        texts = f"{names}|{labels}"
        spare = (self.unsaid(names) + self.unsaid(labels)) / 2
        score += _NEXT_TO * sum(pair in texts for pair in self.pairs) - _SPARE * spare
        is_exact = not self.has_side and spare < 1 and any(map(self.is_exact, texts.split("|")))
        score += _EXACT * is_exact
        unnamed = tuple([term for term in self.terms if not term.is_in(texts)])
        is_named = len(unnamed) < len(self.terms) or self.heard.get(number, 0.0) >= _MEANT_SHARE
        return Found(ref, score, is_named, unnamed, is_exact)

    def has_all_telling(self, number: int) -> bool:
        """Return whether a document is named for every word that tells something."""
        _, names, labels = self.documents[number]
        return all(term.is_in(f"{names}|{labels}") for term in self.telling)

    def unsaid(self, texts: str) -> int:
        """Return how many words a text has that the question does not say: the text with the fewest counts."""
        return min([len(words - self.said) for words in _word_sets(texts)])

    def is_exact(self, text: str) -> bool:
        return self.unsaid(text) == 0 and all(term.is_in(text) for term in self.terms)


def _padded(run: Phrase) -> str:
    """Return words as the texts of a document have them."""
    return f" {' '.join(run)} "


def _sides(texts: Iterable[str]) -> set[Phrase]:
    """Return the sides of business that texts speak of."""
    return {side for text in texts for side in _OPPOSITES if any(_padded((word,)) in text for word in side)}


def least_score(best: float, *, exact: bool) -> float:
    """Return the score that is not much worse than the best, which is below zero where only fields have the words."""
    return best - (1 - (_BESIDE_EXACT if exact else _LEAST_SHARE)) * abs(best)


@lru_cache(maxsize=4096)
def _word_sets(texts: str) -> list[frozenset[str]]:
    return [frozenset(text.split()) for text in texts.split("|")]


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
    found = (name for name, text in texts.items() if all(term.is_in(text) for term in wanted))
    return tuple(sorted(found, key=len)[:_MOST_FIELDS])

"""Finds entities: what fits the words, and of that what people mean, the newest public one. Performs no I/O."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import cached_property

from d365mcp.d365.models import VERSION, EntitySummary, version_of
from d365mcp.metadata.search.questions import Search, Term, Wanted, least_score
from d365mcp.metadata.search.terms import NAME_LIKE, name_words
from d365mcp.metadata.shared_connection import SharedConnection

Keep = Callable[[EntitySummary], bool]

# An entity that OData does not serve is mentioned where it fits better by that, and by that much of the best.
_CLEARLY = 0.1
# Of hits that are named for no more than half of the question, so many are enough.
_GUESSES, _GUESSED = 5, 0.5
# What is found beside the newest public entity of a name is rarely what is meant.
# One country's: what ends in _RU or _BR, and the Russian modules (RAsset, RTax25).
_LOCAL = re.compile(r"_[A-Z]{1,3}(Entity)?$|^R[A-Z]")
_INTERNAL = ("Staging", "CDS", "Tmp", "BI", "DimAttribute", "ForIntegration", "Mserp")


@dataclass(frozen=True)
class Hit:
    """An entity found, and how well it fits."""

    summary: EntitySummary
    score: float
    is_named: bool  # its name or label has one of the question's terms, or its phrases have enough of them
    unnamed: tuple[Term, ...]  # those that neither has
    is_exact: bool  # its name or label says just the question
    other_versions: tuple[str, ...] = ()
    label: str = ""
    key: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()  # that have the words its name has not


@dataclass(frozen=True)
class EntityResult:
    """What fits a question, best first, and an entity that OData does not serve but that fits better."""

    hits: Sequence[Hit]
    not_served: Hit | None
    searched: int
    lacking: tuple[str, ...]  # the telling words that no hit has
    is_guess: bool  # no hit is named for more than half of the question
    unknown: tuple[str, ...]  # names with a version that there is not, though there are others
    corrected: Mapping[str, str]  # what was read for a word without a meaning, by that word
    more: int = 0  # hits that fit too, but were left out


class EntityFinder:
    """Searches the entities of an indexed connection. `rows` are their light rows, by AOT name in the index."""

    def __init__(self, connection: SharedConnection, rows: Iterable[EntitySummary]) -> None:
        self.search = Search(connection, "entity")
        self.rows = {row.aot_name: row for row in rows}
        self.written = {name.casefold(): name for row in self.rows.values() for name in row.names}
        self.versioned = {
            name.casefold(): row.aot_name for row in self.rows.values() for name in row.names if VERSION.search(name)
        }
        self.hidden = {row.aot_name.casefold(): row for row in self.rows.values() if not row.data_service_enabled}
        self.families: dict[str, list[str]] = {}
        for row in self.rows.values():
            if row.data_service_enabled:
                self.families.setdefault(_family(row), []).append(_display_name(row))
        for names in self.families.values():
            names.sort(key=version_of, reverse=True)
        self.standings = {name: self.standing(row) for name, row in self.rows.items()}

    def find(self, question: str, keep: Keep = lambda row: True, *, public_only: bool = True) -> EntityResult:
        """Return the entities that fit a question."""
        # Capitals part a name's words, so it gets them back.
        question = NAME_LIKE.sub(lambda token: self.written.get(token[0].casefold(), token[0]), question)
        names = NAME_LIKE.findall(question)
        asked = {self.versioned.get(name.casefold()) for name in names}
        wanted = self.search.wanted(question)
        hits = self.ranked(wanted, asked, lambda row: keep(row) and (row.data_service_enabled or not public_only))
        least = least_score(hits[0].score, exact=hits[0].is_exact) if hits else 0.0
        kept = [self.with_versions(hit) for hit in self.newest(hits) if hit.score >= least]
        lacking = self.search.lacking(wanted, {hit.summary.aot_name: hit.unnamed for hit in kept}) if kept else ()
        is_guess = all(wanted.unnamed_share(hit.unnamed) >= _GUESSED for hit in kept)
        if is_guess:
            kept = kept[:_GUESSES]
        not_served = self.not_served(wanted, names, keep, kept[0].score if kept else 0.0) if public_only else None
        unknown = tuple(filter(self.is_other_version, names))
        return EntityResult(kept, not_served, self.search.size, lacking, is_guess, unknown, wanted.corrected)

    def not_served(self, wanted: Wanted, names: Sequence[str], keep: Keep, best: float) -> Hit | None:
        """Return the entity that OData does not serve but that was named, or that has all telling words and fits better."""
        hidden = (self.hidden.get(name.casefold()) for name in names if len(name_words(name)) > 1)
        if named := next((row for row in hidden if row and keep(row)), None):
            return Hit(named, 1.0, is_named=True, unnamed=(), is_exact=True)
        clearly = best + _CLEARLY * max(1.0, best)
        others = self.ranked(
            wanted, set(), lambda row: keep(row) and not row.data_service_enabled, best - _CLEARLY, only_named=True
        )
        return next((hit for hit in others if hit.is_named and hit.score > clearly), None)

    @cached_property
    def unversioned(self) -> Set[str]:
        return {VERSION.sub("", name).casefold() for name in self.written.values()}

    def is_other_version(self, name: str) -> bool:
        """Return whether a name is of a version that there is not, of an entity that there is."""
        is_unknown = VERSION.search(name) is not None and name.casefold() not in self.written
        return is_unknown and VERSION.sub("", name).casefold() in self.unversioned

    def ranked(
        self, wanted: Wanted, asked: set[str | None], keep: Keep, least: float = 0.0, *, only_named: bool = False
    ) -> list[Hit]:
        """Return the entities to keep, best first: those that are named as asked before all others."""
        rows = self.rows
        found = self.search.best(wanted, lambda ref: ref in rows and keep(rows[ref]), least, only_named=only_named)
        hits = [
            Hit(
                rows[each.ref],
                each.score + self.standings[each.ref] + (each.ref in asked),
                each.is_named,
                each.unnamed,
                each.is_exact,
            )
            for each in found
        ]
        return sorted(hits, key=lambda hit: (-round(hit.score, 6), len(name := _display_name(hit.summary)), name))

    def having(self, words: str) -> list[EntitySummary]:
        """Return the entities OData serves that have all of these words in names, labels or fields, in no order."""
        index = self.search.index
        rows = [self.rows.get(index.documents[number][0]) for number in index.having_all(name_words(words))]
        return [row for row in rows if row and row.data_service_enabled]

    def standing(self, row: EntitySummary) -> float:
        """Return what an entity's nature takes from its score."""
        name = _display_name(row)
        newest = self.families.get(_family(row), [name])[0]
        return (
            (-0.05 if row.is_read_only else 0.0)
            + (-0.12 if any(part in row.aot_name for part in _INTERNAL) else 0.0)
            + (-0.08 if _LOCAL.search(row.aot_name) else 0.0)
            + (-0.03 * max(0, version_of(newest) - version_of(name)))
        )

    def newest(self, hits: Iterable[Hit]) -> list[Hit]:
        """Return the first hit of each name without its version, which is the newest or the one asked for."""
        first: dict[str, Hit] = {}
        for hit in hits:
            first.setdefault(_family(hit.summary), hit)
        return list(first.values())

    def with_versions(self, hit: Hit) -> Hit:
        name = _display_name(hit.summary)
        others = tuple(other for other in self.families.get(_family(hit.summary), ()) if other != name)
        return replace(hit, other_versions=others) if others else hit


def _family(row: EntitySummary) -> str:
    return VERSION.sub("", _display_name(row))


def _display_name(row: EntitySummary) -> str:
    return row.entity_set or row.aot_name

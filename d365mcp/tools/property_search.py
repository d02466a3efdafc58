"""Finds an entity's properties by their names, or by words of names, labels and enumerations."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest

from d365mcp.d365.models import DataEntity, EntityProperty
from d365mcp.tools.columns import default_columns, spaced_words
from d365mcp.tools.tool import ToolContext

# Labels are one call each without a catalog snapshot.
_MAX_LABELS = 120
# Members of smaller ones are No and Yes, or Off and On: they tell nothing of a property.
_TELLING_MEMBERS = 3
# What is shorter stands in any word.
_LEAST_INSIDE = 3
_LETTERS = re.compile(r"[^\W_]+")

_Texts = Mapping[str, str]


@dataclass(frozen=True)
class PropertiesFound:
    """The properties that were named, those that have the words, the words that none has, and how many labels went unread."""

    named: Sequence[EntityProperty]
    with_words: Sequence[EntityProperty]
    unknown: Sequence[str]
    unread: int = 0


async def find_properties(
    context: ToolContext, entity: DataEntity, wanted: Iterable[str], language: str
) -> PropertiesFound:
    """Return what each of the names or groups of words finds; names come as they are, without their kin."""
    named: dict[str, EntityProperty] = {}
    phrases = []
    for each in wanted:
        if exact := _named_in(each, entity):
            named |= {prop.name: prop for prop in exact}
        else:
            phrases.append(_words(each))
    places, unread = await _places(context, entity, dict.fromkeys(chain(*phrases)), language)
    usual = default_columns(entity, {})
    lists = [_ranked(entity.properties.values(), phrase, places, usual) for phrase in phrases]
    in_turn = {prop.name: prop for prop in chain(*zip_longest(*lists)) if prop and prop.name not in named}
    unknown = [word for word, names in places.items() if not names]
    return PropertiesFound(list(named.values()), list(in_turn.values()), unknown, unread if unknown else 0)


def _named_in(text: str, entity: DataEntity) -> list[EntityProperty]:
    """Return the properties of a text that has nothing but their names. A single word in another case is just a word."""
    found = [entity.properties.get(entity.names_by_folded.get(name.casefold(), "")) for name in text.split()]
    exact = [
        prop for prop, name in zip(found, text.split(), strict=True)
        if prop and (prop.name == name or " " in spaced_words(prop.name))
    ]  # fmt: skip
    return exact if len(exact) == len(found) else []


def _words(text: str) -> list[str]:
    """Return a text's words in lower case, those of names apart: CreditLimit and credit-limit are credit and limit."""
    return [
        word
        for run in _LETTERS.findall(text)
        for word in (spaced_words(run) if run.isascii() else run.casefold()).split()
    ]


async def _places(
    context: ToolContext, entity: DataEntity, words: Collection[str], language: str
) -> tuple[dict[str, Collection[str]], int]:
    """Return by word the properties that have it, and how many labels were not read for the words that none has.

    A word is looked for at the beginning of words in names and labels, then in enumerations, then inside words.
    """
    if not words:
        return {}, 0
    every = _usual_first(entity)
    labels = await context.catalog.kept_labels(_label_ids(every), (language, *context.settings.languages))
    texts = _texts(every, labels)
    places: dict[str, Collection[str]] = {word: _beginning(word, texts) for word in words}

    def unplaced() -> list[str]:
        return [word for word, names in places.items() if not names]

    unread = 0
    if left := unplaced():
        types = await _enumeration_texts(context, entity, language)
        places |= {word: _beginning(word, types) for word in left}
    if left := unplaced():
        more, unread = await _missing_labels(context, every, language)
        texts = _texts(every, {**labels, **more})
        places |= {word: _beginning(word, texts) for word in left}
    places |= {word: _inside(word, texts) for word in unplaced() if len(word) >= _LEAST_INSIDE}
    return places, unread


def _usual_first(entity: DataEntity) -> list[EntityProperty]:
    usual = default_columns(entity, {})
    return sorted(entity.properties.values(), key=lambda prop: prop.name not in usual)


def _label_ids(properties: Iterable[EntityProperty]) -> list[str]:
    return list(dict.fromkeys(prop.label_id for prop in properties if prop.label_id))


def _texts(properties: Iterable[EntityProperty], labels: Mapping[str, str]) -> dict[str, str]:
    return {prop.name: " ".join(_words(f"{prop.name} {labels.get(prop.label_id, '')}")) for prop in properties}


def _beginning(word: str, texts: _Texts) -> list[str]:
    return [name for name, text in texts.items() if f" {word}" in f" {text}"]


def _inside(word: str, texts: _Texts) -> list[str]:
    return [name for name, text in texts.items() if word in text or word in name.casefold()]


async def _missing_labels(
    context: ToolContext, properties: Sequence[EntityProperty], language: str
) -> tuple[Mapping[str, str], int]:
    """Return the labels that the catalog does not keep in a language, and how many of them were not read."""
    ids = _label_ids(properties)
    known = await context.catalog.kept_labels(ids, (language,))
    missing = [each for each in ids if each not in known]
    labels, _ = await context.catalog.labels(missing[:_MAX_LABELS], language)
    return labels, max(0, len(missing) - _MAX_LABELS)


async def _enumeration_texts(context: ToolContext, entity: DataEntity, language: str) -> _Texts:
    """Return by property the name of its enumeration and, as far as the catalog keeps them, what its members are called."""
    members = {
        name: each.members for name, each in entity.enumerations.items() if len(each.members) >= _TELLING_MEMBERS
    }
    ids = [member.label_id for each in members.values() for member in each if member.label_id]
    labels = await context.catalog.kept_labels(ids, (language, *context.settings.languages))
    texts = {
        name: " ".join(f"{member.name} {labels.get(member.label_id, '')}" for member in each)
        for name, each in members.items()
    }
    return {
        prop.name: " ".join(_words(f"{prop.enumeration} {texts.get(prop.enumeration, '')}"))
        for prop in entity.properties.values()
        if prop.enumeration
    }


def _ranked(
    properties: Iterable[EntityProperty],
    words: Iterable[str],
    places: Mapping[str, Collection[str]],
    usual: Collection[str],
) -> list[EntityProperty]:
    """Return the properties that have all words which any property has, else those with some, those with most first;
    then the usual columns, then those that say little else."""
    groups = [names for word in dict.fromkeys(words) if (names := places[word])]
    hits = {prop.name: sum(prop.name in names for names in groups) for prop in properties}
    most = max(hits.values(), default=0)
    least = most if most == len(groups) else 1
    found = [prop for prop in properties if groups and hits[prop.name] >= least]
    return sorted(
        found, key=lambda prop: (-hits[prop.name], prop.name not in usual, len(spaced_words(prop.name).split()))
    )

"""What a caller meant by a column that an entity has not: by name, label and meaning, and which related entity has it."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import dropwhile

from d365mcp.d365.filters.names import MOST_SUGGESTIONS, find_property, unknown_properties
from d365mcp.d365.models import COMPANY, DataEntity, EntityProperty
from d365mcp.d365.odata import check_expand, expanded_item, selected_of
from d365mcp.errors import D365McpError, InvalidArgument, UnknownName, close_names, or_list
from d365mcp.tools.columns import default_columns, spaced_words, without_version
from d365mcp.tools.common import entity_or_none, expanded_names, related_entities
from d365mcp.tools.links import Families, families, named_by, tie
from d365mcp.tools.tool import ToolContext

_NAMED = 3
# From this score on a column says just what was asked for.
_EXACT = 90
# What fits so much worse than the best is not what was meant.
_FAR_OFF = 35
_OF_USUAL = 10
_BY_NEXT_BEST = 20
# A column of a related entity that the name says is meant from this score on, where the entity's own fit less.
_FAIR = 60
# Names of columns are long: what is less alike than this is another word.
_TYPO = 0.8
_SHORTEST = 2
# Of an unknown column, so many related entities are looked at; without a catalog, where each is a call, so many.
_ENTITIES, _ENTITIES_LIVE = 8, 3
# Without a catalog each label is a call.
_LABELS = 12
# Words that people use one for another, under the one that F&O's names have.
_SAME = {
    "no": "number", "num": "number", "nr": "number", "id": "number", "code": "number",
    "telephone": "phone", "tel": "phone", "mail": "email", "client": "customer",
    "supplier": "vendor", "town": "city", "cost": "price", "title": "name", "blocked": "hold", "country": "region",
    "zip": "postal", "article": "item", "product": "item", "desc": "description", "created": "creation", "sku": "item",
}  # fmt: skip
# What is meant where an entity has no such word.
_NEXT_BEST = {
    "name": "description", "description": "name", "status": "stage", "total": "amount", "sum": "amount",
    "value": "amount",
}  # fmt: skip
# Last words that names have or lack without meaning another thing: the customer, its account, its account number.
_TAILS = ("number", "account")


def _words(text: str) -> list[str]:
    """Return the words of a name or of a label, each as F&O's names have it."""
    from d365mcp.metadata.search.synonyms import SHORT  # seldom needed
    from d365mcp.metadata.search.terms import stem

    found = text.casefold() if " " in text else spaced_words(text)
    return [_SAME.get(word, word) for word in (stem(SHORT.get(word) or word) for word in found.split())]


def _noun(name: str) -> set[str]:
    """Return the words of what an entity is of."""
    return set(_words(without_version(name)))


async def chosen_columns(
    context: ToolContext, entity: DataEntity, names: Sequence[str]
) -> tuple[tuple[str, ...], list[str]]:
    """Return the columns of a select as F&O writes them, each once, and a note for each there is none of.

    Raises UnknownName, or InvalidArgument for several, where none is right.
    """
    found = {name.strip(): find_property(name.strip(), entity) for name in names}
    unknown = [name for name, prop in found.items() if prop is None]
    messages = [await _message_for(context, entity, name) for name in unknown[:MOST_SUGGESTIONS]]
    if more := len(unknown) - len(messages):
        messages.append(f"There is none by {more} other names, too.")
    columns = tuple(dict.fromkeys(prop.name for prop in found.values() if prop))
    if unknown and not columns:
        raise _error(unknown, messages, entity)
    return columns, [f"left out: {message[0].lower()}{message[1:].rstrip('.')}" for message in messages]


async def chosen_expand(
    context: ToolContext, entity: DataEntity, items: Iterable[str]
) -> tuple[tuple[str, ...], dict[str, DataEntity], list[str]]:
    """Return what to expand as F&O writes it, the entities of it by navigation property as far as they are known, and a
    note for each column that one of them has not.

    Raises InvalidArgument, and UnknownName as `chosen_columns` does.
    """
    expand = check_expand(items, entity)
    related = await related_entities(context, entity, expanded_names(expand))
    chosen, notes = [], []
    for item in expand:
        link, columns = selected_of(item)
        if columns and link in related:
            known, left_out = await chosen_columns(context, related[link], columns)
            notes += [note.replace("left out:", f"left out of {link}:", 1) for note in left_out]
            item = expanded_item(link, known)
        chosen.append(item)
    return tuple(dict.fromkeys(chosen)), related, notes


def _error(unknown: Sequence[str], messages: Sequence[str], entity: DataEntity) -> InvalidArgument:
    error = unknown_properties(unknown, entity)
    error.reword(" ".join(messages))
    return error


async def explain_unknown(context: ToolContext, entity: DataEntity, error: UnknownName) -> None:
    """Put better suggestions into an error about a column."""
    if error.kind == "property" and entity.entity_set in (error.hint or ""):  # not of a related entity
        error.reword(await _message_for(context, entity, error.name))


async def explain_all_unknown(
    context: ToolContext, entity: DataEntity, names: Iterable[str], error: InvalidArgument
) -> None:
    """Put better suggestions into an error about a body, for the names that the entity has not."""
    unknown = [name for name in names if not name.startswith("@odata.") and find_property(name, entity) is None]
    for name in unknown[:MOST_SUGGESTIONS]:
        plain = unknown_properties([name], entity).message
        error.reword(error.message.replace(plain, await _message_for(context, entity, name)))


async def _message_for(context: ToolContext, entity: DataEntity, name: str) -> str:
    return " ".join(filter(None, [UnknownName("property", name, ()).message, await meaning_of(context, entity, name)]))


async def meaning_of(context: ToolContext, entity: DataEntity, name: str) -> str:
    """Say which column is meant by one that there is not, or else which related entity has it; nothing if unknown."""
    if name == "*" or name.casefold() == COMPANY.casefold():
        return _did_you_mean(close_names(name, entity.properties))
    if len(name) < _SHORTEST:
        return ""
    scored = await _scored(context, entity, name)
    if not scored or scored[0].score < _EXACT:
        place = await _elsewhere(context, entity, name, scored[0].score if scored else 0)
        close = [] if place else close_names(name, entity.properties, cutoff=_TYPO)
        meant = [] if place else [*close, *(str(column) for column in scored if column.name not in close)]
    else:
        meant = [str(column) for column in scored if column.score >= _EXACT]
        # What another word says may be meant, and so may what has the very name: the item's number, the product's.
        place = "" if scored[0].has(name) else _with_name(await _named_alike(context, entity, name), name)
    return " ".join(filter(None, [_did_you_mean(meant[:_NAMED]), place]))


def _did_you_mean(names: Sequence[str]) -> str:
    return f"Did you mean {or_list(names)}?" if names else ""


@dataclass(frozen=True)
class _Column:
    """A column, how well it fits, and its label where that says more than the name."""

    name: str
    score: int
    label: str

    def has(self, name: str) -> bool:
        """Return whether it has the very words of a name."""
        said = f"{spaced_words(self.name)} {self.label.casefold()}"
        return all(word in said for word in spaced_words(name).split())

    def is_all(self, wanted: set[str]) -> bool:
        """Return whether it is exact by itself, no noun of its entity taken for said."""
        return self.score >= _EXACT and wanted <= {*_words(self.name), *_words(self.label)}

    def __str__(self) -> str:
        says_more = self.label and self.label.casefold().replace(" ", "") != self.name.casefold()
        return f'{self.name} (label "{self.label}")' if says_more else self.name


async def _scored(context: ToolContext, entity: DataEntity, name: str, *, live: bool = True) -> list[_Column]:
    """Return the columns that come close, best first; `live`, labels may be calls."""
    wanted, own = _words(name), _noun(entity.public_name)
    labels = await _labels(context, entity, _telling(wanted, own), live=live)
    usual = {*default_columns(entity, {}), *(prop.name for prop in entity.key)}
    found = []
    for prop in entity.properties.values():
        label = labels.get(prop.label_id, "")
        if score := _score(wanted, own, prop, label):
            found.append(_Column(prop.name, score + _OF_USUAL * (prop.name in usual), label))
    found.sort(key=lambda column: (-column.score, len(column.name), column.name))
    return [column for column in found if column.score > found[0].score - _FAR_OFF][:_NAMED]


def _telling(words: list[str], own: set[str]) -> list[str]:
    """Return the words that do not name the entity, all where there is none."""
    return [word for word in words if word not in own] or words


def _score(wanted: list[str], own: set[str], prop: EntityProperty, label: str) -> int:
    """Return how well a property fits: by its name or label as asked, by the word next best, or by having all words."""
    texts = [_words(prop.name), _words(label)]
    said = {word for words in texts for word in words}
    if any(_is_same(wanted, words, own) for words in texts):
        return _EXACT + len(said & set(wanted))
    last = _NEXT_BEST.get(wanted[-1], "") if wanted else ""
    if last in said and any(_is_same([*wanted[:-1], last], words, own) for words in texts):
        return _EXACT - _BY_NEXT_BEST
    plain = wanted[:-1] if wanted[1:] and wanted[-1] == "number" else wanted
    for words, best, least in ((plain, 75, 40), (_telling(plain, own), 60, 20)):
        if words and set(words) <= said:
            return max(best - 5 * abs(len(texts[0]) - len(words)), least)
    return 0


def _is_same(wanted: list[str], words: list[str], own: set[str]) -> bool:
    """Return whether words say just what is wanted, the entity's own noun in front and a tail or two aside."""
    return any(
        one == other
        for noun in (set[str](), own)
        for one in _forms(_behind(noun, wanted))
        for other in _forms(_behind(noun, words))
    )


def _behind(noun: set[str], words: list[str]) -> list[str]:
    return list(dropwhile(noun.__contains__, words)) or words


def _forms(words: list[str]) -> Iterator[list[str]]:
    """Yield words, and what stands before their tails."""
    yield words
    for tail in _TAILS:
        if len(words) > 1 and words[-1] == tail:
            words = words[:-1]
            yield words


async def _labels(context: ToolContext, entity: DataEntity, telling: list[str], *, live: bool) -> Mapping[str, str]:
    """Return labels as far as the catalog keeps them; else those of the columns that have the last word in their name."""
    ids = [prop.label_id for prop in entity.properties.values() if prop.label_id]
    language = context.settings.languages[0]
    if (kept := await context.catalog.kept_labels(ids, (language,))) or not live:
        return kept
    likely = [prop for prop in entity.properties.values() if prop.label_id and telling[-1:] == _words(prop.name)[-1:]]
    likely.sort(key=lambda prop: len(spaced_words(prop.name).split()))
    texts, _ = await context.catalog.labels([prop.label_id for prop in likely[:_LABELS]], language)
    return texts


@dataclass(frozen=True)
class _Place:
    """A related entity, and how it is reached."""

    entity: DataEntity
    way: str
    column: str = ""  # that leads there

    def has(self, column: str) -> str:
        return f"{self.entity.entity_set} ({self.way}) has {column}."


async def _elsewhere(context: ToolContext, entity: DataEntity, name: str, own_score: int) -> str:
    """Say which related entity has what a name says better than the entity's own columns, and how it is reached."""
    wanted = _words(name)
    if own_score and len(wanted) < 2:  # a word like Name or Status is in many, and means the entity's own
        return ""
    known = await families(context)
    near = await _near(context, entity, wanted, known)
    if found := await _first_with(context, near, name, own_score):
        return found
    if found := _with_name(await _named_alike(context, entity, name), name):
        return found
    return await _first_with(context, await _further(context, entity, near, wanted, known), name, own_score)


async def _first_with(context: ToolContext, places: Sequence[_Place], name: str, own_score: int) -> str:
    """Say which of the places has a column of the name, else one that its label or the entity's noun makes the same."""
    if found := _with_name(places, name):
        return found
    wanted = set(_words(name))
    for place in places:
        is_said = _noun(place.entity.public_name) <= wanted
        scored = await _scored(context, place.entity, name, live=is_said)
        if scored and (_is_of(scored[0], own_score) if is_said else scored[0].is_all(wanted)):
            return place.has(str(scored[0]))
    return ""


def _is_of(column: _Column, own_score: int) -> bool:
    """Return whether a column of the entity that the name says is meant."""
    return column.score >= _EXACT - _BY_NEXT_BEST or column.score > max(own_score, _FAIR - 1)


def _with_name(places: Iterable[_Place], name: str) -> str:
    having = (place for place in places if name.casefold() in place.entity.names_by_folded)
    return next((place.has(place.entity.names_by_folded[name.casefold()]) for place in having), "")


async def _near(context: ToolContext, entity: DataEntity, wanted: list[str], known: Families) -> list[_Place]:
    """Return the entities that navigation leads to, then those a column names, what the wanted words name first."""
    most = _most(context)
    links = [link.name for link in entity.navigation_properties[:most]]
    columns = _columns_by_set(entity, known)
    related = await related_entities(context, entity, links)
    places = [_Place(other, f"expand {link}", columns.pop(other.entity_set, "")) for link, other in related.items()]
    first = sorted(columns, key=lambda each: not _noun(each) <= set(wanted))[:most]
    for other in await _known(context, first):
        column = columns[other.entity_set]
        places.append(_Place(other, f"linked by {column}, inferred", column))
    return places


def _most(context: ToolContext) -> int:
    return _ENTITIES_LIVE if context.catalog.note() else _ENTITIES


async def _known(context: ToolContext, entity_sets: Iterable[str]) -> list[DataEntity]:
    found = await asyncio.gather(*(entity_or_none(context, each) for each in entity_sets))
    return [each for each in found if each is not None]


def _columns_by_set(entity: DataEntity, known: Families) -> dict[str, str]:
    """Return by entity set the column that names a record of it: of two, the one people ask for first."""
    usual = default_columns(entity, {})
    columns = sorted(entity.properties.values(), key=lambda prop: (not prop.is_mandatory, prop.name not in usual))
    facts, inferred = named_by(entity, columns, known)
    found: dict[str, str] = {}
    for column, target in {**facts, **inferred}.items():
        found.setdefault(target.split(".")[0], column)
    return found


async def _further(
    context: ToolContext, entity: DataEntity, near: Iterable[_Place], wanted: list[str], known: Families
) -> list[_Place]:
    """Return the entities one step further that the wanted words name."""
    places = []
    for place in near:
        for entity_set, column in _columns_by_set(place.entity, known).items() if place.column else ():
            is_wanted = entity_set != entity.entity_set and _noun(entity_set) <= set(wanted)
            if is_wanted and (other := await entity_or_none(context, entity_set)):
                way = f"linked by {place.column} and {place.entity.entity_set}.{column}, inferred"
                places.append(_Place(other, way))
    return places


async def _named_alike(context: ToolContext, entity: DataEntity, name: str) -> list[_Place]:
    """Return entities that a search for the column's words finds, that have the column and share a key with this one."""
    try:
        hits = (await context.catalog.search_entities(spaced_words(name), limit=_most(context))).hits
    except D365McpError:  # not every user may read the list of entities
        return []
    places = []
    for other in await _known(context, (hit.summary.entity_set for hit in hits)):
        if other.entity_set == entity.entity_set or name.casefold() not in other.names_by_folded:
            continue
        if shared := tie(entity, other):
            places.append(_Place(other, f"linked by {' and '.join(shared)}, inferred"))
    return places

"""What a caller meant by a column that an entity has not: by name, label and meaning, and which related entity has it."""

from collections.abc import Iterable, Mapping, Sequence

from d365mcp.d365.filters.names import MOST_SUGGESTIONS, find_property, unknown_properties
from d365mcp.d365.models import COMPANY, DataEntity, EntityProperty
from d365mcp.d365.odata import check_expand, expanded_item, selected_of
from d365mcp.errors import D365McpError, InvalidArgument, UnknownName, close_names, or_list
from d365mcp.tools.columns import spaced_words
from d365mcp.tools.common import entity_or_none, expanded_names, related_entities
from d365mcp.tools.tool import ToolContext

_NAMED = 3
# From this score on a column is meant, however it is spelled.
_SURE = 50
# Of an unknown column, so many related entities are looked at; each is a call where there is no catalog.
_ENTITIES = 8
# Without a catalog each label is a call.
_LABELS = 12
# Words that people use one for another, under the one that F&O's names have.
_SAME = {
    "no": "number", "num": "number", "nr": "number", "id": "number", "code": "number", "acct": "account",
    "telephone": "phone", "tel": "phone", "mail": "email", "mails": "email", "client": "customer", "cust": "customer",
    "supplier": "vendor", "vend": "vendor", "town": "city", "sum": "amount", "value": "amount", "qty": "quantity",
    "cost": "price", "title": "name", "state": "status", "blocked": "hold", "country": "region", "zip": "postal",
    "article": "item", "product": "item", "desc": "description", "created": "creation", "sku": "item",
}  # fmt: skip


def _words(text: str) -> list[str]:
    """Return the words of a name or of a label, each as F&O's names have it."""
    found = text.casefold() if " " in text else spaced_words(text)
    return [_SAME.get(word, word) for word in found.split()]


async def chosen_columns(
    context: ToolContext, entity: DataEntity, names: Sequence[str]
) -> tuple[tuple[str, ...], list[str]]:
    """Return the columns of a select as F&O writes them, each once, and a note for each there is none of.

    Raises UnknownName, or InvalidArgument for several, where none is right.
    """
    found = {name.strip(): find_property(name.strip(), entity) for name in names}
    unknown = [name for name, prop in found.items() if prop is None]
    messages = [await message_for(context, entity, name) for name in unknown[:MOST_SUGGESTIONS]]
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
    error.message = " ".join(messages)
    error.args = (error.message,)
    return error


async def explain_unknown(context: ToolContext, entity: DataEntity, error: UnknownName) -> None:
    """Put better suggestions into an error about a column."""
    if error.kind == "property" and entity.entity_set in (error.hint or ""):  # not of a related entity
        error.message = await message_for(context, entity, error.name)
        error.args = (error.message,)


async def explain_all_unknown(
    context: ToolContext, entity: DataEntity, names: Iterable[str], error: InvalidArgument
) -> None:
    """Put better suggestions into an error about a body, for the names that the entity has not."""
    unknown = [name for name in names if not name.startswith("@odata.") and find_property(name, entity) is None]
    for name in unknown[:MOST_SUGGESTIONS]:
        plain = unknown_properties([name], entity).message
        error.message = error.message.replace(plain, await message_for(context, entity, name))
    error.args = (error.message,)


async def message_for(context: ToolContext, entity: DataEntity, name: str) -> str:
    """Say that there is no such column, what is like it, and where it is."""
    plain = unknown_properties([name], entity)
    if name == "*" or name.casefold() == COMPANY.casefold():
        return plain.message
    meant = await _meant(context, entity, name)
    places = [] if any(label for _, label in meant) else await _elsewhere(context, entity, name)
    base = UnknownName("property", name, ()).message
    texts = [f'{column} (label "{label}")' if label else column for column, label in meant]
    suggestion = f" Did you mean {or_list(texts)}?" if texts else ""
    return base + suggestion + (f" {or_list(places)} has it." if places else "")


async def _meant(context: ToolContext, entity: DataEntity, name: str) -> list[tuple[str, str]]:
    """Return the columns that come close, best first, with the label of those that their label alone tells of."""
    wanted = _words(name)
    own = set(_words(entity.public_name))
    telling = [word for word in wanted if word not in own] or wanted
    labels = await _labels(context, entity, telling)
    scored = []
    for prop in entity.properties.values():
        label = labels.get(prop.label_id, "")
        if score := _score(wanted, telling, own, prop, label):
            scored.append((-score, len(prop.name), prop.name, label))
    best = [(column, label if _says_more(column, label) else "") for _, _, column, label in sorted(scored)[:_NAMED]]
    if scored and min(scored)[0] <= -_SURE:
        return best
    known = {column for column, _ in best}
    close = [(column, "") for column in close_names(name, entity.properties) if column not in known]
    return [*close[:1], *best, *close[1:]][:_NAMED]


def _says_more(column: str, label: str) -> bool:
    return bool(label) and label.casefold().replace(" ", "") != column.casefold()


def _score(wanted: list[str], telling: list[str], own: set[str], prop: EntityProperty, label: str) -> int:
    """Return how well a property fits: by all words, by those that do not name the entity, by its label, by a part."""
    words = _words(prop.name)
    bare = [word for word in words if word not in own] or words
    called = _words(label)
    if wanted in (words, called):
        return 100
    if telling in (bare, called):
        return 95 if called == telling else 90
    if set(wanted) <= {*words, *called}:
        return max(75 - 5 * abs(len(words) - len(wanted)), 40)
    if set(telling) <= {*words, *called}:
        return max(60 - 5 * abs(len(words) - len(telling)), 20)
    return 0


async def _labels(context: ToolContext, entity: DataEntity, telling: list[str]) -> Mapping[str, str]:
    """Return labels as far as the catalog keeps them; else those of the columns that have the last word in their name."""
    ids = [prop.label_id for prop in entity.properties.values() if prop.label_id]
    language = context.settings.languages[0]
    if kept := await context.catalog.kept_labels(ids, (language,)):
        return kept
    likely = [prop for prop in entity.properties.values() if prop.label_id and telling[-1:] == _words(prop.name)[-1:]]
    likely.sort(key=lambda prop: len(spaced_words(prop.name).split()))
    texts, _ = await context.catalog.labels([prop.label_id for prop in likely[:_LABELS]], language)
    return texts


async def _elsewhere(context: ToolContext, entity: DataEntity, name: str) -> list[str]:
    """Return the entities that have the column and are linked to this one: by navigation, or by a key of one name."""
    found: dict[str, str] = {}
    links = [link.name for link in entity.navigation_properties[:_ENTITIES]]
    for link, other in (await related_entities(context, entity, links)).items():
        if name.casefold() in other.names_by_folded:
            found.setdefault(other.entity_set, f"{other.entity_set} (expand {link})")
    if not found:
        for other in await _named_alike(context, entity, name):
            shared = [prop.name for prop in other.key if prop.name != COMPANY]
            if shared and set(shared) <= entity.properties.keys():
                found[other.entity_set] = f"{other.entity_set} (linked by {' and '.join(shared)}, inferred)"
    return list(found.values())[:_NAMED]


async def _named_alike(context: ToolContext, entity: DataEntity, name: str) -> Iterable[DataEntity]:
    """Return entities that a search for the column's words finds, and that have the column."""
    try:
        hits = (await context.catalog.search_entities(spaced_words(name), limit=_ENTITIES)).hits
    except D365McpError:  # not every user may read the list of entities
        return ()
    others = [await entity_or_none(context, hit.summary.entity_set) for hit in hits]
    return [
        other
        for other in others
        if other and other.entity_set != entity.entity_set and name.casefold() in other.names_by_folded
    ]

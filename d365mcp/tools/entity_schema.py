"""Describes a data entity: its key, properties, enumerations, links and actions."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, cast

from pydantic import Field
from typing_extensions import TypedDict

from d365mcp.d365.bodies import NUMBERED_KEYS
from d365mcp.d365.filters.names import displayed
from d365mcp.d365.models import COMPANY, DataEntity, EntityProperty, Enumeration, NavigationProperty
from d365mcp.tools.columns import default_columns
from d365mcp.tools.common import squeezed
from d365mcp.tools.links import belonging, equality, families, header_columns, newer_version, validated_by
from d365mcp.tools.parameters import EntityName, Language
from d365mcp.tools.property_search import PropertiesFound, find_properties
from d365mcp.tools.results import chars
from d365mcp.tools.tool import ToolContext

# Members of larger enumerations are left to d365fo_get_enumeration_fields.
_SMALL_ENUMERATION = 12
_MAX_ENUMERATIONS = 20
# Labels are one call each without a catalog snapshot, and a line each in the answer.
_MAX_LABELS = 40
_ENVELOPE_CHARS = 6_000
# Of the properties that words find, of links and of names in a note, so many are given.
_MOST_FOUND = 15
_MOST_LINKS = 12
_MOST_NAMED = 3
# What F&O computes, by its name.
_SET_BY_FO = re.compile(
    r"^(Is)?Posted(DateTime|UserId)?$|^(Order|Journal|Invoice|Quotation)Total(\w*Amount)?$|^TotalAmount$"
    r"|^(Created|Modified)(By|Date)"
)


_Words = Annotated[str, Field(max_length=200)]


class SchemaResult(TypedDict, total=False):
    entity_set: str
    public_name: str
    aot_name: str
    label: str
    category: str
    read_only: bool
    company_specific: bool
    newer_version: str
    left_out: int
    notes: list[str]
    key: list[str]
    mandatory: list[str]
    create: dict[str, list[str]]
    properties: dict[str, Any]
    enumerations: dict[str, list[str]]
    member_labels: dict[str, dict[str, str]]
    labels: dict[str, str]
    validated_by: dict[str, str]
    validated_by_inferred: dict[str, str]
    navigation: dict[str, str]
    belongs_inferred: dict[str, str]
    actions: list[str]


async def get_entity_schema(
    context: ToolContext,
    entity_name: EntityName,
    columns: Annotated[
        list[_Words] | None, Field(description="Only properties of these names, or with these words", max_length=100)
    ] = None,
    detail: Literal["compact", "full"] = "compact",
    language: Language = None,
) -> SchemaResult:
    """Describe a data entity: key, properties by type, enumerations with labels, what a create needs, related entities,
    actions. Then query or change its records."""
    entity = await context.catalog.entity(entity_name)
    language = language or context.settings.languages[0]
    words = bool(columns)
    found = await find_properties(context, entity, columns or (), language)
    some = [*found.named, *found.with_words[:_MOST_FOUND]]
    chosen = some if words else list(entity.properties.values())
    known = await families(context)
    labels = await _labels_of(context, entity, chosen, language, many=words or detail == "full")
    notes = [context.catalog.note() or ""]
    result = _frame(entity, labels.get(entity.label_id, "")) if not words else _short_frame(entity)
    if newer := newer_version(entity, known):
        result["newer_version"] = newer
    if not entity.is_read_only:
        headers = await header_columns(context, entity, known)
        result["create"] = _create(entity, chosen, headers, whole=not words)
    _add_properties(context, result, chosen, labels, full=detail == "full")
    await _add_enumerations(context, result, entity, chosen, language, notes, many=words)
    facts, inferred = await validated_by(context, entity, _asked_first(entity, chosen), known)
    result["validated_by"], result["validated_by_inferred"] = _first(facts), _first(inferred)
    if not words:
        _add_links(result, entity)
        result["belongs_inferred"] = await belonging(context, entity, known)
    result["notes"] = [note for note in (*notes, *_notes_on(found)) if note]
    return _without_nothing(result)


def _notes_on(found: PropertiesFound) -> Iterable[str]:
    """Yield what a caller should know of a search for properties."""
    if found.unknown:
        words = " or ".join(displayed(word) for word in found.unknown[:_MOST_LINKS])
        yield f"no property has {words} in its name or label: leave columns out to see all"
    if found.unread:
        yield f"{found.unread} labels were not looked at: try words of the English names"
    if (more := len(found.with_words) - _MOST_FOUND) > 0:
        yield f"{more} more properties were found: use more words to see them"


def _without_nothing(result: SchemaResult) -> SchemaResult:
    """Return a result without the members that are empty, but for the properties."""
    kept = {name: value for name, value in result.items() if name == "properties" or value not in ({}, [], "")}
    return cast(SchemaResult, kept)


def _asked_first(entity: DataEntity, chosen: Sequence[EntityProperty]) -> list[EntityProperty]:
    """Return the properties in the order in which people ask for them: key and mandatory ones, then the usual columns."""
    usual = set(default_columns(entity, {}))
    return sorted(chosen, key=lambda prop: (not prop.is_mandatory, prop.name not in usual))


def _first(links: Mapping[str, str]) -> dict[str, str]:
    return dict(list(links.items())[:_MOST_LINKS])


def _short_frame(entity: DataEntity) -> SchemaResult:
    """Return what a caller who asks for some columns needs beside them."""
    result = SchemaResult(entity_set=entity.entity_set, key=[prop.name for prop in entity.key])
    if entity.is_read_only:
        result["read_only"] = True
    return result


def _create(
    entity: DataEntity, chosen: Iterable[EntityProperty], headers: Iterable[str], *, whole: bool
) -> dict[str, list[str]]:
    """Return what a create must have, what F&O numbers, and what it alone sets; what names let infer says so."""
    numbered = [prop.name for prop in entity.key if _is_numbered(prop, entity)]
    needs = [
        prop.name
        for prop in entity.properties.values()
        if (prop.is_key or prop.is_mandatory) and prop.allow_edit_on_create and prop.name not in (COMPANY, *numbered)
    ]
    fixed = [prop.name for prop in chosen if not (prop.allow_edit or prop.allow_edit_on_create)]
    likely = [prop.name for prop in chosen if prop.name not in (*fixed, *needs) and _SET_BY_FO.search(prop.name)]
    refers = [name for name in headers if name not in (COMPANY, *needs, *numbered, *fixed)]
    found = {
        "needs": needs,
        "needs_inferred": refers,
        "numbered_inferred": numbered,
        "only_fo_sets": fixed[:_MOST_FOUND],
    }
    if whole:
        found["only_fo_sets_inferred"] = likely[:_MOST_LINKS]
    return {name: names for name, names in found.items() if names}


def _is_numbered(prop: EntityProperty, entity: DataEntity) -> bool:
    """Return whether F&O gives a part of the key: a record id, or a number that creates have been seen without."""
    is_own = prop.name in (entity.key[-1].name, "LineNumber")
    own_ids = {f"{owner}{name}" for owner in ("", entity.public_name) for name in ("RecId", "RecordId")}
    return not prop.allow_edit_on_create or prop.name in own_ids or (is_own and prop.name in NUMBERED_KEYS)


def _add_properties(
    context: ToolContext,
    result: SchemaResult,
    chosen: Sequence[EntityProperty],
    labels: Mapping[str, str],
    *,
    full: bool,
) -> None:
    if full:
        rows = [_full_property(prop, labels) for prop in chosen]
        kept = _fitting(rows, max(context.result_chars - _ENVELOPE_CHARS, context.result_chars // 4))
        result["properties"] = {str(row.pop("name")): row for row in kept}
        if len(kept) < len(rows):
            result["left_out"] = len(rows) - len(kept)
        return
    result["properties"] = _by_type(chosen)
    texts = {prop.name: labels[prop.label_id] for prop in chosen if prop.label_id in labels}
    # A label that was made from the name says nothing more.
    result["labels"] = {name: text for name, text in texts.items() if squeezed(text) != squeezed(name)}


async def _add_enumerations(
    context: ToolContext,
    result: SchemaResult,
    entity: DataEntity,
    chosen: Sequence[EntityProperty],
    language: str,
    notes: list[str],
    *,
    many: bool,
) -> None:
    """Add the members of the enumerations used, their labels where these say more, and a note on those left out."""
    enumerations = await context.catalog.enumerations_of(entity, [prop.name for prop in chosen])
    listed = _small(enumerations, chosen)
    result["enumerations"] = {name: [member.name for member in each.members] for name, each in listed}
    ids = [member.label_id for _, each in listed for member in each.members if member.label_id]
    texts: Mapping[str, str] = await context.catalog.kept_labels(ids, (language,))
    if many and not texts:  # each is a call
        texts, _ = await context.catalog.labels(ids[:_MAX_LABELS], language)
    result["member_labels"] = {name: found for name, each in listed if (found := _telling_labels(each, texts))}
    long = [name for name in enumerations if name not in result["enumerations"]]
    if long:
        names = ", ".join(f"{name} ({len(enumerations[name].members)})" for name in long[:_MOST_NAMED])
        more = f" and {len(long) - _MOST_NAMED} more" if len(long) > _MOST_NAMED else ""
        notes.append(f"members left out of {names}{more}: d365fo_get_enumeration_fields lists them")


def _telling_labels(enumeration: Enumeration, texts: Mapping[str, str]) -> dict[str, str]:
    return {
        member.name: text
        for member in enumeration.members
        if (text := texts.get(member.label_id)) and squeezed(text) != squeezed(member.name)
    }


def _frame(entity: DataEntity, label: str) -> SchemaResult:
    result = SchemaResult(entity_set=entity.entity_set, public_name=entity.public_name)
    if entity.aot_name:
        result["aot_name"] = entity.aot_name
    if label:
        result["label"] = label
    if entity.category:
        result["category"] = entity.category
    result["read_only"] = entity.is_read_only
    result["company_specific"] = entity.has_company
    result["key"] = [prop.name for prop in entity.key]
    if mandatory := [prop.name for prop in entity.properties.values() if prop.is_mandatory and not prop.is_key]:
        result["mandatory"] = mandatory
    return result


def _add_links(result: SchemaResult, entity: DataEntity) -> None:
    if entity.navigation_properties:
        result["navigation"] = {
            each.name: f"{each.related_entity}{' (many)' if each.cardinality == 'Multiple' else ''}{_by(each)}"
            for each in entity.navigation_properties
        }
    if entity.actions:
        result["actions"] = [
            f"{each.name}({', '.join(parameter.name for parameter in each.parameters)}) {each.binding}"
            for each in entity.actions
        ]


def _by(link: NavigationProperty) -> str:
    """Return how the records of a link are found, where the names of the columns do not say it."""
    columns = [equality(here, there) for here, there in link.constraints if here != there]
    return f" by {' and '.join(columns)}" if columns else ""


def _by_type(properties: Iterable[EntityProperty]) -> dict[str, str]:
    """Return the names grouped by type: the type is said once, not 300 times."""
    groups: dict[str, list[str]] = {}
    for prop in properties:
        groups.setdefault(_type_of(prop), []).append(prop.name)
    return {kind: " ".join(names) for kind, names in groups.items()}


def _type_of(prop: EntityProperty) -> str:
    """Return the type as a reader needs it: a Date apart from a UtcDateTime, an enumeration by its name."""
    if prop.enumeration:
        return prop.enumeration
    if prop.type_name == "Edm.DateTimeOffset":
        return prop.data_type
    return prop.type_name.removeprefix("Edm.")


def _full_property(prop: EntityProperty, labels: Mapping[str, str]) -> dict[str, Any]:
    row: dict[str, Any] = {"name": prop.name, "type": _type_of(prop)}
    if text := labels.get(prop.label_id):
        row["label"] = text
    flags = {"key": prop.is_key, "mandatory": prop.is_mandatory}
    row |= {name: True for name, value in flags.items() if value}
    allowed = {"allow_edit": prop.allow_edit, "allow_edit_on_create": prop.allow_edit_on_create}
    return row | {name: False for name, value in allowed.items() if not value}


def _fitting(rows: list[dict[str, Any]], budget: int) -> list[dict[str, Any]]:
    kept = []
    for row in rows:
        budget -= chars(row) + 1
        if budget < 0:
            break
        kept.append(row)
    return kept


def _small(enumerations: Mapping[str, Enumeration], chosen: Iterable[EntityProperty]) -> list[tuple[str, Enumeration]]:
    """Return the small enumerations of the chosen properties, those used most first."""
    uses: dict[str, int] = {}
    for prop in chosen:
        if prop.enumeration and prop.enumeration in enumerations:
            uses[prop.enumeration] = uses.get(prop.enumeration, 0) + 1
    ordered = sorted(uses, key=lambda name: -uses[name])
    found = [(name, enumerations[name]) for name in ordered if len(enumerations[name].members) <= _SMALL_ENUMERATION]
    return found[:_MAX_ENUMERATIONS]


async def _labels_of(
    context: ToolContext, entity: DataEntity, chosen: list[EntityProperty], language: str, *, many: bool
) -> Mapping[str, str]:
    """Return label texts: the entity's, and the properties' where they are few."""
    wanted = [entity.label_id]
    if many or len(chosen) <= _MAX_LABELS:
        wanted += [prop.label_id for prop in chosen[: _MAX_LABELS * 3]]
    texts, _ = await context.catalog.labels([each for each in wanted if each], language)
    return texts

"""Describes a data entity: its key, properties, enumerations, links and actions."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field
from typing_extensions import TypedDict

from d365mcp.d365.models import DataEntity, EntityProperty, Enumeration
from d365mcp.tools.columns import words_match
from d365mcp.tools.parameters import EntityName, Language
from d365mcp.tools.results import chars
from d365mcp.tools.tool import ToolContext

# Members of larger enumerations are left to d365fo_get_enumeration_fields.
_SMALL_ENUMERATION = 12
_MAX_ENUMERATIONS = 20
# Labels are one call each without a catalog snapshot, and a line each in the answer.
_MAX_LABELS = 40
_ENVELOPE_CHARS = 3_000


class SchemaResult(TypedDict, total=False):
    entity_set: str
    public_name: str
    aot_name: str
    label: str
    category: str
    read_only: bool
    company_specific: bool
    left_out: int
    notes: list[str]
    key: list[str]
    mandatory: list[str]
    properties: dict[str, Any]
    enumerations: dict[str, list[str]]
    labels: dict[str, str]
    navigation: dict[str, str]
    actions: list[str]


async def get_entity_schema(
    context: ToolContext,
    entity_name: EntityName,
    columns: Annotated[
        str | None, Field(description="Only properties with these words in name or label", max_length=200)
    ] = None,
    detail: Literal["compact", "full"] = "compact",
    language: Language = None,
) -> SchemaResult:
    """Describe a data entity: key, mandatory properties, types, enumerations, navigation, actions.
    Then query or change its records."""
    entity = await context.catalog.entity(entity_name)
    language = language or context.settings.languages[0]
    words = (columns or "").casefold().split()
    chosen = await _properties_with(context, entity, words, language)
    enumerations = await context.catalog.enumerations_of(entity, [prop.name for prop in chosen])
    labels = await _labels_of(context, entity, chosen, language, many=bool(words) or detail == "full")
    result = _frame(entity, labels.get(entity.label_id, ""))
    if detail == "full":
        budget = context.result_chars - _ENVELOPE_CHARS
        rows = [_full_property(prop, labels) for prop in chosen]
        kept = _fitting(rows, budget)
        result["properties"] = {str(row.pop("name")): row for row in kept}
        if len(kept) < len(rows):
            result["left_out"] = len(rows) - len(kept)
    else:
        result["properties"] = _by_type(chosen)
        texts = {prop.name: labels[prop.label_id] for prop in chosen if prop.label_id in labels}
        if telling := {name: text for name, text in texts.items() if _squeezed(text) != _squeezed(name)}:
            result["labels"] = telling
    members = {name: [member.name for member in each.members] for name, each in _small(enumerations, chosen)}
    if members:
        result["enumerations"] = members
    if not words:
        _add_links(result, entity)
    notes = [context.catalog.note() or ""]
    if words and not chosen:
        notes.append("no property has these words in its name or label: leave columns out to see all")
    if any(notes):
        result["notes"] = [note for note in notes if note]
    return result


async def _properties_with(
    context: ToolContext, entity: DataEntity, words: list[str], language: str
) -> list[EntityProperty]:
    """Return the properties with one of the words in their name or label; without words, all."""
    every = list(entity.properties.values())
    ids = dict.fromkeys(prop.label_id for prop in every if prop.label_id)

    def fitting(labels: Mapping[str, str]) -> list[EntityProperty]:
        return [prop for prop in every if words_match(prop.name, labels.get(prop.label_id, ""), words)]

    if not words:
        return every
    known = await context.catalog.kept_labels(ids, (language, *context.settings.languages))
    found, missing = fitting(known), [each for each in ids if each not in known]
    if found or not missing:
        return found
    # Each of these is a call.
    labels, _ = await context.catalog.labels(missing[: _MAX_LABELS * 3], language)
    return fitting(known | labels)


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
            each.name: f"{each.related_entity}{' (many)' if each.cardinality == 'Multiple' else ''}"
            for each in entity.navigation_properties
        }
    if entity.actions:
        result["actions"] = [
            f"{each.name}({', '.join(parameter.name for parameter in each.parameters)}) {each.binding}"
            for each in entity.actions
        ]


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


def _squeezed(text: str) -> str:
    return "".join(sign for sign in text.casefold() if sign.isalnum())

"""Finds data entities and describes their schema."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field
from typing_extensions import TypedDict

from d365mcp.d365.models import DataEntity, EntityProperty, Enumeration
from d365mcp.tools.columns import words_match
from d365mcp.tools.enumerations import OTHER_WORDS
from d365mcp.tools.parameters import EntityName, Language
from d365mcp.tools.results import chars
from d365mcp.tools.tool import ToolContext

if TYPE_CHECKING:
    from d365mcp.metadata.catalog import EntitiesFound
    from d365mcp.metadata.search.entities import Hit

Category = Literal["Master", "Configuration", "Transaction", "Reference", "Document", "Parameters"]

# Members of larger enumerations are left to d365fo_get_enumeration_fields.
SMALL_ENUMERATION = 12
MAX_ENUMERATIONS = 20
# Labels are one call each without a catalog snapshot, and a line each in the answer.
MAX_LABELS = 40
ENVELOPE_CHARS = 3_000


class SearchEntitiesResult(TypedDict, total=False):
    more: int
    notes: list[str]
    entities: list[dict[str, Any]]


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


async def search_entities(
    context: ToolContext,
    query: Annotated[str, Field(description="e.g. customer payment terms", max_length=300)],
    category: Category | None = None,
    read_only: bool | None = None,
    include_non_public: bool = False,
    limit: Annotated[int, Field(ge=1, le=100)] = 10,
) -> SearchEntitiesResult:
    """Start here: find the data entity of Dynamics 365 Finance and Operations (ERP) for business words: customer, vendor,
    sales or purchase order, invoice, payment, ledger, journal, bank, inventory, product, project, employee. Then get its
    schema and query it."""
    found = await context.catalog.search_entities(
        query, category=category, read_only=read_only, public_only=not include_non_public, limit=limit
    )
    result = SearchEntitiesResult()
    if found.more:
        result["more"] = found.more
    if notes := [note for note in (context.catalog.note(), *_search_notes(found)) if note]:
        result["notes"] = notes
    result["entities"] = [described_hit(hit) for hit in found.hits]
    return result


def _search_notes(found: "EntitiesFound") -> Iterator[str]:
    """Yield what a caller should know of what was found, and what was not."""
    if found.not_served is not None:
        label = f" ({found.not_served.label})" if found.not_served.label else ""
        name = found.not_served.summary.aot_name
        yield f"{name}{label} fits better, but OData does not serve it: it is for data management only"
    if not found.hits:
        yield f"nothing fits among {found.searched} entities: {OTHER_WORDS}"
    elif not any(hit.is_named for hit in found.hits):
        yield "nothing is named like this: only columns of these have the words"


def described_hit(hit: "Hit") -> dict[str, Any]:
    """Return a hit without what says nothing."""
    row = hit.summary
    described = {
        "entity_set": row.entity_set,
        "aot_name": None if row.entity_set else row.aot_name,
        "label": hit.label if squeezed(hit.label) != squeezed(row.entity_set) else None,
        "category": row.category,
        "key": list(hit.key),
        "columns": " ".join(hit.columns),
        "other_versions": " ".join(hit.other_versions),
        "read_only": row.is_read_only or None,
    }
    public = {} if row.data_service_enabled else {"public": False}
    return {name: value for name, value in described.items() if value} | public


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
    chosen = await properties_with(context, entity, words, language)
    enumerations = await context.catalog.enumerations_of(entity, [prop.name for prop in chosen])
    labels = await labels_of(context, entity, chosen, language, many=bool(words) or detail == "full")
    result = frame(entity, labels.get(entity.label_id, ""))
    if detail == "full":
        budget = context.result_chars - ENVELOPE_CHARS
        rows = [full_property(prop, labels) for prop in chosen]
        kept = within(rows, budget)
        result["properties"] = {str(row.pop("name")): row for row in kept}
        if len(kept) < len(rows):
            result["left_out"] = len(rows) - len(kept)
    else:
        result["properties"] = by_type(chosen)
        texts = {prop.name: labels[prop.label_id] for prop in chosen if prop.label_id in labels}
        if telling := {name: text for name, text in texts.items() if squeezed(text) != squeezed(name)}:
            result["labels"] = telling
    members = {name: [member.name for member in each.members] for name, each in small(enumerations, chosen)}
    if members:
        result["enumerations"] = members
    if not words:
        add_links(result, entity)
    notes = [context.catalog.note() or ""]
    if words and not chosen:
        notes.append("no property has these words in its name or label: leave columns out to see all")
    if any(notes):
        result["notes"] = [note for note in notes if note]
    return result


async def properties_with(
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
    labels, _ = await context.catalog.labels(missing[: MAX_LABELS * 3], language)
    return fitting(known | labels)


def frame(entity: DataEntity, label: str) -> SchemaResult:
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


def add_links(result: SchemaResult, entity: DataEntity) -> None:
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


def by_type(properties: Iterable[EntityProperty]) -> dict[str, str]:
    """Return the names grouped by type: the type is said once, not 300 times."""
    groups: dict[str, list[str]] = {}
    for prop in properties:
        groups.setdefault(kind_of(prop), []).append(prop.name)
    return {kind: " ".join(names) for kind, names in groups.items()}


def kind_of(prop: EntityProperty) -> str:
    """Return the type as a reader needs it: a Date apart from a UtcDateTime, an enumeration by its name."""
    if prop.enumeration:
        return prop.enumeration
    if prop.type_name == "Edm.DateTimeOffset":
        return prop.data_type
    return prop.type_name.removeprefix("Edm.")


def full_property(prop: EntityProperty, labels: Mapping[str, str]) -> dict[str, Any]:
    row: dict[str, Any] = {"name": prop.name, "type": kind_of(prop)}
    if text := labels.get(prop.label_id):
        row["label"] = text
    flags = {"key": prop.is_key, "mandatory": prop.is_mandatory}
    row |= {name: True for name, value in flags.items() if value}
    allowed = {"allow_edit": prop.allow_edit, "allow_edit_on_create": prop.allow_edit_on_create}
    return row | {name: False for name, value in allowed.items() if not value}


def within(rows: list[dict[str, Any]], budget: int) -> list[dict[str, Any]]:
    kept = []
    for row in rows:
        budget -= chars(row) + 1
        if budget < 0:
            break
        kept.append(row)
    return kept


def small(enumerations: Mapping[str, Enumeration], chosen: Iterable[EntityProperty]) -> list[tuple[str, Enumeration]]:
    """Return the small enumerations of the chosen properties, those used most first."""
    uses: dict[str, int] = {}
    for prop in chosen:
        if prop.enumeration and prop.enumeration in enumerations:
            uses[prop.enumeration] = uses.get(prop.enumeration, 0) + 1
    ordered = sorted(uses, key=lambda name: -uses[name])
    found = [(name, enumerations[name]) for name in ordered if len(enumerations[name].members) <= SMALL_ENUMERATION]
    return found[:MAX_ENUMERATIONS]


async def labels_of(
    context: ToolContext, entity: DataEntity, chosen: list[EntityProperty], language: str, *, many: bool
) -> Mapping[str, str]:
    """Return label texts: the entity's, and the properties' where they are few."""
    wanted = [entity.label_id]
    if many or len(chosen) <= MAX_LABELS:
        wanted += [prop.label_id for prop in chosen[: MAX_LABELS * 3]]
    texts, _ = await context.catalog.labels([each for each in wanted if each], language)
    return texts


def squeezed(text: str) -> str:
    return "".join(sign for sign in text.casefold() if sign.isalnum())

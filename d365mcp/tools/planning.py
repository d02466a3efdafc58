"""What a query asks for, and how F&O is asked for it: checked, translated and scoped before anything is sent."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from d365mcp.d365.companies import CompanyScope, scope_read
from d365mcp.d365.filters.check import WILDCARD_ADVICE
from d365mcp.d365.filters.parse import parse_filter
from d365mcp.d365.filters.translate import Translation, and_filters, translate_filter
from d365mcp.d365.models import COMPANY, DataEntity
from d365mcp.d365.odata import check_expand, check_order_by, check_select
from d365mcp.d365.paging import Query
from d365mcp.errors import D365McpError
from d365mcp.tools.columns import default_columns
from d365mcp.tools.policy import bound_of
from d365mcp.tools.tool import ToolContext

AS_PATTERN = "no record was found with the * itself, so it was read as F&O's pattern: * stands for any characters"
NULLS_HERE = "F&O does not compare an enumeration with null: that part was checked here"


@dataclass(frozen=True)
class Asked:
    """What a query asks for: kept in its cursor, and translated again when it goes on."""

    select: list[str] | None = None
    filter: str | None = None
    order_by: list[str] | None = None
    top: int | None = None
    count: bool = False
    expand: list[str] | None = None
    company: str | None = None
    cross_company: bool = False
    include_etag: bool = False
    # What was learned while it was read.
    as_pattern: bool = False
    nulls_here: bool = False
    unordered: bool = False

    def state(self) -> dict[str, Any]:
        """Return what differs from the defaults, as JSON values."""
        return {name: value for name, value in vars(self).items() if value}


@dataclass(frozen=True)
class Plan:
    """A query in F&O's dialect, what of each record is shown, and what the caller should know."""

    query: Query
    scope: CompanyScope
    shown: tuple[str, ...]
    countable: bool
    notes: tuple[str, ...]
    translation: Translation | None = None
    related: Mapping[str, DataEntity] = field(default_factory=dict)  # entities of what is expanded
    named: tuple[str, ...] = ()  # companies asked for by name
    selection: str = ""  # says which properties are shown where none were named


async def planned(context: ToolContext, entity: DataEntity, asked: Asked) -> Plan:
    """Check and translate a query. Raises InvalidArgument or NotAllowed before anything is sent."""
    translation = await translated(context, entity, asked.filter, nulls_here=asked.nulls_here) if asked.filter else None
    expand = check_expand(asked.expand or (), entity)
    select = check_select(asked.select or (), entity) if asked.select else default_columns(entity)
    scope = await scoped(context, entity, asked, translation, expand)
    filters = translation.filters if translation else ("",)
    is_superset = translation is not None and translation.needs_exact_check and not asked.as_pattern
    query = Query(
        entity=entity,
        filters=tuple(and_filters(scope.filter, part) for part in filters),
        select=select,
        order_by=check_order_by(asked.order_by or (), entity),
        expand=expand,
        cross_company=scope.cross_company,
        exact=translation.expression if translation and is_superset else None,
        bound=bound_of(context),
        unordered=asked.unordered,
    )
    countable = len(filters) == 1 and not is_superset
    selection = f"{len(select)} of {len(entity.properties)} properties shown: name others in select"
    notes = list(plan_notes(asked, translation, scope))
    if asked.count and not countable:
        notes.append("count left out: F&O cannot count this filter exactly")
    return Plan(
        query,
        scope,
        shown_columns(entity, asked, select, expand, scope),
        countable,
        tuple(notes),
        translation,
        await related_entities(context, entity, expanded_names(expand)),
        named_companies(entity, asked, translation),
        selection if select and not asked.select else "",
    )


def shown_columns(
    entity: DataEntity, asked: Asked, select: Sequence[str], expand: Sequence[str], scope: CompanyScope
) -> tuple[str, ...]:
    """Return the columns shown, none meaning all; records that may be of several companies say which."""
    if not select:
        return ()
    mixed = entity.has_company and (asked.cross_company or (scope.cross_company and not scope.company))
    company = [COMPANY] if mixed and COMPANY not in select else []
    return (*company, *select, *expanded_names(expand))


def plan_notes(asked: Asked, translation: Translation | None, scope: CompanyScope) -> Iterable[str]:
    for note in translation.notes if translation else ():
        yield AS_PATTERN if asked.as_pattern and note == WILDCARD_ADVICE else note
    if asked.nulls_here:
        yield NULLS_HERE
    yield from scope.notes


def named_companies(entity: DataEntity, asked: Asked, translation: Translation | None) -> tuple[str, ...]:
    if not entity.has_company:
        return ()
    return (asked.company,) if asked.company else tuple(sorted((translation and translation.companies) or ()))


async def translated(context: ToolContext, entity: DataEntity, filter: str, *, nulls_here: bool = False) -> Translation:
    """Translate a filter, with the enumerations and the related entities it compares at hand."""
    expression = parse_filter(filter)
    known = await with_enumerations(context, entity, expression.columns())
    known = await with_related(context, known, [path for path in expression.columns() if "/" in path])
    return translate_filter(expression, known, nulls_here=nulls_here)


async def with_related(context: ToolContext, entity: DataEntity, paths: Sequence[str]) -> DataEntity:
    """Return the entity with those that paths lead to, and with the enumerations at their ends."""
    links = {link.name.casefold(): link.name for link in entity.navigation_properties}
    ends: dict[str, list[str]] = {}
    for link, _, end in (path.partition("/") for path in paths):
        ends.setdefault(links.get(link.casefold(), ""), []).append(end)
    related = await related_entities(context, entity, [name for name in ends if name])
    enumerations = dict(entity.enumerations)
    for name, other in related.items():
        enumerations |= (await with_enumerations(context, other, ends[name])).enumerations
    return replace(entity, related=related, enumerations=enumerations) if related else entity


async def with_enumerations(context: ToolContext, entity: DataEntity, names: Iterable[str]) -> DataEntity:
    """Return the entity with the enumerations these properties use: their members are checked before anything is sent."""
    proper = [entity.names_by_folded.get(name.casefold(), "") for name in names]
    known = await context.catalog.enumerations_of(entity, proper)
    return replace(entity, enumerations={**entity.enumerations, **known}) if known else entity


async def related_entities(context: ToolContext, entity: DataEntity, names: Iterable[str]) -> dict[str, DataEntity]:
    """Return the entities that navigation properties lead to by their names, as far as they are known."""
    links = {link.name: link.related_entity for link in entity.navigation_properties}
    found = {}
    for name in names:
        with suppress(D365McpError):  # what F&O does not tell of them is taken as it is written
            found[name] = await context.catalog.public_entity(links[name])
    return found


def expanded_names(expand: Sequence[str]) -> tuple[str, ...]:
    """Return the navigation properties of expanded items such as `Lines($select=ItemNumber)`."""
    return tuple(item.split("(")[0] for item in expand)


async def scoped(
    context: ToolContext, entity: DataEntity, asked: Asked, translation: Translation | None, expand: Sequence[str]
) -> CompanyScope:
    """Return the companies a query reaches; where there is a bound, the default one by its name."""
    bound = bound_of(context)
    scope = scope_read(
        entity,
        bound,
        company=asked.company,
        cross_company=asked.cross_company,
        translation=translation,
        expand=expand,
    )
    if bound.allowed and scope.is_default:
        return scope.named(bound, (await context.d365.session()).company)
    return scope

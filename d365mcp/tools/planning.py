"""What a query asks for, and how F&O is asked for it: checked, translated and scoped before anything is sent."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from d365mcp.d365.companies import CompanyScope, scope_read
from d365mcp.d365.filters.check import WILDCARD_ADVICE
from d365mcp.d365.filters.parse import parse_filter
from d365mcp.d365.filters.translate import Translation, and_filters, translate_filter
from d365mcp.d365.models import COMPANY, DataEntity
from d365mcp.d365.odata import check_order_by
from d365mcp.d365.paging import Query
from d365mcp.errors import UnknownName
from d365mcp.tools.columns import default_columns, has_well_known, is_narrow
from d365mcp.tools.common import expanded_names, related_entities, with_enumerations
from d365mcp.tools.policy import bound_of
from d365mcp.tools.suggestions import chosen_columns, chosen_expand, explain_unknown
from d365mcp.tools.tool import ToolContext

_AS_PATTERN = "no record was found with the * itself, so it was read as F&O's pattern: * stands for any characters"
_NULLS_HERE = "F&O does not compare an enumeration with null: that part was checked here"


_FUNCTION = re.compile(r"(?:not )?(\w+)\(")
# What a rewriting is about, by the literal that it ends in.
_REWRITTEN = {
    "member": re.compile(r"\b\w+'\w*'"),
    "date": re.compile(r"\d{4}-\d\d-\d\dT"),
    "null": re.compile(r" (eq|ne) ''"),
}


@dataclass(frozen=True)
class QueryArguments:
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
class QueryPlan:
    """A query in F&O's dialect, the columns of its records, and what the caller should know."""

    query: Query
    scope: CompanyScope
    columns: tuple[str, ...]  # none means all
    countable: bool
    notes: tuple[str, ...]
    translation: Translation | None = None
    related: Mapping[str, DataEntity] = field(default_factory=dict)  # entities of what is expanded
    named: tuple[str, ...] = ()  # companies asked for by name
    undated: Mapping[str, str] = field(default_factory=dict)  # notes on dates that may be missing, by property
    is_default: bool = False  # no columns were named


async def planned(context: ToolContext, entity: DataEntity, asked: QueryArguments) -> QueryPlan:
    """Check and translate a query. Raises InvalidArgument or NotAllowed before anything is sent."""
    try:
        return await _planned(context, entity, asked)
    except UnknownName as error:
        await explain_unknown(context, entity, error)
        raise


async def _planned(context: ToolContext, entity: DataEntity, asked: QueryArguments) -> QueryPlan:
    translation = (
        await _translated(context, entity, asked.filter, nulls_here=asked.nulls_here) if asked.filter else None
    )
    expand, related, left_out_within = await chosen_expand(context, entity, asked.expand or ())
    select, left_out = await _selected(context, entity, asked.select)
    undated = {name: note for name, note in _undated(translation) if name in entity.properties}
    scope = await _scoped(context, entity, asked, translation, expand)
    filters = translation.filters if translation else ("",)
    is_superset = translation is not None and translation.needs_exact_check and not asked.as_pattern
    query = Query(
        entity=entity,
        filters=tuple(and_filters(scope.filter, part) for part in filters),
        # Whether a date is missing is seen in the record.
        select=tuple(dict.fromkeys([*select, *undated])) if select else (),
        order_by=check_order_by(asked.order_by or (), entity),
        expand=expand,
        cross_company=scope.cross_company,
        exact=translation.expression if translation and is_superset else None,
        bound=bound_of(context),
        unordered=asked.unordered,
    )
    countable = len(filters) == 1 and not is_superset
    notes = [*left_out, *left_out_within, *_plan_notes(asked, translation, scope)]
    notes = [note for note in notes if note not in undated.values()]
    if asked.count and not countable:
        notes.append("count left out: F&O cannot count this filter exactly")
    return QueryPlan(
        query,
        scope,
        _visible_columns(entity, asked, select, expand, scope),
        countable,
        tuple(notes),
        translation,
        related,
        _named_companies(entity, asked, translation),
        undated,
        not asked.select,
    )


async def _selected(
    context: ToolContext, entity: DataEntity, wanted: Sequence[str] | None
) -> tuple[tuple[str, ...], list[str]]:
    """Return the columns to ask for, none meaning all, and notes on those there are none of."""
    if wanted:
        return await chosen_columns(context, entity, wanted)
    if has_well_known(entity) or is_narrow(entity):
        return default_columns(entity, {}), []
    ids = [prop.label_id for prop in entity.properties.values() if prop.label_id]
    return default_columns(entity, await context.catalog.kept_labels(ids, context.settings.languages[:1])), []


def _visible_columns(
    entity: DataEntity, asked: QueryArguments, select: Sequence[str], expand: Sequence[str], scope: CompanyScope
) -> tuple[str, ...]:
    """Return the columns of a record, none meaning all; records that may be of several companies say which."""
    if not select:
        return ()
    mixed = entity.has_company and (asked.cross_company or (scope.cross_company and not scope.company))
    company = [COMPANY] if mixed and COMPANY not in select else []
    return (*company, *select, *expanded_names(expand))


def _undated(translation: Translation | None) -> Iterable[tuple[str, str]]:
    """Yield the dates that records may lack although they meet the filter, with the note that says so."""
    if translation:
        for name in translation.undated:
            yield from ((name, note) for note in translation.notes if note.startswith(f"{name}: no date"))


def _plan_notes(asked: QueryArguments, translation: Translation | None, scope: CompanyScope) -> Iterable[str]:
    for note in _each_kind_once(translation.notes if translation else ()):
        yield _AS_PATTERN if asked.as_pattern and note == WILDCARD_ADVICE else note
    if asked.nulls_here:
        yield _NULLS_HERE
    yield from scope.notes


def _each_kind_once(notes: Sequence[str]) -> Iterable[str]:
    """Yield one rewriting of each kind, whatever the literals and operators; and all other notes."""
    seen: Counter[str] = Counter()
    firsts: dict[str, str] = {}
    for note in notes:
        kind = _kind(note) if " → " in note else note
        firsts.setdefault(kind, note)
        seen[kind] += 1
    for kind, note in firsts.items():
        yield f"{note} (and {seen[kind] - 1} more like it)" if seen[kind] > 1 else note


def _kind(change: str) -> str:
    """Return what kind of rewriting a change is: of a function, of an enumeration's member, of a date, or of else."""
    before, _, after = change.partition(" → ")
    if function := _FUNCTION.match(before):
        return function[1]
    return next((name for name, pattern in _REWRITTEN.items() if pattern.search(after)), change)


def _named_companies(entity: DataEntity, asked: QueryArguments, translation: Translation | None) -> tuple[str, ...]:
    if not entity.has_company:
        return ()
    return (asked.company,) if asked.company else tuple(sorted((translation and translation.companies) or ()))


async def _translated(
    context: ToolContext, entity: DataEntity, filter: str, *, nulls_here: bool = False
) -> Translation:
    """Translate a filter, with the enumerations and the related entities it compares at hand."""
    expression = parse_filter(filter)
    known = await with_enumerations(context, entity, expression.columns())
    known = await _with_related(context, known, [path for path in expression.columns() if "/" in path])
    return translate_filter(expression, known, nulls_here=nulls_here)


async def _with_related(context: ToolContext, entity: DataEntity, paths: Sequence[str]) -> DataEntity:
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


async def _scoped(
    context: ToolContext,
    entity: DataEntity,
    asked: QueryArguments,
    translation: Translation | None,
    expand: Sequence[str],
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

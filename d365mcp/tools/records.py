"""Reads records: by query, and by key."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

from pydantic import Field
from typing_extensions import TypedDict

from d365mcp.d365.companies import CompanyBound, CompanyScope, scope_read
from d365mcp.d365.grammar import parse_filter
from d365mcp.d365.keys import key_predicate
from d365mcp.d365.literals import literal
from d365mcp.d365.models import COMPANY, DataEntity
from d365mcp.d365.odata import (
    QueryOptions,
    Translation,
    and_filters,
    check_expand,
    check_order_by,
    check_select,
    translate_filter,
)
from d365mcp.d365.reading import Place, Position, Query, Reader, position_of, position_state
from d365mcp.errors import DeadlineExceeded, InvalidArgument, InvalidCursor, NotFound, Unreachable
from d365mcp.events import current_operation
from d365mcp.tools.columns import default_columns
from d365mcp.tools.environment import unknown_companies
from d365mcp.tools.parameters import Company, EntityName, Expand, Format, Key, Select
from d365mcp.tools.results import ETAG, Record, chars, columns_of, row_chars, tidy, to_csv
from d365mcp.tools.tool import ToolContext

DEFAULT_ROWS = 50
# Left of the budget for all that is not rows: notes, cursor, names.
ENVELOPE_CHARS = 1_500
# A page is cut short when less than this share of the request's time is left.
RESERVED_SECONDS = 2.0


class QueryResult(TypedDict, total=False):
    entity_set: str
    company: str | None
    records: list[dict[str, Any]]
    csv: str
    count: int
    next_cursor: str
    left_out: int
    notes: list[str]


class RecordResult(TypedDict, total=False):
    entity_set: str
    record: dict[str, Any]
    notes: list[str]


async def query_entities(
    context: ToolContext,
    entity_name: EntityName,
    select: Select = None,
    filter: Annotated[str | None, Field(description="OData, e.g. CreditLimit gt 1000 and contains(Name,'oy')")] = None,
    order_by: Annotated[list[str] | None, Field(description='e.g. ["CreditLimit desc"]', max_length=10)] = None,
    top: Annotated[int | None, Field(description="Rows wanted in all, default 50", ge=1, le=1_000_000)] = None,
    skip: Annotated[int, Field(ge=0, le=1_000_000)] = 0,
    count: Annotated[bool, Field(description="Also count all")] = False,
    expand: Expand = None,
    company: Company = None,
    cross_company: Annotated[bool, Field(description="All companies")] = False,
    cursor: Annotated[str | None, Field(description="next_cursor, to go on; with entity_name only")] = None,
    format: Format = "records",
    include_etag: bool = False,
) -> QueryResult:
    """Query the records of a data entity. Reads the user's default company unless company or cross_company is given."""
    entity = await context.catalog.entity(entity_name)
    asked = Asked(
        select=select,
        filter=filter,
        order_by=order_by,
        top=top,
        count=count,
        expand=expand,
        company=company,
        cross_company=cross_company,
        include_etag=include_etag,
    )
    if cursor is None:
        return await page_of(context, entity, asked, Position(skip=skip), top or DEFAULT_ROWS, format)
    continued, position, wanted = await reopened(context, entity, asked, skip, cursor)
    return await page_of(context, entity, continued, position, wanted, format)


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

    def state(self) -> dict[str, Any]:
        """Return what differs from the defaults, as JSON values."""
        return {name: value for name, value in vars(self).items() if value}


async def reopened(
    context: ToolContext, entity: DataEntity, asked: Asked, skip: int, cursor: str
) -> tuple[Asked, Position, int]:
    """Return the query a cursor goes on with. Raises InvalidCursor when it is another query's."""
    state = await context.cursors.open(cursor, context.caller.name)
    if state["entity"] != entity.entity_set:
        raise InvalidCursor(f"This cursor belongs to {state['entity']}, not to {entity.entity_set}.")
    if any(state["asked"].get(name) != value for name, value in asked.state().items()) or skip:
        raise InvalidCursor("A cursor goes on with its own query: give entity_name, cursor and format, nothing else.")
    return Asked(**state["asked"]), position_of(state["position"]), state["wanted"]


async def page_of(
    context: ToolContext, entity: DataEntity, asked: Asked, start: Position, wanted: int, format: Format
) -> QueryResult:
    """Read one result's worth of records, as many as fit the budget, and say how to go on."""
    plan = await planned(context, entity, asked)
    reader = Reader(context.d365, plan.query, counting=asked.count and plan.countable)
    # One more than wanted tells whether there are more; a caller who said how many wants no more.
    page = Page(context.settings.max_result_chars - ENVELOPE_CHARS, wanted, format, start)
    await page.fill(reader, wanted if asked.top else wanted + 1, plan.shown, keep_etag=asked.include_etag)
    result = QueryResult(entity_set=entity.entity_set)
    if entity.has_company and not plan.query.cross_company:
        result["company"] = await company_read(context, page.companies)
    note_operation(page)
    if format == "csv":
        result["csv"] = to_csv(page.records, plan.shown or columns_of(page.records))
    else:
        result["records"] = page.records
    if reader.count is not None:
        result["count"] = reader.count
    still = (wanted - len(page.records)) if asked.top else wanted
    if page.more and still:
        state = {"entity": entity.entity_set, "asked": asked.state(), "position": position_state(page.following())}
        result["next_cursor"] = await context.cursors.seal({**state, "wanted": still}, context.caller.name)
    if page.trimmed:
        result["left_out"] = page.left_out
    doubts = await unknown_companies(context, plan.companies) if plan.companies and not page.records else []
    if notes := [*plan.notes, *page.notes, *doubts]:
        result["notes"] = notes
    return result


@dataclass(frozen=True)
class Plan:
    """A query in F&O's dialect, what of each record is shown, and what the caller should know."""

    query: Query
    shown: tuple[str, ...]
    countable: bool
    notes: tuple[str, ...]
    companies: tuple[str, ...]  # those asked for by name


async def planned(context: ToolContext, entity: DataEntity, asked: Asked) -> Plan:
    """Check and translate a query. Raises InvalidArgument or NotAllowed before anything is sent."""
    translation = await translated(context, entity, asked.filter) if asked.filter else None
    expand = check_expand(asked.expand or (), entity)
    select = check_select(asked.select or (), entity) if asked.select else default_columns(entity)
    scope = await scoped(context, entity, asked, translation, expand)
    filters = translation.filters if translation else ("",)
    query = Query(
        entity=entity,
        filters=tuple(and_filters(scope.filter, part) for part in filters),
        select=select,
        order_by=check_order_by(asked.order_by or (), entity),
        expand=expand,
        cross_company=scope.cross_company,
        exact=translation.expression if translation and translation.needs_exact_check else None,
    )
    notes = [*(translation.notes if translation else ()), *scope.notes]
    if not asked.select and select:
        notes.append(f"{len(select)} of {len(entity.properties)} properties shown: name others in select")
    countable = len(filters) == 1 and query.exact is None
    if asked.count and not countable:
        notes.append("count left out: F&O cannot count this filter exactly")
    shown = (*select, *(name.split("(")[0] for name in expand)) if select else ()
    named = [asked.company] if asked.company else sorted((translation.companies if translation else None) or ())
    return Plan(query, shown, countable, tuple(notes), tuple(named) if entity.has_company else ())


async def translated(context: ToolContext, entity: DataEntity, filter: str) -> Translation:
    """Translate a filter, with the enumerations it compares at hand."""
    expression = parse_filter(filter)
    return translate_filter(expression, await with_enumerations(context, entity, expression.columns()))


async def with_enumerations(context: ToolContext, entity: DataEntity, names: Iterable[str]) -> DataEntity:
    """Return the entity with the enumerations these properties use: their members are checked before anything is sent."""
    proper = [entity.names_by_folded.get(name.casefold(), "") for name in names]
    known = await context.catalog.enumerations_of(entity, proper)
    return replace(entity, enumerations={**entity.enumerations, **known}) if known else entity


async def scoped(
    context: ToolContext, entity: DataEntity, asked: Asked, translation: Translation | None, expand: Sequence[str]
) -> CompanyScope:
    """Return the companies a query reaches; where only the default one, make sure it may be read."""
    bound = CompanyBound(context.settings.companies)
    scope = scope_read(
        entity,
        bound,
        company=asked.company,
        cross_company=asked.cross_company,
        translation=translation,
        expand=expand,
    )
    if bound.allowed and entity.has_company and not scope.cross_company:
        bound.check([(await context.d365.session()).company])
    return scope


async def company_read(context: ToolContext, companies: set[str]) -> str:
    """Return the default company that was read: the records tell it, or the session where there are none."""
    return next(iter(companies)) if companies else (await context.d365.session()).company.lower()


def note_operation(page: "Page") -> None:
    if operation := current_operation():
        operation.rows += len(page.records)
        operation.companies |= page.companies


@dataclass
class Page:
    """The records of one result, filled up to a budget of characters."""

    budget: int
    wanted: int
    format: Format
    position: Position
    records: list[Record] = field(default_factory=list)
    companies: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    more: bool = False
    trimmed: bool = False
    left_out: int = 0
    last: Place | None = None

    def following(self) -> Position:
        """Return where the next page begins."""
        return self.last.following() if self.last else self.position

    async def fill(self, reader: Reader, rows: int, shown: Sequence[str], *, keep_etag: bool) -> None:
        """Take records until there are no more, enough, or no room or time for another."""
        try:
            async with aclosing(reader.records(self.position, rows)) as source:
                async for raw, place in source:
                    if not self.take(raw, place, shown, keep_etag=keep_etag):
                        self.more = True
                        self.left_out = min(reader.waiting + 1, self.wanted - len(self.records))
                        return
        except (DeadlineExceeded, Unreachable):
            if not self.records:
                raise
            self.cut_by_time()

    def take(self, raw: Mapping[str, Any], place: Place, shown: Sequence[str], *, keep_etag: bool) -> bool:
        """Add a record. Returns False, leaving it out, when the page is full."""
        if len(self.records) == self.wanted:
            return False
        record = tidy(selected(raw, shown, keep_etag=keep_etag), keep_etag=keep_etag)
        cost = row_chars(record, self.format)
        if cost > self.budget:
            if not self.records:
                check_fits(cost, self.budget)
            self.trimmed = True
            return False
        if self.records and self.out_of_time():
            self.cut_by_time()
            return False
        self.budget -= cost
        self.records.append(record)
        self.last = place
        if company := raw.get(COMPANY):
            self.companies.add(str(company).lower())
        return True

    def cut_by_time(self) -> None:
        self.more = self.trimmed = True
        self.notes.append("the request's time ran out: go on with next_cursor")

    @staticmethod
    def out_of_time() -> bool:
        operation = current_operation()
        return operation is not None and operation.remaining() < RESERVED_SECONDS


def check_fits(cost: int, room: int) -> None:
    """Raise InvalidArgument where one record is longer than a result may be."""
    if cost > room:
        raise InvalidArgument(f"One record alone takes {cost} characters: name fewer properties in select.")


def selected(raw: Mapping[str, Any], shown: Sequence[str], *, keep_etag: bool) -> Mapping[str, Any]:
    """Return the columns shown, in their order; what was fetched only to find the place again is left out."""
    if not shown:
        return raw
    names = [*([ETAG] if keep_etag else []), *shown]
    return {name: raw[name] for name in names if name in raw}


async def get_entity_record(
    context: ToolContext,
    entity_name: EntityName,
    key: Key,
    select: Select = None,
    expand: Expand = None,
    company: Company = None,
    include_etag: bool = False,
) -> RecordResult:
    """Read one record by its full key, all its properties unless select names some."""
    entity = await context.catalog.entity(entity_name)
    bound = CompanyBound(context.settings.companies)
    key = with_company(entity, key, company)
    entity = await with_enumerations(context, entity, key)
    predicate = key_predicate(entity, key)
    expanded = check_expand(expand or (), entity)
    scope = scope_read(entity, bound, company=None, cross_company=False, translation=None, expand=expanded)
    if entity.has_company:
        bound.check([str(key_company(key))])
    options = QueryOptions(select=check_select(select or (), entity), expand=expanded, cross_company=entity.has_company)
    raw = await record_by_key(context, entity, key, predicate, options)
    record = tidy(raw, keep_etag=include_etag)
    check_fits(chars(record), context.settings.max_result_chars - ENVELOPE_CHARS)
    result = RecordResult(entity_set=entity.entity_set, record=record)
    if notes := [*scope.notes]:
        result["notes"] = notes
    return result


def no_record(entity: DataEntity) -> str:
    return f"No {entity.entity_set} record has this key."


async def record_by_key(
    context: ToolContext, entity: DataEntity, key: Mapping[str, Any], predicate: str, options: QueryOptions
) -> Record:
    """Read one record by its URL, or by a filter where F&O does not find by URL what is there. Raises NotFound."""
    missing = no_record(entity)
    if not is_delicate(entity, key):
        try:
            return await context.d365.get_record(entity.entity_set, predicate, options)
        except NotFound as error:
            error.message = missing
            raise
    values = {entity.names_by_folded[name.casefold()]: value for name, value in key.items()}
    parts = [f"{prop.name} eq {literal(values[prop.name], prop, entity.enumerations)}" for prop in entity.key]
    page = await context.d365.query(entity.entity_set, replace(options, filter=and_filters(*parts), top=2))
    if len(page.records) != 1:
        raise NotFound(
            missing if not page.records else f"{len(page.records)} {entity.entity_set} records have this key."
        )
    return page.records[0]


def is_delicate(entity: DataEntity, key: Mapping[str, Any]) -> bool:
    """Return whether a key is better asked by a filter: with an enumeration in it 10.0.47 answers 404, and front ends
    refuse an encoded slash. A star would make the filter a pattern, so such keys go by URL."""
    texts = [value for value in key.values() if isinstance(value, str)]
    awkward = any(prop.enumeration for prop in entity.key) or any("/" in text or "\\" in text for text in texts)
    return awkward and not any("*" in text for text in texts)


def with_company(entity: DataEntity, key: Mapping[str, Any], company: str | None) -> dict[str, Any]:
    """Return the key with the company in it, where it was given beside it."""
    given = key_company(key)
    if company and given is not None and str(given).lower() != company.lower():
        raise InvalidArgument(f'The key says {COMPANY} "{given}" but company says "{company}".')
    if company and entity.has_company and given is None:
        return {COMPANY: company, **key}
    return dict(key)


def key_company(key: Mapping[str, Any]) -> Any:
    return next((value for name, value in key.items() if name.casefold() == COMPANY.casefold()), None)

"""Reads records: by query, and by key."""

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

from pydantic import Field
from typing_extensions import TypedDict

from d365mcp.d365.filters.tree import Expression
from d365mcp.d365.filters.write import has_null, is_pattern_search
from d365mcp.d365.keys import key_predicate
from d365mcp.d365.models import COMPANY, DataEntity, Record
from d365mcp.d365.odata import QueryOptions, expanded_item, selected_of
from d365mcp.d365.page_set import difference
from d365mcp.d365.paging import Position, Reader, RecordPlace, position_of, position_state
from d365mcp.errors import BadRequest, DeadlineExceeded, InvalidArgument, InvalidCursor, Unreachable
from d365mcp.events import current_operation
from d365mcp.tools.columns import default_columns
from d365mcp.tools.common import ENVELOPE_CHARS, expanded_names, with_enumerations, with_notes
from d365mcp.tools.empties import (
    Emptying,
    emptying_within,
    without_empties,
    without_empty_columns,
    without_expanded_empties,
)
from d365mcp.tools.empty_results import why_empty
from d365mcp.tools.keys import complete_key, record_by_key
from d365mcp.tools.parameters import Columns, Company, EntityName, Expand, Format, RecordKey
from d365mcp.tools.planning import QueryArguments, QueryPlan, planned
from d365mcp.tools.policy import bound_of, check_named_companies
from d365mcp.tools.results import EMPTY_DATES, ETAG, chars, columns_of, row_chars, tidy, to_csv
from d365mcp.tools.suggestions import chosen_columns, chosen_expand
from d365mcp.tools.tool import ToolContext

_DEFAULT_ROWS = 50
# Of an expanded entity, so many properties are named as an example.
_EXAMPLES = 3
# Of the records that a pattern finds, so many are looked through for the pattern's own text.
_LITERAL_ROWS = 10_000
# A page is cut short when less than this share of the request's time is left.
_RESERVED_SECONDS = 2.0


class QueryResult(TypedDict, total=False):
    entity_set: str
    company: str
    row_count: int
    count: int
    next_cursor: str
    left_out: int
    notes: list[str]
    records: list[dict[str, Any]]
    csv: str


class RecordResult(TypedDict, total=False):
    entity_set: str
    notes: list[str]
    record: dict[str, Any]


async def query_entities(
    context: ToolContext,
    entity_name: EntityName,
    select: Columns = None,
    filter: Annotated[str | None, Field(description="OData, e.g. CreditLimit gt 1000 and contains(Name,'oy')")] = None,
    order_by: Annotated[list[str] | None, Field(description='e.g. ["CreditLimit desc"]', max_length=10)] = None,
    top: Annotated[int | None, Field(description="Rows wanted in all, default 50", ge=1, le=1_000_000)] = None,
    skip: Annotated[int, Field(ge=0, le=1_000_000)] = 0,
    count: Annotated[bool, Field(description="Also count all")] = False,
    expand: Expand = None,
    company: Company = None,
    cross_company: Annotated[bool, Field(description="All companies")] = False,
    cursor: Annotated[str | None, Field(description="next_cursor, to go on; with entity_name only")] = None,
    rows_as: Format = "records",
    include_etag: bool = False,
) -> QueryResult:
    """Read records of an entity: customers, vendors, sales orders, purchase orders, invoices, payments, ledger, inventory,
    products; filtered, sorted, in pages. Of the user's default company unless company or cross_company is given."""
    entity = await context.catalog.entity(entity_name)
    asked = QueryArguments(
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
        return await _result_of(
            context, entity, _Walk(asked, Position(skip=skip), top or _DEFAULT_ROWS, passed=skip), rows_as
        )
    return await _result_of(context, entity, await _reopened(context, entity, asked, skip, cursor), rows_as)


@dataclass(frozen=True)
class _Walk:
    """A query and how far it has come: which record is next, how many are wanted still, how many were passed."""

    asked: QueryArguments
    position: Position
    wanted: int
    passed: int
    begun: bool = False

    def state(self, entity: DataEntity) -> dict[str, Any]:
        """Return it as JSON values, for a cursor."""
        position = position_state(self.position)
        asked = self.asked.state()
        return {
            "entity": entity.entity_set,
            "asked": asked,
            "position": position,
            "wanted": self.wanted,
            "passed": self.passed,
        }


async def _reopened(context: ToolContext, entity: DataEntity, asked: QueryArguments, skip: int, cursor: str) -> _Walk:
    """Return the query a cursor goes on with. Raises InvalidCursor when it is another query's."""
    state = await context.cursors.open(cursor, context.caller.name)
    if state["entity"] != entity.entity_set:
        raise InvalidCursor(f"This cursor belongs to {state['entity']}, not to {entity.entity_set}.")
    if any(state["asked"].get(name) != value for name, value in asked.state().items()) or skip:
        raise InvalidCursor("A cursor goes on with its own query: give entity_name, cursor and rows_as, nothing else.")
    return _Walk(
        QueryArguments(**state["asked"]), position_of(state["position"]), state["wanted"], state["passed"], begun=True
    )


async def _result_of(context: ToolContext, entity: DataEntity, walk: _Walk, format: Format) -> QueryResult:
    """Read one result's worth of records, as many as fit the budget, and say how to go on."""
    reading = await _read_somehow(context, entity, walk, format)
    walk, plan, reader, page = reading.walk, reading.plan, reading.reader, reading.page
    result = QueryResult(entity_set=entity.entity_set)
    company = await _company_read(context, entity, plan, page)
    if company:
        result["company"] = company
    _note_operation(page)
    result["row_count"] = len(page.records)
    if plan.is_default and format == "records":
        page.records = without_empty_columns(page.records, entity)
    if format == "csv":
        result["csv"] = to_csv(page.records, plan.columns or columns_of(page.records) or list(entity.properties))
    else:
        result["records"] = page.records
    if reader.count is not None:
        result["count"] = reader.count
    going_on = replace(
        walk,
        position=page.following(),
        wanted=(walk.wanted - len(page.records)) if walk.asked.top else walk.wanted,
        passed=walk.passed + len(page.records),
        # The pages are of one company, whatever becomes of the user's default one in between.
        asked=replace(
            walk.asked, unordered=reader.query.unordered, company=walk.asked.company or _pinned(plan, company)
        ),
    )
    if page.more and going_on.wanted:
        result["next_cursor"] = await context.cursors.seal(going_on.state(entity), context.caller.name)
    if page.trimmed:
        result["left_out"] = page.left_out
    notes = [*plan.notes, *(plan.undated[name] for name in sorted(page.undated)), *page.notes]
    if page.records and plan.is_default:
        notes += _selection_note(entity, page.records)
    if page.empties:
        notes.append(f"{page.empties} empty properties of expanded records left out: name those you need in $select")
    notes += _count_notes(plan, page, reader.count, walk.passed)
    return with_notes(result, [*notes, *await _doubts(context, reading, going_on)])


def _selection_note(entity: DataEntity, records: Sequence[Record]) -> list[str]:
    """Return a note on how many properties the records have, where that is not all."""
    count, every = len(entity.properties.keys() & set(columns_of(records))), len(entity.properties)
    return [f"{count} of {every} properties shown: name others in select"] if count < every else []


def _count_notes(plan: QueryPlan, page: "_RecordPage", count: int | None, passed: int) -> list[str]:
    """Return notes on the dates that records beyond those read may lack although they are counted."""
    if count is None or count <= passed + len(page.records):
        return []
    unseen = sorted(plan.undated.keys() - page.undated)
    return [f"count includes records without {name}, if any: add {name} ne null to leave them out" for name in unseen]


def _pinned(plan: QueryPlan, company: str | None) -> str | None:
    return company if plan.scope.is_default else None


async def _company_read(context: ToolContext, entity: DataEntity, plan: QueryPlan, page: "_RecordPage") -> str | None:
    """Return the company of all records, where there is one: of the default one the records tell, or F&O, asked anew."""
    if plan.scope.company or not plan.scope.is_default:
        return plan.scope.company
    return next(iter(page.companies), None) or (await context.d365.session(fresh=True)).company


async def _doubts(context: ToolContext, reading: "_PageRead", walk: _Walk) -> list[str]:
    """Return what makes the answer less than it seems: no records, pages that are no one set, a company that changed."""
    plan, reader, page = reading.plan, reading.reader, reading.page
    notes = []
    if len(page.companies) > 1 and plan.scope.is_default:
        names = " and ".join(sorted(page.companies))
        notes.append(f"the user's default company changed meanwhile, the records are of {names}: name the company")
    if reader.query.unordered and (page.more or reader.pages > 1):
        refuses = f"{plan.query.entity.entity_set} refuses the order of its key"
        notes.append(f"{refuses}: pages go by number, and a record may come twice or be left out between them")
    if not page.records and not page.more and not walk.passed:
        notes += await why_empty(context, plan)
    elif plan.countable and reader.exhausted and (reading.walk.begun or reader.pages > 1):
        options = plan.query.options(Position(), 1)
        note = await difference(context.d365, plan.query.entity.entity_set, options, walk.passed, reader.repeated)
        notes += [note] if note else []
    return notes


@dataclass(frozen=True)
class _PageRead:
    """One way a query was read, and what came of it."""

    walk: _Walk
    plan: QueryPlan
    reader: Reader
    page: "_RecordPage"


async def _read_somehow(context: ToolContext, entity: DataEntity, walk: _Walk, format: Format) -> _PageRead:
    """Read a query as it is asked, else in the way F&O takes it."""
    plan = await planned(context, entity, walk.asked)
    expression = plan.translation.expression if plan.translation else None
    try:
        reading = await _read_page(context, walk, plan, format)
    except BadRequest:
        if expression is None or walk.asked.nulls_here or not _may_be_null_here(expression):
            raise
        return await _read_otherwise(context, entity, walk, replace(walk.asked, nulls_here=True), format)
    nothing = not (reading.page.records or reading.page.more or walk.passed)
    if nothing and expression and is_pattern_search(expression):
        return await _read_otherwise(context, entity, walk, replace(walk.asked, as_pattern=True), format)
    return reading


def _may_be_null_here(expression: Expression) -> bool:
    """Return whether a filter asks what is null, and can be checked without F&O: not behind a navigation property."""
    return has_null(expression) and not any("/" in column for column in expression.columns())


async def _read_otherwise(
    context: ToolContext, entity: DataEntity, walk: _Walk, asked: QueryArguments, format: Format
) -> _PageRead:
    return await _read_page(context, replace(walk, asked=asked), await planned(context, entity, asked), format)


async def _read_page(context: ToolContext, walk: _Walk, plan: QueryPlan, format: Format) -> _PageRead:
    patience = _LITERAL_ROWS if plan.query.exact and is_pattern_search(plan.query.exact) and not walk.begun else None
    reader = Reader(context.d365, plan.query, walk.asked.count and plan.countable, patience)
    whole = _wholly_expanded(plan.query.expand, plan.related)
    page = _RecordPage(
        context.result_chars - ENVELOPE_CHARS,
        walk.wanted,
        format,
        walk.position,
        await emptying_within(context, whole),
    )
    # One more than wanted tells whether there are more; a caller who said how many wants no more.
    await page.fill(reader, walk.wanted if walk.asked.top else walk.wanted + 1, plan, keep_etag=walk.asked.include_etag)
    return _PageRead(walk, plan, reader, page)


def _note_operation(page: "_RecordPage") -> None:
    if operation := current_operation():
        operation.rows += len(page.records)
        operation.companies |= page.companies


@dataclass
class _RecordPage:
    """The records of one result, filled up to a budget of characters."""

    budget: int
    wanted: int
    format: Format
    position: Position
    emptying: Mapping[str, Emptying]  # of expanded records, by navigation property
    records: list[Record] = field(default_factory=list)
    companies: set[str] = field(default_factory=set)
    undated: set[str] = field(default_factory=set)  # dates that a record lacks although it meets the filter
    notes: list[str] = field(default_factory=list)
    more: bool = False
    trimmed: bool = False
    left_out: int = 0
    empties: int = 0  # of expanded records, left out
    last: RecordPlace | None = None

    def following(self) -> Position:
        """Return where the next page begins."""
        return self.last.following() if self.last else self.position

    async def fill(self, reader: Reader, rows: int, plan: QueryPlan, *, keep_etag: bool) -> None:
        """Take records until there are no more, enough, or no room or time for another."""
        try:
            async with aclosing(reader.records(self.position, rows)) as source:
                async for raw, place in source:
                    if not self.take(raw, place, plan, keep_etag=keep_etag):
                        self.more = True
                        self.left_out = min(reader.waiting + 1, self.wanted - len(self.records))
                        return
        except (DeadlineExceeded, Unreachable):
            if not self.records:
                raise
            self.cut_by_time()

    def take(self, raw: Mapping[str, Any], place: RecordPlace, plan: QueryPlan, *, keep_etag: bool) -> bool:
        """Add a record. Returns False, leaving it out, when the page is full."""
        if len(self.records) == self.wanted:
            return False
        columns = _selected(raw, plan.columns, keep_etag=keep_etag)
        record = tidy(columns, plan.query.entity, keep_etag=keep_etag, related=plan.related)
        record, empties = without_expanded_empties(record, self.emptying)
        cost = row_chars(record, self.format)
        if cost > self.budget:
            if not self.records:
                _check_fits(record, cost, self.budget, plan.query.expand, plan.related)
            self.trimmed = True
            return False
        if self.records and self.out_of_time():
            self.cut_by_time()
            return False
        self.budget -= cost
        self.empties += empties
        self.records.append(record)
        self.last = place
        self.undated |= {name for name in plan.undated if raw.get(name) in EMPTY_DATES}
        if company := raw.get(COMPANY):
            self.companies.add(str(company).lower())
        return True

    def cut_by_time(self) -> None:
        self.more = self.trimmed = True
        self.notes.append("the request's time ran out: go on with next_cursor")

    @staticmethod
    def out_of_time() -> bool:
        operation = current_operation()
        return operation is not None and operation.remaining() < _RESERVED_SECONDS


def _wholly_expanded(expand: Sequence[str], related: Mapping[str, DataEntity]) -> dict[str, DataEntity]:
    """Return the entities of expanded records, by navigation property, that nobody named columns for."""
    links = [link for link, columns in map(selected_of, expand) if not columns]
    return {link: related[link] for link in links if link in related}


def _check_fits(record: Record, cost: int, room: int, expand: Sequence[str], related: Mapping[str, DataEntity]) -> None:
    """Raise InvalidArgument where one record is longer than a result may be."""
    if cost <= room:
        return
    widths = {item: chars(record.get(selected_of(item)[0])) for item in expand}
    widest = max(widths, key=widths.__getitem__, default="")
    advice = "name fewer properties in select"
    if widest and widths[widest] > cost / 2:
        advice = _narrower(widest, related)
    raise InvalidArgument(f"One record alone takes {cost} characters: {advice}.")


def _narrower(item: str, related: Mapping[str, DataEntity]) -> str:
    """Return how to make expanded records shorter: by fewer columns, or in pages of their own."""
    link, columns = selected_of(item)
    if link not in related:
        return f"expand {expanded_item(link, ['A', 'B'])}, with the properties you need"
    if columns:
        return f"select less of {link}, or query {related[link].entity_set} itself"
    usual = default_columns(related[link], {}) or tuple(related[link].properties)
    few = [name for name in usual if name != COMPANY][:_EXAMPLES]
    return f"expand {expanded_item(link, few)}, with the properties you need"


def _selected(raw: Mapping[str, Any], columns: Sequence[str], *, keep_etag: bool) -> Mapping[str, Any]:
    """Return the wanted columns, in their order; what was fetched only to find the place again is left out."""
    if not columns:
        return raw
    names = [*([ETAG] if keep_etag else []), *columns]
    return {name: raw[name] for name in names if name in raw}


async def get_entity_record(
    context: ToolContext,
    entity_name: EntityName,
    key: RecordKey,
    select: Columns = None,
    expand: Expand = None,
    company: Company = None,
    include_etag: bool = False,
    include_empty: bool = False,
) -> RecordResult:
    """Read one record (a customer, an order, an invoice) by its full key: every property that has a value, or those in select."""
    entity = await context.catalog.entity(entity_name)
    bound = bound_of(context)
    key, added = await complete_key(context, entity, key, company)
    entity = await with_enumerations(context, entity, key)
    predicate = key_predicate(entity, key)
    check_named_companies(context, entity, key)
    expanded, related, left_out_within = await chosen_expand(context, entity, expand or ())
    if expanded:
        bound.refuse_unless_free("expand", "which company's records a navigation reaches cannot be proved")
    names, left_out = await chosen_columns(context, entity, select or ())
    options = QueryOptions(select=names, expand=expanded, cross_company=entity.has_company)
    raw = await record_by_key(context, entity, key, predicate, options, bound)
    links = expanded_names(expanded)
    columns = _selected(raw, (*names, *links) if names else (), keep_etag=include_etag)
    record = tidy(columns, entity, keep_etag=include_etag, related=related)
    notes = [*added, *left_out, *left_out_within]
    if not include_empty:
        whole = _wholly_expanded(expanded, related)
        record, empties = await without_empties(context, record, entity, keep=(*names, *links), expanded=whole)
        notes += empties
    _check_fits(record, chars(record), context.result_chars - ENVELOPE_CHARS, expanded, related)
    return with_notes(RecordResult(entity_set=entity.entity_set, record=record), notes)

"""Plans one SELECT over entity sets: which records it needs, and what of choosing them F&O can do. Performs no I/O.

What is pushed down may only widen what is fetched, never narrow it: DuckDB applies every predicate again, so the answer
does not depend on it. Predicates are handed over as ordinary OData; `d365.filters` knows F&O's dialect.
"""

import datetime
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlglot import exp
from sqlglot.errors import ErrorLevel, OptimizeError, UnsupportedError
from sqlglot.optimizer.pushdown_projections import pushdown_projections
from sqlglot.optimizer.qualify import qualify

from d365mcp.d365.models import DataEntity
from d365mcp.errors import InvalidArgument
from d365mcp.sql.blocks import Blocks
from d365mcp.sql.calendar import without_zone
from d365mcp.sql.companies import CompanyUse, company_uses, joined_apart
from d365mcp.sql.constants import CLOCK_NAMES, CLOCKS, constants_of
from d365mcp.sql.dates import bounded_from_above, date_literal, set_empty_aside, type_dates
from d365mcp.sql.days import day_columns
from d365mcp.sql.pushdown import pushed
from d365mcp.sql.refusals import refuse_mistakes
from d365mcp.sql.relevance import Relevance, relevance
from d365mcp.sql.semi_joins import Partner, partners_of
from d365mcp.sql.statement import DIALECT, WRITTEN, entity_tables, first_line
from d365mcp.sql.types import NUMBERS, column_type
from d365mcp.sql.unresolved import unresolved

MAX_COLUMNS = 80


@dataclass(frozen=True)
class Scan:
    """The records one table of the statement needs: an entity's columns, and what OData can say about its rows."""

    name: str  # the DuckDB table they go to
    entity: DataEntity
    columns: tuple[str, ...]
    filter: str = ""  # ordinary OData
    company_use: CompanyUse = field(default_factory=CompanyUse)  # what the statement does with their company
    order_by: tuple[str, ...] = ()
    top: int | None = None  # rows that suffice, where the statement's own LIMIT allows it
    partners: tuple[Partner, ...] = ()  # what its records have to share with those of other scans


@dataclass(frozen=True)
class StatementPlan:
    """A statement ready for DuckDB, the scans it stands on, and the names its columns go by."""

    sql: str
    scans: tuple[Scan, ...]
    headings: tuple[str, ...]
    limit: int | None = None  # rows it yields at most, where a scan has a `top`
    ends_early: bool = False  # once it yields `limit` rows, others do not matter
    apart: tuple[tuple[str, str], ...] = ()  # scans that are joined without a word about the company
    days: tuple[int, ...] = ()  # the places of columns that are days, whatever DuckDB makes of them
    open_dates: tuple[tuple[str, str], ...] = ()  # scans with their dates that are only bounded from above


@dataclass(frozen=True)
class Statement:
    """A statement with its names put right. DuckDB has to say what its `constants` come to before it is planned."""

    tree: exp.Query
    by_table: Mapping[str, DataEntity]
    headings: tuple[str, ...]
    constants: tuple[str, ...]


def prepared(tree: exp.Query, entities: Mapping[str, DataEntity]) -> Statement:
    """Put a parsed statement's names right; `entities` has each of its tables. Raises InvalidArgument, UnknownName."""
    given = headings(tree)
    for call in [*tree.find_all(exp.Anonymous)]:
        if call.name.lower() in CLOCK_NAMES and not call.expressions:
            call.replace(exp.CurrentTimestamp())
    for table in entity_tables(tree):
        if not table.alias:
            table.set("alias", exp.TableAlias(this=exp.to_identifier(table.name)))
        table.set("this", exp.to_identifier(entities[table.name].entity_set.lower()))
    by_table = {entity.entity_set.lower(): entity for entity in entities.values()}
    qualified = _qualify_columns(tree, by_table)
    names = tuple(_proper_names(given, qualified, by_table))
    return Statement(qualified, by_table, names, tuple(constants_of(qualified)))


def plan(statement: Statement, values: Mapping[str, Any]) -> StatementPlan:
    """Plan a statement, once. `values` has what its constants come to. Raises InvalidArgument and UnknownName."""
    tree, by_table = statement.tree, statement.by_table
    _stop_clocks(tree, values)
    blocks = Blocks(tree, by_table)
    type_dates(blocks)
    refuse_mistakes(blocks)
    found = relevance(blocks)
    scans = Scans(by_table, _needed_columns(tree, by_table), company_uses(found))
    for block in blocks:
        for alias in block.aliases:
            if isinstance(table := block.source(alias), exp.Table):
                facts = found.facts.get(id(table), [])
                scans.add(table, *pushed(facts, block.named(alias), by_table[table.name], values))
    apart = [(scans.places[id(one)], scans.places[id(other)]) for one, other in joined_apart(found)]
    open_dates = dict.fromkeys((scans.places[id(table)], name) for table, name in bounded_from_above(blocks))
    days = tuple(day_columns(blocks.by_query[id(tree)]))
    read, limit, ends_early = scans.result(found), None, False
    _refuse_wide(read)
    if len(scans.places) == 1 and (cut := _with_limit(tree, read[0])) is not None:
        limit = _count_of(tree.args.get("limit"))
        ends_early = not scans.exact and not cut.order_by
        read = (cut,) if scans.exact else read
    set_empty_aside(blocks)
    scans.put_in_place(tree)
    return StatementPlan(
        _printed(tree), read, statement.headings, limit, ends_early, tuple(apart), days, tuple(open_dates)
    )


def _printed(tree: exp.Query) -> str:
    """Return the statement as DuckDB reads it. Raises InvalidArgument for what has no equal there."""
    try:
        return tree.sql(DIALECT, unsupported_level=ErrorLevel.RAISE)
    except UnsupportedError as problem:
        raise InvalidArgument(f"DuckDB does not do this: {first_line(problem)}") from None


def _stop_clocks(tree: exp.Query, values: Mapping[str, Any]) -> None:
    """Write what the clock says now into the statement: F&O and DuckDB are asked about the same day."""
    for node in [*tree.find_all(*CLOCKS)]:
        whole: exp.Expr = node
        while whole.parent is not None and whole.parent.sql(DIALECT) in values:
            whole = whole.parent
        value = values.get(whole.sql(DIALECT))
        if isinstance(value, datetime.date):
            whole.replace(date_literal(without_zone(value)))
        elif type(value) is int:
            whole.replace(exp.Literal.number(value))


def _qualify_columns(tree: exp.Query, by_table: Mapping[str, DataEntity]) -> exp.Query:
    """Return the tree with every column's table named and every star spelled out."""
    schema: dict[str, object] = {
        table: {prop.name.lower(): column_type(prop) for prop in entity.properties.values()}
        for table, entity in by_table.items()
    }
    try:
        # A copy, for the names in complaints are those that were written.
        qualified = pushdown_projections(qualify(tree.copy(), schema=schema, dialect=DIALECT))
    except OptimizeError as problem:
        raise unresolved(tree, by_table, first_line(problem)) from None
    if (whole := qualified.find(exp.TableColumn)) is not None:
        raise InvalidArgument(f"{whole.name} is a table: name its columns, such as {whole.name}.dataAreaId.")
    return qualified


def _refuse_wide(scans: Iterable[Scan]) -> None:
    for scan in scans:
        if len(scan.columns) > MAX_COLUMNS:
            name = scan.entity.entity_set
            raise InvalidArgument(f"{name} has {len(scan.columns)} columns: name those you need instead of *.")


def _needed_columns(tree: exp.Query, by_table: Mapping[str, DataEntity]) -> dict[str, set[str]]:
    """Return, by table, the columns the statement reads anywhere, as F&O writes them."""
    aliases: dict[str, set[str]] = {}
    for table in tree.find_all(exp.Table):
        if table.name in by_table:
            aliases.setdefault(table.alias_or_name, set()).add(table.name)
    needed: dict[str, set[str]] = {name: set() for name in by_table}
    for column in tree.find_all(exp.Column):
        for name in aliases.get(column.table, ()):
            if (proper := by_table[name].names_by_folded.get(column.name.casefold())) is not None:
                needed[name].add(proper)
    return needed


@dataclass
class Scans:
    """Gathers the scans of a statement: the same entity filtered alike is fetched once."""

    by_table: Mapping[str, DataEntity]
    needed: Mapping[str, set[str]]
    company_uses: Mapping[int, CompanyUse]
    found: dict[tuple[str, str, CompanyUse], Scan] = field(default_factory=dict)
    places: dict[int, str] = field(default_factory=dict)  # which DuckDB table each table of the statement reads
    tables: list[exp.Table] = field(default_factory=list)
    exact: bool = True

    def add(self, table: exp.Table, texts: Sequence[str], exact: bool) -> None:
        """Add what `table` needs; `exact` where the texts say all that the statement says."""
        entity = self.by_table[table.name]
        filter = " and ".join(f"({text})" for text in texts)
        use = self.company_uses.get(id(table), CompanyUse())
        key = (table.name, filter, use)
        if key not in self.found:
            columns = tuple(name for name in entity.properties if name in self.needed[table.name])
            name = f"t{len(self.found) + 1}"
            self.found[key] = Scan(name, entity, columns or (entity.key[0].name,), filter, use)
        self.places[id(table)] = self.found[key].name
        self.tables.append(table)
        self.exact &= exact

    def result(self, relevance: Relevance) -> tuple[Scan, ...]:
        """Return the scans. One that several tables read has no partners: each of them may have others."""
        names, filters = [*self.places.values()], {scan.name: scan.filter for scan in self.found.values()}
        entities = {id(table): self.by_table[table.name] for table in self.tables}
        partners = {
            self.places[id(table)]: partners_of(
                table, filters[self.places[id(table)]], relevance, self.places, entities
            )
            for table in self.tables
            if names.count(self.places[id(table)]) == 1
        }
        return tuple(replace(scan, partners=partners.get(scan.name, ())) for scan in self.found.values())

    def put_in_place(self, tree: exp.Query) -> None:
        """Let the statement read the scans' tables."""
        for table in [*tree.find_all(exp.Table)]:
            if (name := self.places.get(id(table))) is not None:
                table.set("this", exp.to_identifier(name, quoted=True))


# Where rows come out as they went in, one for one, whatever the others are.
PLAIN_PARTS = frozenset({"expressions", "from_", "where", "order", "limit", "offset"})
# What needs more than its own row, may make several of one, or is another one each time it is asked.
NOT_ROW_BY_ROW = (exp.AggFunc, exp.Window, exp.Query, exp.UDTF, exp.Anonymous, exp.Rand)


def _with_limit(tree: exp.Query, scan: Scan) -> Scan | None:
    """Return the scan cut to the statement's LIMIT, where F&O's first rows are the statement's."""
    limit, offset = _count_of(tree.args.get("limit")), _count_of(tree.args.get("offset"))
    if limit is None or not is_plain(tree):
        return None
    order = tree.args.get("order")
    keys = [_pushed_order(each, scan.entity) for each in order.expressions] if order else []
    if any(key is None for key in keys):
        return None
    return replace(scan, order_by=tuple(key for key in keys if key), top=limit + (offset or 0))


def is_plain(tree: exp.Query) -> bool:
    """Return whether it is one SELECT of one table whose rows come out as they went in."""
    parts = {part for part, value in tree.args.items() if value}
    if not isinstance(tree, exp.Select) or parts - PLAIN_PARTS or not isinstance(tree.args["from_"].this, exp.Table):
        return False
    return not any(
        isinstance(node, NOT_ROW_BY_ROW)
        for each in (*tree.selects, tree.args.get("where"))
        if each
        for node in each.walk()
    )


def _count_of(node: exp.Expr | None) -> int | None:
    value = node.expression if node is not None else None
    return int(value.this) if isinstance(value, exp.Literal) and value.is_int else None


def _pushed_order(item: exp.Expr, entity: DataEntity) -> str | None:
    """Return an order F&O and DuckDB agree on: numbers only, for text has collations and dates have empty ones."""
    column = item.this
    if not isinstance(item, exp.Ordered) or not isinstance(column, exp.Column) or item.args.get("nulls_first"):
        return None
    name = entity.names_by_folded.get(column.name.casefold()) if column.table else None
    if name is None or column_type(entity.properties[name]) not in NUMBERS:
        return None
    return f"{name} desc" if item.args.get("desc") else name


def headings(tree: exp.Query) -> list[str | None]:
    """Return the names the author gave to the columns, or what he wrote; None for a star."""
    return [None if _star(each) else _heading(each) for each in tree.selects]


def _heading(column: exp.Expr) -> str:
    if isinstance(column, exp.Alias | exp.Column):
        return column.alias_or_name
    return str(column.meta.get(WRITTEN) or column.sql(DIALECT))


def _star(node: exp.Expr) -> bool:
    return isinstance(node, exp.Star) or (isinstance(node, exp.Column) and isinstance(node.this, exp.Star))


def _proper_names(given: list[str | None], tree: exp.Query, by_table: Mapping[str, DataEntity]) -> Iterator[str]:
    """Return the heading of each column; a column's own name is written as F&O does."""
    proper = {name.casefold(): name for entity in by_table.values() for name in entity.properties}
    outer = tree.selects
    if len(given) != len(outer) or None in given:
        given = [each.alias_or_name for each in outer]
    for name, each in zip(given, outer, strict=True):
        inner = each.unalias()
        is_own = isinstance(inner, exp.Column) and inner.name.casefold() == str(name).casefold()
        yield proper.get(str(name).casefold(), str(name)) if is_own else str(name)

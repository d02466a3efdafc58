"""Reads one SELECT over entity sets: which records it needs, and what of choosing them F&O can do. Performs no I/O.

What is pushed down may only widen what is fetched, never narrow it: DuckDB applies every predicate again, so the answer
does not depend on it. Predicates are handed over as ordinary OData; `d365.odata` knows F&O's dialect.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import sqlglot
from sqlglot import exp
from sqlglot.errors import OptimizeError, ParseError, TokenError
from sqlglot.optimizer.pushdown_projections import pushdown_projections
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import Scope, traverse_scope

from d365mcp.d365.models import DataEntity
from d365mcp.errors import InvalidArgument, UnknownName, close_names, or_list
from d365mcp.sql.pushdown import Constants, pushed
from d365mcp.sql.types import column_type

DIALECT = "duckdb"
MAX_SQL_CHARS = 20_000
MAX_COLUMNS = 80
READ_ONE_SELECT = (
    "Give one SELECT over entity sets, for example: SELECT CustomerGroupId, count(*) FROM CustomersV3 GROUP BY 1"
)

# What people write who come from F&O's own database.
OTHER_DIALECTS = (
    "This is DuckDB's SQL: LIMIT 5, not TOP 5; coalesce, not ISNULL; strftime(d, '%Y-%m'), not FORMAT; "
    'd + INTERVAL 1 DAY, not DATEADD; "Name", not [Name].'
)


@dataclass(frozen=True)
class Scan:
    """The records one table of the statement needs: an entity's columns, and what OData can say about its rows."""

    name: str  # the DuckDB table they go to
    entity: DataEntity
    columns: tuple[str, ...]
    filter: str = ""  # ordinary OData
    exact: bool = True  # whether `filter` says all that the statement says about these rows
    order_by: tuple[str, ...] = ()
    top: int | None = None  # rows that suffice, where the statement's own LIMIT allows it

    def unfiltered(self) -> list[str]:
        """Return the columns the statement reads and does not filter by: what would narrow the scan."""
        return [name for name in self.columns if name not in self.filter]


@dataclass(frozen=True)
class Plan:
    """A statement ready for DuckDB, the scans it stands on, and the names its columns are shown by."""

    sql: str
    scans: tuple[Scan, ...]
    headings: tuple[str, ...]


def parse(sql: str) -> exp.Query:
    """Return the statement's tree. Raises InvalidArgument for anything but one SELECT without side doors."""
    if len(sql) > MAX_SQL_CHARS:
        raise InvalidArgument(f"The statement has {len(sql)} characters; {MAX_SQL_CHARS} is the most.")
    try:
        statements = [each for each in sqlglot.parse(sql, read=DIALECT) if each is not None]
    except (ParseError, TokenError, RecursionError) as problem:
        raise InvalidArgument(f"This is not SQL that can be read: {complaint(problem)}", hint=OTHER_DIALECTS) from None
    if len(statements) != 1 or not isinstance(statements[0], exp.Select | exp.SetOperation):
        raise InvalidArgument(f"Only one SELECT is run here. {READ_ONE_SELECT}")
    refuse_side_doors(statements[0])
    return statements[0]


def refuse_side_doors(tree: exp.Query) -> None:
    """Raise InvalidArgument for what is more than reading entity sets."""
    for node in tree.walk():
        if isinstance(node, exp.Placeholder | exp.Parameter):
            raise InvalidArgument("The statement has a parameter: write the value itself.")
        if isinstance(node, exp.Into | exp.DML | exp.DDL) and not isinstance(node, exp.Query):
            raise InvalidArgument(f"Only one SELECT is run here. {READ_ONE_SELECT}")
        if isinstance(node, exp.Table):
            refuse_odd_table(node)


def refuse_odd_table(table: exp.Table) -> None:
    if not isinstance(table.this, exp.Identifier):
        raise InvalidArgument(f"{table.sql(DIALECT)[:80]} is not an entity set: table functions are not run here.")
    if table.args.get("db") or table.args.get("catalog"):
        raise InvalidArgument(f"Write the entity set alone, without a schema: {table.name}.")


def complaint(problem: Exception) -> str:
    """Return a parser's complaint with its place, and without its own insides."""
    if not isinstance(problem, ParseError) or not problem.errors:
        return first_line(problem)
    found = problem.errors[0]
    reason = re.split(r" (?:for|but got) <", str(found["description"]))[0]
    return f"{reason}, at {found['highlight']} in line {found['line']}, column {found['col']}."[:300]


def first_line(problem: Exception) -> str:
    """Return a parser's complaint without its terminal colours."""
    text = str(problem).replace("\x1b[4m", "").replace("\x1b[0m", "").strip()
    return (text.splitlines() or ["it is nested too deeply"])[0][:300]


def table_names(tree: exp.Query) -> list[str]:
    """Return the entity names a statement reads from, each once; its own CTEs are not among them."""
    return list(dict.fromkeys(table.name for table in entity_tables(tree)))


def column_names(tree: exp.Query) -> list[str]:
    """Return the names of all columns a statement mentions, as it writes them."""
    return list(dict.fromkeys(column.name for column in tree.find_all(exp.Column)))


def entity_tables(tree: exp.Query) -> Iterator[exp.Table]:
    own = {cte.alias.casefold() for cte in tree.find_all(exp.CTE)}
    yield from (table for table in tree.find_all(exp.Table) if table.name.casefold() not in own)


def plan(tree: exp.Query, entities: Mapping[str, DataEntity], constants: Constants, *, push: bool = True) -> Plan:
    """Plan a parsed statement; `entities` has each of its `table_names`. Raises InvalidArgument and UnknownName.

    `push=False` fetches whole tables: what pushing down must never change the answer of.
    """
    shown = headings(tree)
    for table in entity_tables(tree):
        if not table.alias:
            table.set("alias", exp.TableAlias(this=exp.to_identifier(table.name)))
        table.set("this", exp.to_identifier(entities[table.name].entity_set.lower()))
    by_table = {entity.entity_set.lower(): entity for entity in entities.values()}
    qualified = qualify_columns(tree, by_table)
    scans = Scans(by_table, needed_columns(qualified, by_table))
    for scope in traverse_scope(qualified):
        for alias, table in entity_sources(scope, by_table):
            texts, exact = pushed(scope.expression, alias, by_table[table.name], constants) if push else ([], False)
            scans.add(table, texts, exact)
    found = scans.result()
    refuse_wide(found)
    if push and len(found) == 1:
        found = (with_limit(qualified, found[0]),)
    return Plan(qualified.sql(DIALECT), found, tuple(shown_names(shown, qualified, by_table)))


def qualify_columns(tree: exp.Query, by_table: Mapping[str, DataEntity]) -> exp.Query:
    """Return the tree with every column's table named and every star spelled out."""
    schema: dict[str, object] = {
        table: {prop.name.lower(): column_type(prop) for prop in entity.properties.values()}
        for table, entity in by_table.items()
    }
    columns = {column.name.casefold(): column.name for column in tree.find_all(exp.Column)}
    try:
        return pushdown_projections(qualify(tree, schema=schema, dialect=DIALECT))
    except OptimizeError as problem:
        raise unresolved(columns, by_table, first_line(problem)) from None


def unresolved(columns: Mapping[str, str], by_table: Mapping[str, DataEntity], complaint: str) -> InvalidArgument:
    """Return the error for a column that no table has, naming the close ones."""
    if not by_table:
        return InvalidArgument("The statement reads no entity set: name one after FROM.")
    known = {name.casefold(): name for entity in by_table.values() for name in entity.properties}
    for folded, name in columns.items():
        if folded not in known and re.search(rf"\b{re.escape(folded)}\b", complaint.casefold()):
            tables = or_list([entity.entity_set for entity in by_table.values()])
            hint = f"d365fo_get_entity_schema lists the columns of {tables}."
            return UnknownName("column", name, close_names(name, known.values()), hint=hint)
    return InvalidArgument(f"{complaint} Columns of tables joined need their table's alias before them.")


def refuse_wide(scans: Iterable[Scan]) -> None:
    for scan in scans:
        if len(scan.columns) > MAX_COLUMNS:
            name = scan.entity.entity_set
            raise InvalidArgument(f"{name} has {len(scan.columns)} columns: name those you need instead of *.")


def entity_sources(scope: Scope, by_table: Mapping[str, DataEntity]) -> Iterator[tuple[str, exp.Table]]:
    for alias, source in scope.sources.items():
        if isinstance(source, exp.Table) and source.name in by_table and source in scope.tables:
            yield alias, source


def needed_columns(tree: exp.Query, by_table: Mapping[str, DataEntity]) -> dict[str, set[str]]:
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
    found: dict[tuple[str, str], Scan] = field(default_factory=dict)

    def add(self, table: exp.Table, texts: Iterable[str], exact: bool) -> None:
        """Add what `table` needs, and point it at the DuckDB table that will have it."""
        entity = self.by_table[table.name]
        asked = " and ".join(f"({text})" for text in texts)
        scan = self.found.get((table.name, asked))
        if scan is None:
            columns = tuple(name for name in entity.properties if name in self.needed[table.name])
            scan = Scan(f"t{len(self.found) + 1}", entity, columns or (entity.key[0].name,), asked, exact)
            self.found[table.name, asked] = scan
        table.set("this", exp.to_identifier(scan.name, quoted=True))

    def result(self) -> tuple[Scan, ...]:
        return tuple(self.found.values())


def with_limit(tree: exp.Query, scan: Scan) -> Scan:
    """Return the scan cut to the statement's LIMIT, where F&O's first rows are the statement's."""
    if not isinstance(tree, exp.Select) or not scan.exact or not is_plain(tree):
        return scan
    limit, offset = count_of(tree.args.get("limit")), count_of(tree.args.get("offset"))
    if limit is None:
        return scan
    order = tree.args.get("order")
    keys = [pushed_order(each, scan.entity) for each in order.expressions] if order else []
    if any(key is None for key in keys):
        return scan
    rows = limit + (offset or 0)
    return Scan(scan.name, scan.entity, scan.columns, scan.filter, True, tuple(key for key in keys if key), rows)


def is_plain(tree: exp.Select) -> bool:
    """Return whether rows come out as they went in: no joins, groups, windows or distinct."""
    parts = ("joins", "group", "having", "distinct", "qualify", "with_", "with", "laterals", "sample", "windows")
    reshaping = (exp.AggFunc, exp.Window, exp.Explode, exp.Subquery, exp.Exists)
    return not any(tree.args.get(part) for part in parts) and not any(tree.find(kind) for kind in reshaping)


def count_of(node: exp.Expr | None) -> int | None:
    value = node.expression if node is not None else None
    return int(value.this) if isinstance(value, exp.Literal) and value.is_int else None


def pushed_order(item: exp.Expr, entity: DataEntity) -> str | None:
    """Return an order F&O and DuckDB agree on: numbers only, for text has collations and dates have empty ones."""
    column = item.this
    if not isinstance(item, exp.Ordered) or not isinstance(column, exp.Column) or item.args.get("nulls_first"):
        return None
    name = entity.names_by_folded.get(column.name.casefold())
    if name is None or column_type(entity.properties[name]) not in ("DOUBLE", "INTEGER", "BIGINT"):
        return None
    return f"{name} desc" if item.args.get("desc") else name


def headings(tree: exp.Query) -> list[str | None]:
    """Return the names the author gave to the columns, or what he wrote; None for a star."""
    named = (exp.Alias, exp.Column)
    return [
        None if star(each) else each.alias_or_name if isinstance(each, named) else each.sql(DIALECT)
        for each in tree.selects
    ]


def star(node: exp.Expr) -> bool:
    return isinstance(node, exp.Star) or (isinstance(node, exp.Column) and isinstance(node.this, exp.Star))


def shown_names(shown: list[str | None], tree: exp.Query, by_table: Mapping[str, DataEntity]) -> Iterator[str]:
    """Return the heading of each column; a column's own name is written as F&O does."""
    proper = {name.casefold(): name for entity in by_table.values() for name in entity.properties}
    outer = tree.selects
    if len(shown) != len(outer) or None in shown:
        shown = [each.alias_or_name for each in outer]
    for name, each in zip(shown, outer, strict=True):
        inner = each.unalias()
        is_own = isinstance(inner, exp.Column) and inner.name.casefold() == str(name).casefold()
        yield proper.get(str(name).casefold(), str(name)) if is_own else str(name)

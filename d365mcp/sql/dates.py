"""Dates in a statement: text beside them is read as dates, and what has no date counts as 1900-01-01 where it is compared.

F&O has no null dates: it stores 1900-01-01, and compares with it as with any other day. So do DuckDB's tables here. Whatever
else a statement does with such a date (IS NULL, count, min, arithmetic, the answer itself) finds NULL. Pure.
"""

import datetime
from collections.abc import Iterator, Sequence

from sqlglot import exp

from d365mcp.errors import InvalidArgument
from d365mcp.sql.blocks import OPPOSITE, Block, Blocks, Compared, Origin, all_pairs
from d365mcp.sql.calendar import EMPTY_DAY, read_date
from d365mcp.sql.child.loading import quoted_name
from d365mcp.sql.types import DATES, column_type

_COMPARISONS = (*OPPOSITE, exp.Between, exp.In)
DATE_PARTS = ("date_part", "datepart")
WHOLE_DAYS = (datetime.time(0), datetime.time(12))  # 12:00 is how F&O writes a date


def calendar_function(node: exp.Expr) -> tuple[str, exp.Expr]:
    """Return what of a date a function takes (`year`, or the unit it is cut to) and of what; empty for another."""
    match node:
        case exp.Year():
            return "year", node.this
        case exp.Extract() if node.this.name.upper() == "YEAR":
            return "year", node.expression
        case exp.Anonymous(this=str(name), expressions=[exp.Literal(this="year"), inner]) if name.lower() in DATE_PARTS:
            return "year", inner
        case exp.TimestampTrunc() | exp.DateTrunc():
            return str(node.args["unit"].name).lower(), node.this
        case exp.Date() if not node.expressions:
            return "day", node.this
        case exp.Cast() if node.to.is_type("date"):
            return "day", node.this
    return "", node


def _is_date(origins: tuple[Origin, ...]) -> bool:
    return bool(origins) and all(column_type(origin.prop) in DATES for origin in origins)


def _compared(block: Block) -> Iterator[Compared]:
    """Yield every comparison of a date, or of what a calendar function makes of one."""
    for operator, one, other in all_pairs(block):
        column = calendar_function(one.unnest())[1].unnest()
        if _is_date(origins := block.origins(column)):
            yield Compared(operator, one.unnest(), other, origins)


def type_dates(blocks: Blocks) -> None:
    """Make dates of the text that is compared with dates. Raises InvalidArgument for text that is none."""
    for block in blocks:
        for each in [*_compared(block)]:
            other = each.other.unnest()
            if block.origins(each.column) and isinstance(other, exp.Literal | exp.Boolean):
                other.replace(_typed(each, other))
        for cast in block.scope.find_all(exp.Cast):
            is_date_literal = cast.to.is_type("date", "timestamp", "timestamptz") and _is_text(cast.this)
            if is_date_literal and read_date(cast.this.name) is None:
                raise InvalidArgument(f"{cast.this.sql()} is no date: write {_suggestion(cast.this.name)}.")


def _typed(compared: Compared, literal: exp.Expr) -> exp.Expr:
    """Return a literal beside a date as a date or a time."""
    props = [origin.prop for origin in compared.origins]
    date = read_date(literal.name) if _is_text(literal) else None
    if date is None:
        raise InvalidArgument(f"{props[0].name} is a date: write {_suggestion(literal.name)}, not {literal.sql()}.")
    if isinstance(date, datetime.datetime) and all(column_type(prop) == "DATE" for prop in props):
        if date.time() in WHOLE_DAYS:
            date = date.date()
        elif compared.operator not in (exp.GT, exp.GTE, exp.LT, exp.LTE):
            raise InvalidArgument(
                f"{props[0].name} is a date without a time: write '{date:%Y-%m-%d}', not {literal.sql()}."
            )
    return date_literal(date)


def _is_text(node: exp.Expr) -> bool:
    return isinstance(node, exp.Literal) and node.is_string


def _suggestion(text: str) -> str:
    """Return how to write a date, the one that was meant where that is plain."""
    digits = text.strip()
    if len(digits) == 8 and digits.isascii() and digits.isdecimal():
        text = f"{digits[:4]}-{digits[4:6]}-{digits[6:]}"
    date = read_date(text)
    return f"'{date:%Y-%m-%d}'" if date else "a date such as '2026-07-14'"


def date_literal(date: datetime.date) -> exp.Expr:
    is_time = isinstance(date, datetime.datetime)
    return exp.cast(exp.Literal.string(str(date)), "TIMESTAMP" if is_time else "DATE")


def bounded_from_above(blocks: Blocks) -> list[tuple[exp.Table, str]]:
    """Return each table's dates that are only bounded from above: records without one are among those found."""
    ceilings: dict[tuple[int, str], tuple[exp.Table, str]] = {}
    floors: set[tuple[int, str]] = set()
    for block in blocks:
        for each in _compared(block):
            for origin in each.origins:
                if each.operator in (exp.LT, exp.LTE):
                    ceilings[_place(origin)] = (origin.table, origin.prop.name)
                else:
                    floors.add(_place(origin))
        for test in block.scope.find_all(exp.Is):
            floors |= {_place(origin) for origin in block.origins(test.this)}
    return [found for place, found in ceilings.items() if place not in floors]


def _place(origin: Origin) -> tuple[int, str]:
    return id(origin.table), origin.prop.name


def empty_dates(places: Sequence[tuple[str, str]]) -> str:
    """Return the SELECT of the names among these tables' columns in which some record has no date."""
    tests = [
        f"SELECT {exp.Literal.string(column).sql()} AS name WHERE EXISTS "  # noqa: S608 - names in quotes
        f"(SELECT 1 FROM {quoted_name(table)} WHERE {quoted_name(column)} = {date_literal(EMPTY_DAY).sql()})"
        for table, column in places
    ]
    return " UNION ".join(tests)


def set_empty_aside(blocks: Blocks) -> None:
    """Make NULL of empty dates wherever they are not compared. To be done last: predicates change."""
    changes: list[exp.Column] = []
    for block in blocks:
        read_out = _is_read_out(block)
        group = block.query.args.get("group")
        made_by = list(group.expressions) if group is not None else []
        changes += [
            column
            for column in block.scope.find_all(exp.Column)
            if _may_be_empty(block, column) and not _keeps_empty(block, column, made_by, read_out=read_out)
        ]
    for column in changes:
        column.replace(exp.Nullif(this=column.copy(), expression=date_literal(EMPTY_DAY)))


def _may_be_empty(block: Block, column: exp.Column) -> bool:
    return any(column_type(origin.prop) in DATES for origin in block.origins(column, partly=True))


def _is_read_out(block: Block) -> bool:
    """Return whether a block's columns are values for a reader or an expression, rather than for another block."""
    node: exp.Expr = block.query
    while isinstance(node.parent, exp.Subquery | exp.SetOperation | exp.Paren):
        node = node.parent
    return not isinstance(node.parent, (exp.CTE, exp.From, exp.Join, exp.Lateral, exp.Any, exp.All, *_COMPARISONS))


def _keeps_empty(block: Block, column: exp.Column, made_by: list[exp.Expr], *, read_out: bool) -> bool:
    """Return whether a date stands where an empty one is 1900-01-01: compared, grouped, or handed on as it is."""
    node, parent = _up(column)
    if block.origins(parent):  # one of those that USING makes one of
        node, parent = _up(parent)
    if isinstance(parent, exp.Tuple):
        node, parent = _up_from_row(parent)
    if calendar_function(parent)[0] and parent not in made_by:
        return _is_comparison(_up(parent)[1])
    match parent:
        case exp.Alias() | exp.Select():
            return not read_out
        case exp.Case():
            return node is parent.this
        case exp.If():
            return isinstance(parent.parent, exp.Case) and parent.parent.this is not None and node is parent.this
    return _is_comparison(parent) or isinstance(parent, exp.Group | exp.Rollup | exp.Cube | exp.GroupingSets)


def _is_comparison(node: exp.Expr) -> bool:
    """Return whether a node compares values, rather than asks whether there is one."""
    if isinstance(node, exp.NullSafeEQ | exp.NullSafeNEQ):
        return not any(isinstance(side.unnest(), exp.Null) for side in (node.this, node.expression))
    return isinstance(node, _COMPARISONS)


def _up_from_row(row: exp.Expr) -> tuple[exp.Expr, exp.Expr]:
    """Return a row of values with what it is compared in: IN has a list of rows, too."""
    node, parent = _up(row)
    return _up(parent) if isinstance(parent, exp.Tuple) else (node, parent)


def _up(node: exp.Expr) -> tuple[exp.Expr, exp.Expr]:
    """Return a node with the parentheses about it, and what it stands in."""
    while isinstance(node.parent, exp.Paren):
        node = node.parent
    return node, node.parent or node

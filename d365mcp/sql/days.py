"""Which columns of an answer are days, although DuckDB makes times of them: `date_trunc('month', d)`, `d + INTERVAL 1 DAY`. Pure.

What is not known here stays a time.
"""

import re
from collections.abc import Iterator

from sqlglot import exp

from d365mcp.sql.blocks import Block
from d365mcp.sql.calendar import UNITS
from d365mcp.sql.dates import calendar_function
from d365mcp.sql.types import column_type

_WHOLE = re.compile(r"\s*-?\d+\s*", re.ASCII)
_INTERVALS = ("to_weeks", "to_months", "to_quarters", "to_years")
_DAYS = (exp.CurrentDate, exp.DateFromParts, exp.LastDay)
# What gives back one of the values that it is given.
_SAME = (exp.AnyValue, exp.Filter, exp.First, exp.IgnoreNulls, exp.Last, exp.Max, exp.Min, exp.Nullif, exp.Window)
_ONE_OF = (exp.Coalesce, exp.Greatest, exp.Least)


def day_columns(block: Block) -> Iterator[int]:
    """Yield the places of a block's columns that are days."""
    yield from (place for place in range(len(block.query.selects)) if _is_day_at(block, place))


def _is_day_at(block: Block, place: int) -> bool:
    if block.arms:
        return not block.query.args.get("by_name") and all(_is_day_at(arm, place) for arm in block.arms)
    selects = block.query.selects
    return place < len(selects) and _is_day(block, selects[place].unalias())


def _is_day(block: Block, node: exp.Expr) -> bool:
    node = node.unnest()
    if origins := block.origins(node):
        return all(column_type(origin.prop) == "DATE" for origin in origins)
    match node:
        case exp.Column():
            holder = block.holder(node.table)
            source = holder.source(node.table) if holder else None
            return isinstance(source, Block) and _is_named_day(source, node.name)
        case exp.Query():
            inner = block.blocks.by_query.get(id(node))
            return inner is not None and _is_day_at(inner, 0)
        case exp.Cast():
            return bool(node.to.is_type("date"))
        case exp.TimestampTrunc() | exp.DateTrunc():
            return _is_day(block, calendar_function(node)[1])
        case exp.Add():
            sides = (node.this, node.expression)
            return any(_is_day(block, one) and _is_days(other) for one, other in (sides, sides[::-1]))
        case exp.Sub() | exp.DateAdd():
            return _is_day(block, node.this) and _is_days(node.expression)
        case exp.Case():
            return all(_is_day(block, each) for each in _branches(node))
    if isinstance(node, _ONE_OF):
        return all(_is_day(block, each) for each in (node.this, *node.expressions))
    return isinstance(node, _DAYS) or (isinstance(node, _SAME) and _is_day(block, node.this))


def _is_named_day(block: Block, name: str) -> bool:
    return block.names.count(name) == 1 and _is_day_at(block, block.names.index(name))


def _branches(case: exp.Case) -> list[exp.Expr]:
    """Return what a CASE may come to, other than NULL."""
    branches = [*(each.args["true"] for each in case.args["ifs"]), case.args.get("default")]
    return [each for each in branches if each is not None and not isinstance(each, exp.Null)]


def _is_days(node: exp.Expr) -> bool:
    """Return whether a number or an interval is a whole number of days."""
    node = node.unnest()
    if isinstance(node, exp.Anonymous):
        return node.name.lower() in _INTERVALS
    if not isinstance(node, exp.Interval):
        return isinstance(node, exp.ToDays) or (isinstance(node, exp.Literal) and node.is_int)
    if node.text("unit").lower().removesuffix("s") not in UNITS:
        return False
    return not isinstance(node.this, exp.Literal) or bool(_WHOLE.fullmatch(node.this.name))

"""What of a SELECT's predicates F&O can apply itself, written as ordinary OData. Performs no I/O of its own.

Every text printed here keeps at least the rows the predicate keeps. Not pushed: ranges over text (collations differ),
anything about NULL, values with `*` (a wildcard to F&O), times of day on dates that F&O keeps at noon.
"""

import datetime
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from typing import Any

from sqlglot import exp

from d365mcp.d365.models import DataEntity, EntityProperty
from d365mcp.d365.odata import translate_filter
from d365mcp.errors import InvalidArgument, UnknownName
from d365mcp.sql.types import column_type

# Evaluates an expression without columns (date_trunc('quarter', current_date), 1 + 1) to a Python value.
Constants = Callable[[exp.Expr], Any]

COMPARISONS = {exp.EQ: "eq", exp.NEQ: "ne", exp.GT: "gt", exp.GTE: "ge", exp.LT: "lt", exp.LTE: "le"}
MIRRORED = {"eq": "eq", "ne": "ne", "gt": "lt", "ge": "le", "lt": "gt", "le": "ge"}


class NotPushable(Exception):
    """This predicate is for DuckDB alone."""


def pushed(select: exp.Expr, alias: str, entity: DataEntity, constants: Constants) -> tuple[list[str], bool]:
    """Return the OData texts of what `select` says about `alias` alone, and whether they say all of it."""
    printer = Printer(alias, entity, constants)
    texts, exact = [], True
    for predicate in predicates(select, alias):
        try:
            text = printer.text(predicate)
            translate_filter(text, entity)
        except UnknownName:
            raise  # an enumeration member that does not exist would silently match nothing
        except (NotPushable, InvalidArgument):
            exact = False
        else:
            texts.append(text)
    return texts, exact


def predicates(select: exp.Expr, alias: str) -> Iterator[exp.Expr]:
    """Yield the conjuncts that decide which rows of `alias` matter.

    WHERE goes to every table, also the optional side of an outer join: a comparison is never true of NULL, so rows it
    drops could not have come through. ON goes to both sides of an inner join, and to the optional side of an outer one.
    """
    if where := select.args.get("where"):
        yield from conjuncts(where.this)
    for join in select.args.get("joins") or ():
        on, side, kind = join.args.get("on"), join.side, join.kind
        inner = not side and kind in ("", "INNER", "CROSS")
        if on is not None and (inner or (side == "LEFT" and join.alias_or_name == alias)):
            yield from conjuncts(on)


def conjuncts(condition: exp.Expr) -> Iterable[exp.Expr]:
    node = condition.unnest()
    return node.flatten() if isinstance(node, exp.And) else [node]


class Printer:
    """Prints predicates about one table as OData."""

    def __init__(self, alias: str, entity: DataEntity, constants: Constants) -> None:
        self.alias = alias
        self.entity = entity
        self.constants = constants

    def text(self, node: exp.Expr) -> str:
        """Return the OData of a predicate. Raises NotPushable."""
        match node:
            case exp.Paren():
                return self.text(node.this)
            case exp.And() | exp.Or():
                word = "and" if isinstance(node, exp.And) else "or"
                return f"({self.text(node.left)}) {word} ({self.text(node.right)})"
            case exp.EQ() | exp.NEQ() | exp.GT() | exp.GTE() | exp.LT() | exp.LTE():
                return self.comparison(node)
            case exp.Between():
                low, high = exp.GTE(this=node.this, expression=node.args["low"]), node.args["high"]
                return f"({self.comparison(low)}) and ({self.comparison(exp.LTE(this=node.this, expression=high))})"
            case exp.In() if node.expressions:
                prop = self.property(node.this)
                return f"{prop.name} in ({','.join(self.literal(prop, 'eq', each) for each in node.expressions)})"
            case exp.Like() | exp.ILike():
                return self.like(node)
            case exp.Column():
                prop = self.property(node)
                if column_type(prop) == "BOOLEAN":
                    return f"{prop.name} eq true"
        raise NotPushable

    def comparison(self, node: exp.Expr) -> str:
        operator = COMPARISONS[type(node)]  # type: ignore[index]
        if isinstance(node.this, exp.Column):
            prop, value = self.property(node.this), node.expression
        else:
            prop, value, operator = self.property(node.expression), node.this, MIRRORED[operator]
        return f"{prop.name} {operator} {self.literal(prop, operator, value)}"

    def property(self, node: exp.Expr) -> EntityProperty:
        """Return the table's property a node is. Raises NotPushable for anything else."""
        if not isinstance(node, exp.Column) or node.table != self.alias:
            raise NotPushable
        name = self.entity.names_by_folded.get(node.name.casefold())
        if name is None:
            raise NotPushable
        return self.entity.properties[name]

    def literal(self, prop: EntityProperty, operator: str, node: exp.Expr) -> str:
        """Return a constant as an OData literal that fits the property."""
        value, kind = self.value(node), column_type(prop)
        if kind in ("DATE", "TIMESTAMP"):
            return moment(value, kind)
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, str):
            return self.text_literal(prop, operator, value, kind)
        if isinstance(value, int | float | Decimal) and kind in ("DOUBLE", "INTEGER", "BIGINT"):
            return f"{Decimal(str(value)):f}"
        raise NotPushable

    def text_literal(self, prop: EntityProperty, operator: str, value: str, kind: str) -> str:
        ranged = operator not in ("eq", "ne")
        if kind != "VARCHAR" or "*" in value or ranged or (prop.enumeration and operator == "ne"):
            raise NotPushable
        return quoted(value)

    def value(self, node: exp.Expr) -> Any:
        if node.find(exp.Column, exp.Subquery, exp.Select):
            raise NotPushable
        if isinstance(node, exp.Literal) and node.is_string:
            return node.this
        value = self.constants(node)
        if value is None:
            raise NotPushable
        return value

    def like(self, node: exp.Like | exp.ILike) -> str:
        """Return LIKE with % at its ends only; F&O knows no other wildcard that means the same."""
        prop, pattern = self.property(node.this), self.value(node.expression)
        if not isinstance(pattern, str) or prop.enumeration or column_type(prop) != "VARCHAR":
            raise NotPushable
        inner = pattern.strip("%")
        if not inner or any(sign in inner for sign in "%_*\\"):
            raise NotPushable
        starts, ends = not pattern.startswith("%"), not pattern.endswith("%")
        if starts and ends:
            return f"{prop.name} eq {quoted(inner)}"
        function = "startswith" if starts else "endswith" if ends else "contains"
        return f"{function}({prop.name},{quoted(inner)})"


def moment(value: Any, kind: str) -> str:
    """Return a date or a time as OData writes it, in UTC."""
    if isinstance(value, str):
        try:
            value = datetime.datetime.fromisoformat(value)
        except ValueError:
            raise NotPushable from None
    if not isinstance(value, datetime.datetime):
        if not isinstance(value, datetime.date):
            raise NotPushable
        value = datetime.datetime.combine(value, datetime.time())
    if kind == "DATE":
        if value.time() != datetime.time():
            raise NotPushable
        return f"{value:%Y-%m-%d}"
    if value.tzinfo is not None:
        value = value.astimezone(datetime.UTC)
    return f"{value:%Y-%m-%dT%H:%M:%S}Z"


def quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"

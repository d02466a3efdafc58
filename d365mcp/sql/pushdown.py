"""What of a statement's predicates F&O can apply itself, written as ordinary OData. Pure.

Every text keeps at least the rows that the predicate keeps, and what is not known for certain is not pushed: a node with an
argument that `KNOWN` does not name, ranges over text and "is not this text" (collations differ), values with `*` (a
wildcard to F&O). DuckDB applies every predicate again.
"""

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from sqlglot import exp

from d365mcp.d365.filters.literals import value_text
from d365mcp.d365.filters.translate import translate_filter
from d365mcp.d365.models import DataEntity, EntityProperty
from d365mcp.errors import InvalidArgument
from d365mcp.sql.blocks import OPPOSITE
from d365mcp.sql.calendar import EMPTY_DAY, UNITS, first_after, read_date, truncated, without_zone
from d365mcp.sql.dates import calendar_function
from d365mcp.sql.types import DATES, NUMBERS, column_type

OPERATORS: dict[type[exp.Expr], str] = {
    exp.EQ: "eq", exp.NEQ: "ne", exp.GT: "gt", exp.GTE: "ge", exp.LT: "lt", exp.LTE: "le"
}  # fmt: skip
_MIRRORED = {"eq": "eq", "ne": "ne", "gt": "lt", "ge": "le", "lt": "gt", "le": "ge"}
# The arguments of a node that are known here. A node with another one means something else.
KNOWN: dict[type[exp.Expr], frozenset[str]] = {
    **dict.fromkeys((*OPERATORS, exp.And, exp.Or, exp.Like, exp.ILike), frozenset({"this", "expression"})),
    **dict.fromkeys((exp.StartsWith, exp.EndsWith, exp.Contains, exp.Is), frozenset({"this", "expression"})),
    **dict.fromkeys((exp.Paren, exp.Not, exp.Lower, exp.Upper, exp.Year, exp.Date), frozenset({"this"})),
    exp.Trim: frozenset({"this", "position"}),
    exp.Between: frozenset({"this", "low", "high"}),
    exp.In: frozenset({"this", "expressions"}),
    exp.Column: frozenset({"this", "table"}),
    exp.Cast: frozenset({"this", "to"}),
    exp.TryCast: frozenset({"this", "to", "safe"}),
    exp.Extract: frozenset({"this", "expression"}),
    exp.TimestampTrunc: frozenset({"this", "unit"}),
    exp.DateTrunc: frozenset({"this", "unit"}),
    exp.Anonymous: frozenset({"this", "expressions"}),
}
# A float of this size has all digits that a number of F&O's has after the point.
MAX_FLOAT = 1e9
TRIMMED = {"": "contains", "BOTH": "contains", "LEADING": "endswith", "TRAILING": "startswith"}


class NotPushable(Exception):
    """This predicate is for DuckDB alone."""


@dataclass(frozen=True)
class Subject:
    """What is compared: a property, or what a function makes of it (`year`, `month`, …, `trim`)."""

    prop: EntityProperty
    function: str = ""


@dataclass(frozen=True)
class Pushed:
    """An OData text, and whether it says all that the predicate says."""

    text: str
    exact: bool


def pushed(
    facts: Sequence[exp.Expr], name: str, entity: DataEntity, values: Mapping[str, Any]
) -> tuple[list[str], bool]:
    """Return the OData texts of facts about the source `name`, and whether they say all of them.

    `values` has what the statement's constant expressions come to, by their SQL.
    """
    printer = Printer(name, entity, values)
    found = [printer.attempt(fact) for fact in facts]
    texts = dict.fromkeys(each.text for each in found if each is not None)
    return list(texts), all(each is not None and each.exact for each in found)


class Printer:
    """Prints predicates about one table as OData."""

    def __init__(self, name: str, entity: DataEntity, values: Mapping[str, Any]) -> None:
        self.name = name
        self.entity = entity
        self.values = values

    def attempt(self, node: exp.Expr) -> Pushed | None:
        try:
            return self.printed(node)
        except NotPushable:
            return None

    def printed(self, node: exp.Expr) -> Pushed:
        """Return the OData of a predicate. Raises NotPushable."""
        _check_known(node)
        match node:
            case exp.Paren():
                return self.printed(node.this)
            case exp.And():
                return _joined([self.attempt(each) for each in node.flatten()])
            case exp.Or():
                parts = [self.printed(each) for each in node.flatten()]
                return Pushed(" or ".join(f"({each.text})" for each in parts), all(each.exact for each in parts))
            case exp.Between():
                sides = (
                    exp.GTE(this=node.this, expression=node.args["low"]),
                    exp.LTE(this=node.this, expression=node.args["high"]),
                )
                return _joined([self.attempt(each) for each in sides])
            case exp.In():
                return self.printed(exp.or_(*(exp.EQ(this=node.this, expression=each) for each in node.expressions)))
        return self.checked(self.leaf(node))

    def checked(self, leaf: Pushed) -> Pushed:
        """Return a text that the filter language takes for this entity. Raises NotPushable for another."""
        try:
            translate_filter(leaf.text, self.entity)
        except InvalidArgument:
            raise NotPushable from None
        return leaf

    def leaf(self, node: exp.Expr) -> Pushed:
        match node:
            case exp.Not():
                return self.negated(node.this.unnest())
            case exp.Like() | exp.ILike():
                return self.like(self.subject(node.this), self.value(node.expression))
            case exp.StartsWith() | exp.EndsWith() | exp.Contains():
                function = type(node).__name__.lower()
                return _searched(function, self.subject(node.this), self.value(node.expression), exact=False)
            case exp.Is(expression=exp.Null()):
                return self.empty(self.subject(node.this), "eq")
            case exp.Column():
                return self.flag(node, value=True)
        if type(node) in OPERATORS:
            return self.comparison(node)
        raise NotPushable

    def negated(self, node: exp.Expr) -> Pushed:
        _check_known(node)
        if type(node) in OPPOSITE:
            return self.comparison(OPPOSITE[type(node)](this=node.this, expression=node.expression))
        if isinstance(node, exp.Is) and isinstance(node.expression, exp.Null):
            return self.empty(self.subject(node.this), "ne")
        return self.flag(node, value=False)

    def flag(self, node: exp.Expr, *, value: bool) -> Pushed:
        prop = self.property(node)
        if column_type(prop) != "BOOLEAN":
            raise NotPushable
        return Pushed(f"{prop.name} eq {str(value).lower()}", exact=True)

    def empty(self, subject: Subject, operator: str) -> Pushed:
        """Return what asks for dates that are empty, or are not."""
        if subject.function or column_type(subject.prop) not in DATES:
            raise NotPushable
        return _of_date(subject.prop, operator, EMPTY_DAY)

    def comparison(self, node: exp.Expr) -> Pushed:
        operator = OPERATORS[type(node)]
        try:
            subject, other = self.subject(node.this), node.expression
        except NotPushable:
            subject, other, operator = self.subject(node.expression), node.this, _MIRRORED[operator]
        return _compared(subject, operator, self.value(other))

    def subject(self, node: exp.Expr) -> Subject:
        """Return what of the table a node is. Raises NotPushable."""
        _check_known(node)
        match node:
            case exp.Paren():
                return self.subject(node.this)
            case exp.Column():
                return Subject(self.property(node))
            case exp.Lower() | exp.Upper():  # both sides compare without case
                return _of_text_alone(self.subject(node.this))
            case exp.Trim():
                function = "trim " + TRIMMED[str(node.args.get("position") or "").upper()]
                return replace(_of_text_alone(self.subject(node.this), plain=True), function=function)
        function, inner = calendar_function(node)
        if function and column_type(self.property(inner)) in DATES:
            return Subject(self.property(inner), function)
        raise NotPushable

    def property(self, node: exp.Expr) -> EntityProperty:
        """Return the table's property a node is. Raises NotPushable for anything else."""
        _check_known(node)
        if not isinstance(node, exp.Column) or node.table != self.name:
            raise NotPushable
        name = self.entity.names_by_folded.get(node.name.casefold())
        if name is None:
            raise NotPushable
        return self.entity.properties[name]

    def value(self, node: exp.Expr) -> Any:
        """Return what a constant comes to. Raises NotPushable."""
        node = node.unnest()
        if isinstance(node, exp.Literal):
            return node.this if node.is_string else Decimal(node.this)
        match node:
            case exp.Boolean():
                return bool(node.this)
            case exp.Neg(this=exp.Literal(is_string=False) as number):
                return -Decimal(number.this)
            case exp.Cast(this=exp.Literal(is_string=True) as text) if node.to.is_type("date", "timestamp"):
                date = read_date(text.this)
                return date.date() if isinstance(date, datetime.datetime) and node.to.is_type("date") else date
        value = self.values.get(node.sql("duckdb"))
        if value is None:
            raise NotPushable
        return value

    def like(self, subject: Subject, pattern: Any) -> Pushed:
        """Return LIKE with % at its ends only; F&O knows no other wildcard that means the same."""
        if not isinstance(pattern, str):
            raise NotPushable
        inner = pattern.strip("%")
        if "%" in inner or "_" in inner:
            raise NotPushable
        starts, ends = not pattern.startswith("%"), not pattern.endswith("%")
        if starts and ends:
            return _compared(subject, "eq", inner)
        return _searched("startswith" if starts else "endswith" if ends else "contains", subject, inner, exact=True)


def _check_known(node: exp.Expr) -> None:
    """Raise NotPushable for a node that means more than is known here."""
    known = KNOWN.get(type(node))
    if known is None or any(value and name not in known for name, value in node.args.items()):
        raise NotPushable


def _of_text_alone(subject: Subject, *, plain: bool = False) -> Subject:
    """Return a subject that is a text. Raises NotPushable for another, and for one that is not `plain` where asked."""
    if column_type(subject.prop) != "VARCHAR" or (plain and (subject.function or subject.prop.enumeration)):
        raise NotPushable
    return subject


def _joined(parts: Sequence[Pushed | None]) -> Pushed:
    """Join what all has to hold; what cannot be pushed is left out."""
    kept = [each for each in parts if each is not None]
    if not kept:
        raise NotPushable
    exact = len(kept) == len(parts) and all(each.exact for each in kept)
    return Pushed(" and ".join(f"({each.text})" for each in kept), exact)


def _compared(subject: Subject, operator: str, value: Any) -> Pushed:
    """Return the comparison of a property, or of what a function makes of it, with a value. Raises NotPushable."""
    prop, kind = subject.prop, column_type(subject.prop)
    function, _, search = subject.function.partition(" ")
    if function == "trim":
        if operator != "eq":
            raise NotPushable
        return _searched(search, Subject(prop), value, exact=False)
    if function == "year":
        return _of_year(prop, operator, value)
    if kind in DATES:
        date = read_date(value) if isinstance(value, str) else value
        if not isinstance(date, datetime.date):
            raise NotPushable
        date = without_zone(date)
        return _of_date(prop, operator, date) if not function else _of_unit(prop, function, operator, date)
    return BY_KIND.get(kind, _of_number)(prop, operator, value)


def _of_year(prop: EntityProperty, operator: str, value: Any) -> Pushed:
    if isinstance(value, bool) or not isinstance(value, int | Decimal) or value != int(value):
        raise NotPushable
    return Pushed(f"year({prop.name}) {operator} {int(value)}", exact=True)


def _of_date(prop: EntityProperty, operator: str, date: datetime.date) -> Pushed:
    """Compare a date, which is at midnight in SQL, or a time to the second, which is as exact as F&O's are."""
    timed = date if isinstance(date, datetime.datetime) else datetime.datetime.combine(date, datetime.time())
    start = truncated(timed, "day" if column_type(prop) == "DATE" else "second")
    if start != timed:  # between two values: what is before it ends with the first, what is after it begins beyond
        if operator in ("eq", "ne"):
            raise NotPushable
        operator = "gt" if operator in ("gt", "ge") else "le"
    if column_type(prop) == "DATE":
        return Pushed(f"{prop.name} {operator} {start:%Y-%m-%d}", exact=True)
    if start.date() == EMPTY_DAY and operator in ("eq", "le", "lt"):  # empty at whatever time of that day
        return Pushed(f"{prop.name} lt {EMPTY_DAY + datetime.timedelta(days=1)}T00:00:00Z", exact=False)
    return Pushed(f"{prop.name} {operator} {start:%Y-%m-%dT%H:%M:%S}Z", exact=True)


def _of_unit(prop: EntityProperty, unit: str, operator: str, date: datetime.date) -> Pushed:
    """Compare a date that is cut to the beginning of its day, week, month, quarter or year."""
    if unit not in UNITS or operator == "ne":
        raise NotPushable
    timed = date if isinstance(date, datetime.datetime) else datetime.datetime.combine(date, datetime.time())
    start = truncated(timed, unit)
    try:
        after = first_after(start, unit)
    except (OverflowError, ValueError):
        raise NotPushable from None
    match operator:
        case "eq":
            return _joined([_of_date(prop, "ge", start), _of_date(prop, "lt", after)])
        case "ge" | "lt":
            return _of_date(prop, operator, start if start == timed else after)
    return _of_date(prop, "ge" if operator == "gt" else "lt", after)


def _of_number(prop: EntityProperty, operator: str, value: Any) -> Pushed:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal) or column_type(prop) not in NUMBERS:
        raise NotPushable
    if isinstance(value, float) and not abs(value) < MAX_FLOAT:
        raise NotPushable
    return Pushed(f"{prop.name} {operator} {Decimal(str(value)):f}", exact=True)


def _of_double(prop: EntityProperty, operator: str, value: Any) -> Pushed:
    """Compare a float: what F&O takes for equal to a number's text is not known."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal) or operator in ("eq", "ne"):
        raise NotPushable
    return Pushed(f"{prop.name} {operator[0]}e {Decimal(str(value)):f}", exact=False)


def _of_flag(prop: EntityProperty, operator: str, value: Any) -> Pushed:
    if not isinstance(value, bool) or operator not in ("eq", "ne"):
        raise NotPushable
    return Pushed(f"{prop.name} {operator} {str(value).lower()}", exact=True)


def _of_text(prop: EntityProperty, operator: str, value: Any) -> Pushed:
    """Compare a text or an enumeration. F&O takes more texts for equal than DuckDB does (ß and ss, blanks at the end)."""
    if isinstance(value, bool) and prop.enumeration and operator in ("eq", "ne"):
        return Pushed(f"{prop.name} {operator} {str(value).lower()}", exact=True)
    if not isinstance(value, str) or "*" in value or operator not in ("eq", "ne"):
        raise NotPushable
    if operator == "ne" and value and not prop.enumeration:
        raise NotPushable
    return Pushed(f"{prop.name} {operator} {value_text(value)}", exact=True)


BY_KIND: dict[str, Callable[[EntityProperty, str, Any], Pushed]] = {
    "BOOLEAN": _of_flag,
    "DOUBLE": _of_double,
    "VARCHAR": _of_text,
}


def _searched(function: str, subject: Subject, value: Any, *, exact: bool) -> Pushed:
    """Return a search for a part of a text."""
    prop = subject.prop
    if subject.function or prop.enumeration or column_type(prop) != "VARCHAR":
        raise NotPushable
    if not isinstance(value, str) or not value or any(sign in value for sign in "*\\"):
        raise NotPushable
    return Pushed(f"{function}({prop.name},{value_text(value)})", exact)

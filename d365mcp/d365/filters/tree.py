"""What a filter says, as a small frozen tree: how it is written, and what it means for a record. Performs no I/O."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from decimal import ROUND_DOWN, Decimal
from operator import eq, ge, gt, le, lt, ne
from typing import Any
from uuid import UUID

from d365mcp.d365.filters.literals import EMPTY_DAY, MIDNIGHT, Member, Value, as_utc, read_date_or_time, value_text

_EMPTY = datetime.combine(EMPTY_DAY, MIDNIGHT)
_ORDERS = {"eq": eq, "ne": ne, "gt": gt, "ge": ge, "lt": lt, "le": le}


@dataclass(frozen=True, slots=True)
class Expression:
    """A filter, or a part of one."""

    @property
    def parts(self) -> tuple["Expression", ...]:
        """Return the expressions it is made of."""
        values = [getattr(self, each.name) for each in fields(self)]
        flat = [part for value in values for part in (value if isinstance(value, tuple) else (value,))]
        return tuple(part for part in flat if isinstance(part, Expression))

    def columns(self) -> frozenset[str]:
        """Return the properties it reads, paths over navigation properties as `Navigation/Property`."""
        return frozenset().union(*(part.columns() for part in self.parts))


@dataclass(frozen=True, slots=True)
class Property(Expression):
    path: str

    def columns(self) -> frozenset[str]:
        return frozenset({self.path})


@dataclass(frozen=True, slots=True)
class Literal(Expression):
    """A value; `text` is how the caller wrote it, where that says more than the value (`007`, `2026-07-14`)."""

    value: Value
    text: str = field(default="", compare=False)

    @property
    def parts(self) -> tuple[Expression, ...]:
        return ()  # said here, for a list may have a thousand of them


@dataclass(frozen=True, slots=True)
class Comparison(Expression):
    """`operator` is eq, ne, gt, ge, lt, le or has."""

    operator: str
    left: Expression
    right: Expression


@dataclass(frozen=True, slots=True)
class Membership(Expression):
    """`item in (values)`."""

    item: Expression
    values: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Arithmetic(Expression):
    """`operator` is add, sub, mul, div, divby or mod."""

    operator: str
    left: Expression
    right: Expression


@dataclass(frozen=True, slots=True)
class FunctionCall(Expression):
    """A function's name, in lower case, and its arguments."""

    name: str
    arguments: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Not(Expression):
    operand: Expression


@dataclass(frozen=True, slots=True)
class And(Expression):
    operands: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Or(Expression):
    operands: tuple[Expression, ...]


# How tightly each part binds, for the parentheses.
_OR, _AND, _NOT, _COMPARISON, _SUM, _PRODUCT, _PRIMARY = range(7)


def filter_text(expression: Expression, outside: int = _OR) -> str:
    """Write a filter; `outside` is how tightly what stands around it binds."""
    binding, text = _bound_text(expression)
    return text if binding >= outside else f"({text})"


def _bound_text(expression: Expression) -> tuple[int, str]:
    match expression:
        case Or():
            return _OR, " or ".join(filter_text(operand, _AND) for operand in expression.operands)
        case And():
            return _AND, " and ".join(filter_text(operand, _NOT) for operand in expression.operands)
        case Not():
            return _NOT, f"not {filter_text(expression.operand, _PRIMARY)}"
        case Comparison():
            left, right = filter_text(expression.left, _SUM), filter_text(expression.right, _SUM)
            return _COMPARISON, f"{left} {expression.operator} {right}"
        case Membership():
            values = ",".join(filter_text(value, _SUM) for value in expression.values)
            return _COMPARISON, f"{filter_text(expression.item, _SUM)} in ({values})"
        case Arithmetic():
            binding = _SUM if expression.operator in ("add", "sub") else _PRODUCT
            left, right = filter_text(expression.left, binding), filter_text(expression.right, binding + 1)
            return binding, f"{left} {expression.operator} {right}"
        case FunctionCall():
            return _PRIMARY, f"{expression.name}({','.join(map(filter_text, expression.arguments))})"
        case Literal():
            return _PRIMARY, expression.text or value_text(expression.value)
        case Property():
            return _PRIMARY, expression.path
    raise TypeError(expression)


def restricted_to(expression: Expression, column: str) -> frozenset[str] | None:
    """Return the values, in lower case, that a checked filter provably restricts a text column to, or None."""
    match expression:
        case Comparison("eq", Property(path), Literal(str(value))) if path == column and "*" not in value:
            return frozenset({value.lower()})
        case Membership(item, values):
            return restricted_to(Or(tuple(Comparison("eq", item, value) for value in values)), column)
        case And(operands):
            bounds = [bound for operand in operands if (bound := restricted_to(operand, column)) is not None]
            return frozenset.intersection(*bounds) if bounds else None
        case Or(operands):
            bounds = [bound for operand in operands if (bound := restricted_to(operand, column)) is not None]
            return frozenset.union(*bounds) if len(bounds) == len(operands) else None
    return None


def never_holds(expression: Expression, known: Mapping[str, Any]) -> bool:
    """Return whether a checked filter finds no record that has these values, whatever its others are."""
    return _truth(expression, known) is False


def _truth(expression: Expression, known: Mapping[str, Any]) -> bool | None:
    """Return whether a checked filter holds, None where that depends on values that are not known."""
    match expression:
        case Not(operand):
            value = _truth(operand, known)
            return None if value is None else not value
        case And(operands) | Or(operands):
            deciding = isinstance(expression, Or)
            values = {_truth(operand, known) for operand in operands}
            return deciding if deciding in values else None if None in values else not deciding
    return matches_filter(expression, known) if expression.columns() <= known.keys() else None


def matches_filter(expression: Expression, record: Mapping[str, Any]) -> bool:
    """Return whether a record is what a checked filter asks for, by F&O's rules: text without case, no nulls."""
    match expression:
        case And():
            return all(matches_filter(operand, record) for operand in expression.operands)
        case Or():
            return any(matches_filter(operand, record) for operand in expression.operands)
        case Not():
            return not matches_filter(expression.operand, record)
        case Comparison():
            left, right = _value_in(expression.left, record), _value_in(expression.right, record)
            return _compares(expression.operator, left, right)
        case Membership():
            item = _value_in(expression.item, record)
            return any(_compares("eq", item, _value_in(value, record)) for value in expression.values)
        case FunctionCall():
            return _matches_search(expression, record)
    raise TypeError(expression)


def _matches_search(call: FunctionCall, record: Mapping[str, Any]) -> bool:
    text, part = (str(_value_in(argument, record) or "").casefold() for argument in call.arguments)
    tests = {"contains": text.__contains__, "startswith": text.startswith, "endswith": text.endswith}
    return tests[call.name](part)


def _value_in(expression: Expression, record: Mapping[str, Any]) -> Any:
    match expression:
        case Property():
            return record.get(expression.path)
        case Literal():
            return expression.value
        case Arithmetic():
            return _computed(expression, record)
    raise TypeError(expression)


def _computed(expression: Arithmetic, record: Mapping[str, Any]) -> Decimal | None:
    left, right = (Decimal(str(_value_in(part, record) or 0)) for part in expression.parts)
    try:
        match expression.operator:
            case "add":
                return left + right
            case "sub":
                return left - right
            case "mul":
                return left * right
            case "mod":
                return left % right
            case "div":  # of whole numbers
                return (left / right).to_integral_value(ROUND_DOWN)
        return left / right
    except ArithmeticError:
        return None


def _compares(operator: str, left: Any, right: Any) -> bool:
    try:
        return bool(_ORDERS[operator](_comparable(left, right), _comparable(right, left)))
    except TypeError:  # a value and nothing, or two types: neither before nor after
        return False


def _comparable(value: Any, other: Any) -> Any:
    """Return a value in the form in which F&O compares it with `other`."""
    if isinstance(value, datetime) or isinstance(other, datetime):
        return _instant(value)
    match value:
        case Member(name=name):
            return name.casefold()
        case None if isinstance(other, str):
            return ""
        case str():
            return value.casefold().rstrip(" ")
        case UUID():
            return str(value)
        case float():
            return Decimal(str(value))
    return value


def _instant(value: Any) -> datetime | None:
    """Return a point in time, from F&O's text too; everything empty is the same one."""
    try:
        when = read_date_or_time(value) if isinstance(value, str) else value
    except ValueError:
        return None
    if when is None or (isinstance(when, datetime) and when.year <= EMPTY_DAY.year):
        return _EMPTY
    return as_utc(when) if isinstance(when, datetime) else None

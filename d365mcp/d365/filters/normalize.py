"""Brings a filter into one form: `not` beside its comparison, equal values together. Performs no I/O."""

from collections.abc import Iterable

from d365mcp.d365.filters.literals import Value
from d365mcp.d365.filters.tree import (
    And,
    Comparison,
    Expression,
    FunctionCall,
    Literal,
    Membership,
    Not,
    Or,
    Property,
)

_OPPOSITE = {"eq": "ne", "ne": "eq", "gt": "le", "ge": "lt", "lt": "ge", "le": "gt"}
SEARCHES = frozenset({"contains", "startswith", "endswith", "substringof"})
CASE_FUNCTIONS = frozenset({"tolower", "toupper"})


def push_not(expression: Expression, *, negated: bool = False) -> Expression:
    """Push `not` down to the comparisons, which have their opposites: F&O has no third truth value."""
    match expression:
        case Not(operand):
            return push_not(operand, negated=not negated)
        case And(operands) | Or(operands):
            inner = tuple(push_not(operand, negated=negated) for operand in operands)
            return And(inner) if isinstance(expression, And) != negated else Or(inner)
        case Comparison("eq" | "ne" as operator, condition, Literal(bool(value))) if _is_condition(condition):
            return push_not(condition, negated=negated != ((operator == "eq") != value))
        case Comparison(operator, left, right) if negated and operator in _OPPOSITE:
            return Comparison(_OPPOSITE[operator], left, right)
    return Not(expression) if negated else expression


def _is_condition(expression: Expression) -> bool:
    if isinstance(expression, FunctionCall):
        return expression.name in SEARCHES
    return isinstance(expression, And | Or | Not | Comparison | Membership)


def uncased(expression: Expression) -> Expression:
    """Drop tolower() and toupper(): F&O compares text without case anyway."""
    match expression:
        case FunctionCall(name, (argument,)) if name in CASE_FUNCTIONS:
            return uncased(argument)
    return expression


def all_of(operands: Iterable[Expression]) -> Expression:
    """Join conditions with and, without And inside And."""
    flat = [part for operand in operands for part in (operand.operands if isinstance(operand, And) else (operand,))]
    return flat[0] if len(flat) == 1 else And(tuple(flat))


def any_of(operands: Iterable[Expression]) -> Expression:
    """Join conditions with or; equalities on one property become one Membership, each value once."""
    flat = [part for operand in operands for part in (operand.operands if isinstance(operand, Or) else (operand,))]
    groups: dict[Expression, dict[Value, Literal]] = {}
    for part in flat:
        item, values = _equalities(part)
        groups.setdefault(item, {}).update({_folded(value): value for value in values})
    conditions = [_one_of(item, tuple(values.values())) if values else item for item, values in groups.items()]
    return conditions[0] if len(conditions) == 1 else Or(tuple(conditions))


def _equalities(condition: Expression) -> tuple[Expression, tuple[Literal, ...]]:
    """Return a property and the values it may equal, or the condition alone where it is another."""
    match condition:
        case Comparison("eq", Property() as item, Literal() as value):
            return item, (value,)
        case Membership(Property() as item, values):
            return item, tuple(value for value in values if isinstance(value, Literal))
    return condition, ()


def _one_of(item: Expression, values: tuple[Literal, ...]) -> Expression:
    return Comparison("eq", item, values[0]) if len(values) == 1 else Membership(item, values)


def _folded(value: Literal) -> Value:
    return value.value.lower() if isinstance(value.value, str) else value.value

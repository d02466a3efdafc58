"""What a filter says, as a small frozen tree, and what it means for a record. Performs no I/O."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from d365mcp.d365.literals import Value


@dataclass(frozen=True, slots=True)
class Expression:
    """A filter, or a part of one."""

    @property
    def parts(self) -> tuple["Expression", ...]:
        return ()

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


@dataclass(frozen=True, slots=True)
class Comparison(Expression):
    """`operator` is eq, ne, gt, ge, lt, le or has."""

    operator: str
    left: Expression
    right: Expression

    @property
    def parts(self) -> tuple[Expression, ...]:
        return (self.left, self.right)


@dataclass(frozen=True, slots=True)
class Membership(Expression):
    """`item in (values)`."""

    item: Expression
    values: tuple[Expression, ...]

    @property
    def parts(self) -> tuple[Expression, ...]:
        return (self.item, *self.values)


@dataclass(frozen=True, slots=True)
class Arithmetic(Expression):
    """`operator` is add, sub, mul, div, divby or mod."""

    operator: str
    left: Expression
    right: Expression

    @property
    def parts(self) -> tuple[Expression, ...]:
        return (self.left, self.right)


@dataclass(frozen=True, slots=True)
class Call(Expression):
    """A function's name, in lower case, and its arguments."""

    name: str
    arguments: tuple[Expression, ...]

    @property
    def parts(self) -> tuple[Expression, ...]:
        return self.arguments


@dataclass(frozen=True, slots=True)
class Not(Expression):
    operand: Expression

    @property
    def parts(self) -> tuple[Expression, ...]:
        return (self.operand,)


@dataclass(frozen=True, slots=True)
class And(Expression):
    operands: tuple[Expression, ...]

    @property
    def parts(self) -> tuple[Expression, ...]:
        return self.operands


@dataclass(frozen=True, slots=True)
class Or(Expression):
    operands: tuple[Expression, ...]

    @property
    def parts(self) -> tuple[Expression, ...]:
        return self.operands


def matches(expression: Expression, record: Mapping[str, Any]) -> bool:
    """Return whether a record is what a checked filter asks for, by F&O's rules."""
    raise NotImplementedError


def restricted_to(expression: Expression, column: str) -> frozenset[str] | None:
    """Return the values, in lower case, that a checked filter provably restricts a text column to, or None."""
    raise NotImplementedError

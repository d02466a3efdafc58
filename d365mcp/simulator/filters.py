"""`$filter` as F&O takes it, translated to SQL: a recursive-descent parser of the documented subset, with its refusals.

Two dialects: /data (wildcards in `eq` and `ne`, no functions) and /metadata (functions, no wildcards).
The subset: https://learn.microsoft.com/dynamics365/fin-ops-core/dev-itpro/data-entities/odata
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from d365mcp.simulator.errors import Refusal, no_property
from d365mcp.simulator.literals import Literal, Token, syntax_error, tokens
from d365mcp.simulator.model import Enumeration

Values = tuple[object, ...]

MAX_DEPTH = 40  # what SQLite parses with room to spare; F&O's own limit is not documented

_COMPARISONS = {
    "eq": ("IS", "Equal"),
    "ne": ("IS NOT", "NotEqual"),
    "gt": (">", "GreaterThan"),
    "ge": (">=", "GreaterThanOrEqual"),
    "lt": ("<", "LessThan"),
    "le": ("<=", "LessThanOrEqual"),
}
_SUMS = {"add": "Add", "sub": "Subtract"}
_PRODUCTS = {"mul": "Multiply", "div": "Divide", "mod": "Modulo"}  # Microsoft's library knows no divby
_NUMBERS = ("Edm.Int32", "Edm.Int64", "Edm.Double", "Edm.Decimal")  # each promotes to the next
_FUNCTIONS = {
    "contains": ("instr({0}, {1}) > 0", "Edm.Boolean"),
    "startswith": ("substr({0}, 1, length({1})) = {1}", "Edm.Boolean"),
    "endswith": ("({1} = '' OR substr({0}, -length({1})) = {1})", "Edm.Boolean"),
    "tolower": ("lower({0})", "Edm.String"),
    "toupper": ("upper({0})", "Edm.String"),
}
_NOT_QUERYABLE = {
    *_FUNCTIONS,
    "substringof",
    "substring",
    "indexof",
    "length",
    "trim",
    "concat",
    "year",
    "month",
    "day",
}


@dataclass(frozen=True)
class Expression:
    """A piece of SQL with its parameters and its EDM type."""

    sql: str
    values: Values
    type: str
    literal: Literal | None = None


class Scope(Protocol):
    """What a filter may speak of."""

    @property
    def type_name(self) -> str: ...

    @property
    def functions_allowed(self) -> bool: ...

    def column(self, path: Sequence[str]) -> Expression:
        """Give the column at the end of a property path, or refuse an unknown one."""
        ...


@dataclass(frozen=True)
class TableScope:
    """A plain table, as the metadata service filters it."""

    type_name: str
    columns: Mapping[str, str]
    functions_allowed: bool = True

    def column(self, path: Sequence[str]) -> Expression:
        name = "/".join(path)
        if name not in self.columns:
            raise no_property(name, self.type_name)
        return Expression(f'"{name}"', (), self.columns[name])


def condition(text: str, scope: Scope, enumerations: dict[str, Enumeration]) -> Expression:
    """Parse a filter into a boolean SQL expression."""
    return _Parser(text, scope, enumerations).filter()


def text_equals(sql: str, value: str) -> tuple[str, Values]:
    """Compare text as F&O's collation does, without case; SQLite's own folding knows ASCII alone."""
    return (f"{sql} IS ?", (value,)) if value.isascii() else (f"fold({sql}) IS ?", (value.casefold(),))


class _Parser:
    def __init__(self, text: str, scope: Scope, enumerations: dict[str, Enumeration]) -> None:
        self.text, self.scope = text, scope
        self.tokens = tokens(text, enumerations)
        self.at = 0
        self.depth = 0

    def filter(self) -> Expression:
        found = self.alternatives()
        if self.token.kind != "end":
            raise self.error()
        if found.type != "Edm.Boolean":
            raise Refusal("The $filter expression must evaluate to a single boolean value.")
        return found

    @property
    def token(self) -> Token:
        return self.tokens[self.at]

    def error(self) -> Refusal:
        return syntax_error(self.token.position, self.text)

    def accept(self, kind: str, *texts: str) -> str | None:
        """Step over the token when it is one of these."""
        token = self.token
        if token.kind != kind or token.text not in texts:
            return None
        self.at += 1
        return token.text

    def expect(self, mark: str) -> None:
        if not self.accept("mark", mark):
            raise self.error()

    def alternatives(self) -> Expression:
        return self.chain("or", "Or", self.conjunction)

    def conjunction(self) -> Expression:
        return self.chain("and", "And", self.comparison)

    def chain(self, word: str, kind: str, operand: Callable[[], Expression]) -> Expression:
        parts = [operand()]
        while self.accept("word", word):
            parts.append(operand())
            _require(parts[-2].type == parts[-1].type == "Edm.Boolean", parts[-2], parts[-1], kind)
        if len(parts) == 1:
            return parts[0]
        values = tuple(value for part in parts for value in part.values)
        return Expression(_balanced([part.sql for part in parts], f" {word.upper()} "), values, "Edm.Boolean")

    def comparison(self) -> Expression:
        left = self.sum()
        while word := self.accept("word", *_COMPARISONS):
            left = _compared(word, left, self.sum(), self.scope)
        return left

    def sum(self) -> Expression:
        return self.arithmetic(_SUMS, self.product)

    def product(self) -> Expression:
        return self.arithmetic(_PRODUCTS, self.unary)

    def arithmetic(self, kinds: Mapping[str, str], operand: Callable[[], Expression]) -> Expression:
        left = operand()
        while word := self.accept("word", *kinds):
            left = _calculated(word, kinds[word], left, operand())
        return left

    def unary(self) -> Expression:
        if self.accept("word", "not"):
            operand = self.nested(self.unary)
            if operand.type != "Edm.Boolean":
                raise _unary_refused(operand, "Not")
            return Expression(f"NOT ({operand.sql})", operand.values, "Edm.Boolean")
        if self.accept("mark", "-"):
            operand = self.nested(self.unary)
            if operand.type not in _NUMBERS:
                raise _unary_refused(operand, "Negate")
            return Expression(f"-({operand.sql})", operand.values, operand.type)
        return self.primary()

    def nested(self, inner: Callable[[], Expression]) -> Expression:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise Refusal("Recursion depth exceeded allowed limit.")
        found = inner()
        self.depth -= 1
        return found

    def primary(self) -> Expression:
        if self.accept("mark", "("):
            found = self.nested(self.alternatives)
            self.expect(")")
            return found
        token = self.token
        self.at += 1
        if token.literal is not None:
            return Expression("?", (token.literal.value,), token.literal.type, token.literal)
        if token.kind != "word":
            self.at -= 1
            raise self.error()
        if self.accept("mark", "("):
            return self.function(token.text)
        return self.path(token.text)

    def path(self, first: str) -> Expression:
        names = [first]
        while self.accept("mark", "/"):
            if self.token.kind != "word":
                raise self.error()
            names.append(self.token.text)
            self.at += 1
        return self.scope.column(names)

    def function(self, name: str) -> Expression:
        if not self.scope.functions_allowed and name in _NOT_QUERYABLE:
            # https://learn.microsoft.com/answers/questions/5826840: startswith and contains answer 400 on /data
            raise Refusal("The type System.String for the query operator is not Queryable!")
        if not self.scope.functions_allowed or name not in _FUNCTIONS:
            raise Refusal(
                f"An unknown function with name '{name}' was found. This may also be a function import "
                "or a key lookup on a navigation property, which is not allowed."
            )
        return self.call(name, *_FUNCTIONS[name])

    def call(self, name: str, template: str, result: str) -> Expression:
        arguments = [self.nested(self.alternatives)]
        while self.accept("mark", ","):
            arguments.append(self.nested(self.alternatives))
        self.expect(")")
        if len(arguments) != (2 if "{1}" in template else 1) or any(a.type != "Edm.String" for a in arguments):
            raise Refusal(f"No function signature for the function with name '{name}' matches the specified arguments.")
        # A template may use an argument twice, so its parameters repeat in the order of the text.
        order = [int(piece[0]) for piece in template.split("{")[1:]]
        values = tuple(value for index in order for value in arguments[index].values)
        return Expression(template.format(*(argument.sql for argument in arguments)), values, result)


def _balanced(parts: list[str], operator: str) -> str:
    """Join a long chain as a tree, because SQLite's expressions may be only so deep."""
    if len(parts) == 1:
        return parts[0]
    middle = len(parts) // 2
    return f"({_balanced(parts[:middle], operator)}{operator}{_balanced(parts[middle:], operator)})"


def _require(holds: bool, left: Expression, right: Expression, kind: str) -> None:
    if not holds:
        raise Refusal(
            "A binary operator with incompatible types was detected. "
            f"Found operand types '{left.type or '<null>'}' and '{right.type or '<null>'}' for operator kind '{kind}'."
        )


def _unary_refused(operand: Expression, kind: str) -> Refusal:
    return Refusal(
        "A unary operator with an incompatible type was detected. "
        f"Found operand type '{operand.type}' for operator kind '{kind}'."
    )


def _compared(word: str, left: Expression, right: Expression, scope: Scope) -> Expression:
    operator, kind = _COMPARISONS[word]
    types = {left.type, right.type} - {""}  # null goes with every type
    same = len(types) <= 1 or types <= set(_NUMBERS)
    ordered = all(name.startswith("Edm.") and name != "Edm.Boolean" for name in types)
    _require(same and (ordered or word in ("eq", "ne")), left, right, kind)
    # No string, number or date of F&O's is ever null, so `eq null` finds nothing among them. UNVERIFIED.
    if left.type == right.type == "Edm.String":
        return _text_compared(word, left, right, scope)
    return Expression(f"{left.sql} {operator} {right.sql}", left.values + right.values, "Edm.Boolean")


def _text_compared(word: str, left: Expression, right: Expression, scope: Scope) -> Expression:
    operator, _ = _COMPARISONS[word]
    if left.literal is not None:
        left, right = (right, left) if word in ("eq", "ne") else (left, right)
    text = str(right.literal.value) if right.literal else ""
    if word in ("eq", "ne") and "*" in text and not scope.functions_allowed:
        sql, values = _like(left.sql, text)
        return Expression(f"NOT ({sql})" if word == "ne" else sql, left.values + values, "Edm.Boolean")
    if not text.isascii() and not scope.functions_allowed:
        values = (*left.values, text.casefold())
        return Expression(f"fold({left.sql}) {operator} ?", values, "Edm.Boolean")
    return Expression(f"{left.sql} {operator} {right.sql}", left.values + right.values, "Edm.Boolean")


def _like(sql: str, pattern: str) -> tuple[str, Values]:
    escaped = pattern.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_").replace("*", "%")
    if pattern.isascii():
        return f"{sql} LIKE ? ESCAPE '\\'", (escaped,)
    return f"fold({sql}) LIKE ? ESCAPE '\\'", (escaped.casefold(),)


def _calculated(word: str, kind: str, left: Expression, right: Expression) -> Expression:
    _require(left.type in _NUMBERS and right.type in _NUMBERS, left, right, kind)
    result = max(left.type, right.type, key=_NUMBERS.index)
    exact = result in ("Edm.Double", "Edm.Decimal")
    template = {
        "add": "({} + {})",
        "sub": "({} - {})",
        "mul": "({} * {})",
        "mod": "modulo({}, {})" if exact else "({} % {})",
        "div": "(CAST({} AS REAL) / {})" if exact else "({} / {})",  # SQLite divides 5 by 2 and gets 2
    }[word]
    return Expression(template.format(left.sql, right.sql), left.values + right.values, result)

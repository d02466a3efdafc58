"""Reads an ordinary OData filter into a tree; knows the grammar, but no entity. Performs no I/O.

https://docs.oasis-open.org/odata/odata/v4.01/odata-v4.01-part2-url-conventions.html#sec_SystemQueryOptionfilter
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from d365mcp.d365.filters.literals import MAX_NUMBER_LENGTH, Member, Value, read_clock, read_date_or_time
from d365mcp.d365.filters.names import refuse_unwritable
from d365mcp.d365.filters.tree import (
    And,
    Arithmetic,
    Comparison,
    Expression,
    FunctionCall,
    Literal,
    Membership,
    Not,
    Or,
    Property,
)
from d365mcp.d365.models import NAMESPACE
from d365mcp.errors import InvalidArgument

_MAX_LENGTH = 8_000
_MAX_DEPTH = 50

_COMPARISONS = frozenset({"eq", "ne", "gt", "ge", "lt", "le", "has"})
_SUMS = frozenset({"add", "sub"})
_PRODUCTS = frozenset({"mul", "div", "divby", "mod"})
_KEYWORDS = _COMPARISONS | _SUMS | _PRODUCTS | {"and", "or", "not", "in"}
_CONSTANTS: dict[str, bool | None] = {"true": True, "false": False, "null": None}

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<guid>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?![\w-])
    | (?P<date>\d{4}-\d\d-\d\d(?:T\d\d:\d\d(?::\d\d(?:\.\d{1,12})?)?(?:Z|[+-]\d\d:\d\d)?)?)(?![\w:-])
    | (?P<clock>\d\d:\d\d(?::\d\d(?:\.\d{1,12})?)?)(?![\w:])
    | (?P<number>-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)(?![\w.])
    | (?P<text>'(?:[^']|'')*')
    | (?P<member>[a-z_][\w.]*'(?:[^']|'')*')
    | (?P<word>[a-z_][\w.]*)
    | (?P<mark>[(),/-])
    )""",
    re.VERBOSE | re.ASCII | re.IGNORECASE,
)

_NO_LAMBDA = "F&O has no any, all or functions on paths: query the other data entity itself"
# What other languages write, and how OData says it.
_MISTAKES = (
    (r"'", "a text is not closed; a quote inside a text is doubled: 'O''Brien'"),
    (r'"', "text is written in single quotes: 'usmf'"),
    (r"<>|!=", "write ne"),
    (r"==?", "write eq"),
    (r">=", "write ge"),
    (r"<=", "write le"),
    (r">", "write gt"),
    (r"<", "write lt"),
    (r"&&?", "write and"),
    (r"\|\|?", "write or"),
    (r"!", "write not"),
    (r"\[", "write the values of in between parentheses: in ('a','b')"),
    (r":", _NO_LAMBDA),
    (r"\+", "write add"),
    (r"\*", "write mul"),
    (r"\$", "F&O has no $count, $it or $root in a filter"),
    (r"@", "F&O takes no parameter aliases: write the value itself"),
    (r"-?[\d.]+[mdfl](?!\w)", "leave the suffix off the number"),
    (r"\d", "this is neither a number nor a date such as 2026-07-14T08:30:00Z; text is written in single quotes"),
)
_PATTERNS = tuple((re.compile(pattern, re.IGNORECASE | re.ASCII), hint) for pattern, hint in _MISTAKES)

# Words that stand where an operator should.
_FOREIGN_OPERATORS = {
    "like": "write contains(Name,'…'), startswith(Name,'…') or endswith(Name,'…')",
    "contains": "write contains(Name,'…')",
    "startswith": "write startswith(Name,'…')",
    "endswith": "write endswith(Name,'…')",
    "between": "write Name ge … and Name le …",
    "is": "write Name eq null or Name ne null",
    "gte": "write ge",
    "lte": "write le",
    "neq": "write ne",
    "/": "a date is written 2026-07-14, a division div",
}
_OLDER_LITERALS = frozenset(
    {"datetime", "datetimeoffset", "date", "time", "timeofday", "guid", "duration", "binary", "x"}
)


def parse_filter(text: str) -> Expression:
    """Return what a filter says. Raises InvalidArgument with the place and the way out."""
    if len(text) > _MAX_LENGTH:
        raise InvalidArgument(f"The filter has {len(text)} characters; {_MAX_LENGTH} are the limit.")
    refuse_unwritable("The filter", text)
    if not text.strip():
        raise InvalidArgument("The filter is empty: leave it out.")
    return _Parser(text).whole()


def _unreadable(text: str, position: int, hint: str) -> InvalidArgument:
    """Return the error that shows the place in words, and the way out."""
    if position >= len(text.rstrip()):
        return InvalidArgument(f"The filter ends too early: {hint}.")
    excerpt = text[position : position + 24] + ("…" if len(text) > position + 24 else "")
    return InvalidArgument(f"The filter cannot be read at character {position + 1}, `{excerpt}`: {hint}.")


@dataclass(frozen=True, slots=True)
class _Token:
    """`kind` is value, word, mark or end; words are kept as written."""

    kind: str
    text: str
    position: int
    value: Value = None


def _tokens(text: str) -> list[_Token]:
    """Split a filter into tokens, the last of kind "end"."""
    found: list[_Token] = []
    position, end = 0, len(text.rstrip())
    while position < end:
        match = _TOKEN.match(text, position)
        if match is None:
            place = end - len(text[position:end].lstrip())
            raise _unreadable(text, place, _hint_at(text, place))
        found.append(_token(text, match))
        position = match.end()
    return [*found, _Token("end", "", end)]


def _hint_at(text: str, position: int) -> str:
    return next(
        (hint for pattern, hint in _PATTERNS if pattern.match(text, position)), "text is written in single quotes: 'é'"
    )


def _token(text: str, match: re.Match[str]) -> _Token:
    kind = str(match.lastgroup)
    lexeme, position = match[kind], match.start(kind)
    if kind == "mark" or (kind == "word" and lexeme.lower() not in _CONSTANTS):
        return _Token(kind, lexeme, position)
    try:
        return _Token("value", lexeme, position, _READERS[kind](lexeme))
    except ValueError as problem:
        raise _unreadable(text, position, str(problem)) from problem


def _read_number(lexeme: str) -> int | Decimal:
    try:
        number = Decimal(lexeme)
        fits = len(lexeme) <= MAX_NUMBER_LENGTH and ("e" not in lexeme.lower() or abs(number.adjusted()) <= 28)
    except ArithmeticError:  # an exponent beyond what Decimal itself can hold
        fits = False
    if not fits:
        raise ValueError("F&O's numbers are not as large or as fine as this")
    return int(lexeme) if lexeme.lstrip("-").isdecimal() else number


def _read_text(lexeme: str) -> str:
    return lexeme[1:-1].replace("''", "'")


def _read_member(lexeme: str) -> Member:
    type_name, _, quoted = lexeme.partition("'")
    name = _read_text("'" + quoted)
    if type_name.lower() in _KEYWORDS:
        raise ValueError(f"put a blank between {type_name} and the text")
    if type_name.lower() in _OLDER_LITERALS:
        raise ValueError(f"{type_name}'…' is of an older OData: write {name[:40]} without type and quotes")
    return Member(type_name.removeprefix(NAMESPACE), name)


_READERS: dict[str, Callable[[str], Value]] = {
    "guid": UUID,
    "date": read_date_or_time,
    "clock": read_clock,
    "number": _read_number,
    "text": _read_text,
    "member": _read_member,
    "word": lambda lexeme: _CONSTANTS[lexeme.lower()],
}


class _Parser:
    """Reads one filter, from the loosest binding operator (or) to the tightest."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = _tokens(text)
        self.index = 0
        self.depth = 0

    def whole(self) -> Expression:
        expression = self.any_of()
        if self.here.kind != "end":
            raise self.error(self.hint_between())
        return expression

    @property
    def here(self) -> _Token:
        return self.tokens[self.index]

    def error(self, hint: str, back: int = 0) -> InvalidArgument:
        return _unreadable(self.text, self.tokens[self.index - back].position, hint)

    def take(self) -> _Token:
        taken = self.here
        self.index += 1
        return taken

    def take_word(self, *words: str) -> str | None:
        """Take an operator when one of these is next, and return it in lower case."""
        word = self.here.text.lower()
        if self.here.kind != "word" or word not in words:
            return None
        self.index += 1
        return word

    def take_mark(self, mark: str) -> bool:
        found = self.here.kind == "mark" and self.here.text == mark
        self.index += found
        return found

    def expect_mark(self, mark: str, hint: str) -> None:
        if not self.take_mark(mark):
            raise self.error(self.hint_between() if self.here.kind == "word" else hint)

    def nested(self, parse: Callable[[], Expression]) -> Expression:
        if self.depth == _MAX_DEPTH:
            raise self.error(f"nested deeper than {_MAX_DEPTH} levels")
        self.depth += 1
        expression = parse()
        self.depth -= 1
        return expression

    def hint_between(self) -> str:
        """Return what is wrong with the token after a complete expression."""
        foreign = _FOREIGN_OPERATORS.get(self.here.text.lower())
        if foreign:
            return foreign
        if self.here.text == ")":
            return "this parenthesis was never opened"
        return "and, or or the end was expected; text is written in single quotes: 'New York'"

    def any_of(self) -> Expression:
        operands = [self.all_of()]
        while self.take_word("or"):
            operands.append(self.all_of())
        return operands[0] if len(operands) == 1 else Or(tuple(operands))

    def all_of(self) -> Expression:
        operands = [self.negation()]
        while self.take_word("and"):
            operands.append(self.negation())
        return operands[0] if len(operands) == 1 else And(tuple(operands))

    def negation(self) -> Expression:
        # Looser than OData has it: `not A eq 1` means `not (A eq 1)` to everyone, and has no other sensible reading.
        if self.take_word("not"):
            return Not(self.nested(self.negation))
        return self.comparison()

    def comparison(self) -> Expression:
        left = self.sum()
        if self.take_word("in"):
            return Membership(left, self.values())
        if operator := self.take_word(*_COMPARISONS):
            left = Comparison(operator, left, self.sum())
        if self.here.text.lower() in _COMPARISONS and self.here.kind == "word":
            raise self.error("join two comparisons with and")
        return left

    def values(self) -> tuple[Expression, ...]:
        hint = "write the values of in between parentheses: in ('a','b')"
        self.expect_mark("(", hint)
        return self.arguments(hint)

    def arguments(self, hint: str) -> tuple[Expression, ...]:
        """Read one or more, and the closing parenthesis."""
        found = [self.nested(self.any_of)]
        while self.take_mark(","):
            found.append(self.nested(self.any_of))
        self.expect_mark(")", hint)
        return tuple(found)

    def sum(self) -> Expression:
        return self.chain(_SUMS, self.product)

    def product(self) -> Expression:
        return self.chain(_PRODUCTS, self.signed)

    def chain(self, operators: frozenset[str], operand: Callable[[], Expression]) -> Expression:
        expression, length = operand(), 0
        while operator := self.take_word(*operators):
            length += 1
            if length > _MAX_DEPTH:
                raise self.error(f"more than {_MAX_DEPTH} operations in a row")
            expression = Arithmetic(operator, expression, operand())
        return expression

    def signed(self) -> Expression:
        if self.take_mark("-"):
            return Arithmetic("sub", Literal(0), self.nested(self.signed))
        return self.primary()

    def primary(self) -> Expression:
        token = self.take()
        if token.kind == "value":
            return Literal(token.value, "" if isinstance(token.value, str) else token.text)
        if token.text == "(":
            expression = self.nested(self.any_of)
            self.expect_mark(")", "a parenthesis is not closed")
            return expression
        if token.kind == "word" and token.text.lower() not in _KEYWORDS:
            return self.named(token)
        raise self.error("a property, a value or a parenthesis was expected", back=1)

    def named(self, token: _Token) -> Expression:
        path = token.text
        while self.take_mark("/"):
            step = self.take()
            if step.kind != "word":
                raise self.error("a property was expected after /", back=1)
            path += "/" + step.text
        if not self.take_mark("("):
            return Property(path)
        if "/" in path:
            raise self.error(_NO_LAMBDA, back=2)
        if self.take_mark(")"):
            return FunctionCall(path.lower(), ())
        return FunctionCall(path.lower(), self.arguments("a parenthesis is not closed"))

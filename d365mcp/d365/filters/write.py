"""Writes a checked filter in F&O's operators, in as many parts as its URLs take. Performs no I/O.

Text is searched by wildcards inside eq, and `*` cannot be escaped:
https://learn.microsoft.com/dynamics365/fin-ops-core/dev-itpro/data-entities/odata
"""

from fnmatch import fnmatchcase
from urllib.parse import quote

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
    filter_text,
)

# Sent as they are: F&O takes `*` as a wildcard only when it arrives unescaped
# (https://github.com/MicrosoftDocs/dynamics-365-unified-operations-public/issues/3243).
_UNESCAPED = "*'(),/:$"
# A URL should stay below 2,000 characters or so: this leaves room for select, order and company.
_MAX_ENCODED = 1_500
_PATTERNS = {"contains": "*{}*", "startswith": "{}*", "endswith": "*{}"}


def percent_encoded(text: str) -> str:
    """Percent-encode a query option's value, once."""
    return quote(text, safe=_UNESCAPED)


def fo_text(expression: Expression, *, nulls_here: bool = False) -> str:
    """Write a checked filter for F&O; the text is empty when F&O cannot narrow anything down.

    With `nulls_here` it is not asked what is null: whether F&O compares enumerations so is nowhere written.
    """
    translated = _in_fo_terms(expression, nulls_here=nulls_here)
    return filter_text(translated) if translated else ""


def _in_fo_terms(expression: Expression, *, nulls_here: bool = False) -> Expression | None:
    """Return the filter in F&O's operators: the same, or one that lets more through. None lets everything through."""
    match expression:
        case And(operands):
            kept = [term for operand in operands if (term := _in_fo_terms(operand, nulls_here=nulls_here))]
            return kept[0] if len(kept) == 1 else And(tuple(kept)) if kept else None
        case Or(operands):
            terms = [term for operand in operands if (term := _in_fo_terms(operand, nulls_here=nulls_here))]
            return Or(tuple(terms)) if len(terms) == len(operands) else None
        case Membership(item, values):
            return _in_fo_terms(Or(tuple(Comparison("eq", item, value) for value in values)), nulls_here=nulls_here)
        case Comparison(_, _, Literal(None)) if nulls_here:
            return None
        case FunctionCall():
            return Comparison("eq", *_pattern(expression))
        # `ne` with a pattern leaves out more records than `ne` with the text.
        case Not(FunctionCall(_, (_, Literal(str(text))))) | Comparison("ne", _, Literal(str(text))) if "*" in text:
            return None
        case Not(FunctionCall() as call):
            return Comparison("ne", *_pattern(call))
        case Comparison(operator, left, right):
            return Comparison(operator, _divided(left), _divided(right))
    return expression


def _divided(expression: Expression) -> Expression:
    """Return what is computed with the one division that F&O's OData library reads."""
    match expression:
        case Arithmetic(operator, left, right):
            return Arithmetic("div" if operator == "divby" else operator, _divided(left), _divided(right))
    return expression


def _pattern(call: FunctionCall) -> tuple[Expression, Literal]:
    item, part = call.arguments
    text = part.value if isinstance(part, Literal) else ""
    return item, Literal(_PATTERNS[call.name].format(text))


def has_wildcard(expression: Expression) -> bool:
    """Return whether F&O would take some value for a pattern that was not meant as one."""
    if isinstance(expression, Comparison) and expression.operator not in ("eq", "ne"):
        return False
    if isinstance(expression, Literal):
        return isinstance(expression.value, str) and "*" in expression.value
    return any(has_wildcard(part) for part in expression.parts)


def is_pattern_search(expression: Expression) -> bool:
    """Return whether every `*` of a filter stands beside eq, where F&O's own documentation has its patterns."""
    match expression:
        case And(operands) | Or(operands):
            starred = [operand for operand in operands if has_wildcard(operand)]
            return bool(starred) and all(map(is_pattern_search, starred))
        case Comparison("eq") | Membership():
            return has_wildcard(expression)
    return False


def has_null(expression: Expression) -> bool:
    """Return whether a checked filter compares something with null: an enumeration, for nothing else may be null."""
    return any(isinstance(part, Literal) and part.value is None or has_null(part) for part in expression.parts)


def split_for_urls(expression: Expression) -> tuple[Expression, ...]:
    """Return a checked filter as disjoint parts that each fit a URL, where a long list of values allows it."""
    conjuncts = expression.operands if isinstance(expression, And) else (expression,)
    lists = [
        part
        for part in conjuncts
        if isinstance(part, Membership) and isinstance(part.item, Property) and not has_null(part)
    ]
    if len(percent_encoded(fo_text(expression))) <= _MAX_ENCODED or not lists:
        return (expression,)
    longest = max(lists, key=lambda part: len(percent_encoded(fo_text(part))))
    rest = tuple(part for part in conjuncts if part is not longest)
    room = _MAX_ENCODED - len(percent_encoded(fo_text(And(rest)) if rest else "")) - len("( and ())")
    chunks = _chunked(longest, max(room, _MAX_ENCODED // 4))
    return tuple(And((*rest, chunk)) if rest else chunk for chunk in chunks)


def _chunked(whole: Membership, room: int) -> list[Expression]:
    """Cut a list of values where a part would grow beyond `room`.

    Patterns stay together, and what they find is not asked for again: no record comes back from two parts. More
    patterns than fit one part are not worth the trouble.
    """
    patterns = [value for value in whole.values if has_wildcard(value)]
    chunks = [patterns] if patterns else [[]]
    left = room - sum(_cost(whole.item, value) for value in patterns)
    if left < 0:
        return [whole]
    for value in whole.values:
        if has_wildcard(value) or any(_covers(pattern, value) for pattern in patterns):
            continue
        if _cost(whole.item, value) > left and chunks[-1]:
            chunks.append([])
            left = room
        chunks[-1].append(value)
        left -= _cost(whole.item, value)
    return [Membership(whole.item, tuple(chunk)) for chunk in chunks]


def _cost(item: Expression, value: Expression) -> int:
    return len(percent_encoded(f" or {filter_text(Comparison('eq', item, value))}"))


def _covers(pattern: Expression, value: Expression) -> bool:
    """Return whether F&O finds a text by another text with `*`."""
    match pattern, value:
        case Literal(str(wild)), Literal(str(text)):
            return fnmatchcase(text.lower(), wild.lower().replace("[", "[[]").replace("?", "[?]"))
    return False

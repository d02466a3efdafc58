"""Translates a filter into F&O's dialect: what a caller asks, a company, or what comes after a record. Performs no I/O.

F&O's subset: https://learn.microsoft.com/dynamics365/fin-ops-core/dev-itpro/data-entities/odata
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from d365mcp.d365.filters.check import Checker
from d365mcp.d365.filters.literals import typed_value, value_kind
from d365mcp.d365.filters.names import displayed
from d365mcp.d365.filters.parse import parse_filter
from d365mcp.d365.filters.tree import And, Comparison, Expression, Literal, Or, Property, filter_text, restricted_to
from d365mcp.d365.filters.write import fo_text, has_null, has_wildcard, split_for_urls
from d365mcp.d365.models import COMPANY, DataEntity, EntityProperty
from d365mcp.errors import InvalidArgument

_COMPANY_NAME = re.compile(r"[A-Za-z0-9_-]{1,10}", re.ASCII)
# The kinds of value whose order F&O can be asked for in a filter.
_ORDERED = frozenset({"text", "number", "date"})


@dataclass(frozen=True)
class Translation:
    """A filter in F&O's dialect. `filters` is one, or several disjoint ones whose union is the answer.

    `expression` says what was asked, names and types put right. `companies` are those the filter provably restricts
    dataAreaId to, in lower case; None means it does not. Where `needs_exact_check`, F&O answers with a superset: keep
    the records that `filters.matches(expression, record)`. `notes` has one line per change.
    """

    filters: tuple[str, ...]
    expression: Expression
    companies: frozenset[str] | None
    needs_exact_check: bool
    columns: frozenset[str]
    notes: tuple[str, ...]


def translate_filter(asked: str | Expression, entity: DataEntity, *, nulls_here: bool = False) -> Translation:
    """Translate an ordinary filter. Raises InvalidArgument or UnknownName for what F&O cannot be asked.

    With `nulls_here` F&O is not asked what is null, which `needs_exact_check` then tells.
    """
    checker = Checker(entity)
    expression = checker.checked(parse_filter(asked) if isinstance(asked, str) else asked)
    return Translation(
        filters=tuple(fo_text(part, nulls_here=nulls_here) for part in split_for_urls(expression)),
        expression=expression,
        companies=restricted_to(expression, COMPANY),
        needs_exact_check=has_wildcard(expression) or (nulls_here and has_null(expression)),
        columns=expression.columns(),
        notes=checker.notes(),
    )


def and_filters(*filters: str) -> str:
    """Join F&O filters so that all hold; empty ones are left out."""
    given = [text for text in filters if text]
    return given[0] if len(given) == 1 else " and ".join(f"({text})" for text in given)


def company_filter(companies: Iterable[str]) -> str:
    """Return the F&O filter that keeps the records of these companies. Raises InvalidArgument."""
    names = dict.fromkeys(_company_named(company).lower() for company in companies)
    return " or ".join(f"{COMPANY} eq '{name}'" for name in names)


def _company_named(company: str) -> str:
    """Return a company's name. Raises InvalidArgument for what cannot be one, a pattern above all."""
    if not _COMPANY_NAME.fullmatch(company):
        raise InvalidArgument(f'{displayed(company)} is no company: give its dataAreaId, such as "usmf".')
    return company


def keyset_filter(order: Sequence[tuple[EntityProperty, bool]], values: Sequence[Any]) -> str | None:
    """Return the F&O filter for the records after `values` in `order` (property, descending).

    None where F&O cannot compare: enumerations, booleans and guids have no order, nothing equals a text with `*`.
    """
    expression = _beyond(list(zip(order, values, strict=True)))
    return filter_text(expression) if expression else None


def _beyond(position: Sequence[tuple[tuple[EntityProperty, bool], Any]]) -> Expression | None:
    ((prop, descending), value), *rest = position
    literal = _ordered_literal(prop, value)
    if literal is None:
        return None
    column = Property(prop.name)
    further = Comparison("lt" if descending else "gt", column, literal)
    if not rest:
        return further
    beyond_rest = _beyond(rest)
    if beyond_rest is None or has_wildcard(literal):
        return None
    return Or((further, And((Comparison("eq", column, literal), beyond_rest))))


def _ordered_literal(prop: EntityProperty, value: Any) -> Literal | None:
    if value is None or value_kind(prop) not in _ORDERED:
        return None
    try:
        return Literal(typed_value(value, prop, {}))
    except InvalidArgument:
        return None

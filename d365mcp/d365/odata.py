"""Ordinary OData in, F&O's dialect out: query options and filters. Performs no I/O.

F&O's subset: https://learn.microsoft.com/dynamics365/fin-ops-core/dev-itpro/data-entities/odata
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from d365mcp.d365.filters import Expression
from d365mcp.d365.models import DataEntity, EntityProperty

# Sent as they are: F&O takes `*` as a wildcard only when it arrives unescaped
# (https://github.com/MicrosoftDocs/dynamics-365-unified-operations-public/issues/3243).
UNESCAPED = "*'(),/:$"


@dataclass(frozen=True)
class QueryOptions:
    """The query options of one request, already in F&O's dialect."""

    select: tuple[str, ...] = ()
    filter: str = ""
    order_by: tuple[str, ...] = ()
    top: int | None = None
    skip: int | None = None
    count: bool = False
    expand: tuple[str, ...] = ()
    cross_company: bool = False

    def query_string(self) -> str:
        """Return the query part of the URL, percent-encoded once; empty when nothing is asked."""
        options = {
            "$select": ",".join(self.select),
            "$filter": self.filter,
            "$orderby": ",".join(self.order_by),
            "$top": "" if self.top is None else str(self.top),
            "$skip": "" if self.skip is None else str(self.skip),
            "$count": "true" if self.count else "",
            "$expand": ",".join(self.expand),
            "cross-company": "true" if self.cross_company else "",
        }
        return "&".join(f"{name}={quote(value, safe=UNESCAPED)}" for name, value in options.items() if value)


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


def translate_filter(asked: str | Expression, entity: DataEntity) -> Translation:
    """Translate an ordinary filter. Raises InvalidArgument or UnknownName for what F&O cannot be asked."""
    raise NotImplementedError


def and_filters(*filters: str) -> str:
    """Join F&O filters so that all hold; empty ones are left out."""
    given = [text for text in filters if text]
    return given[0] if len(given) == 1 else " and ".join(f"({text})" for text in given)


def company_filter(companies: Iterable[str]) -> str:
    """Return the F&O filter that keeps the records of these companies."""
    raise NotImplementedError


def keyset_filter(order: Sequence[tuple[EntityProperty, bool]], values: Sequence[Any]) -> str | None:
    """Return the F&O filter for the records after `values` in `order` (property, descending); None where F&O cannot
    compare."""
    raise NotImplementedError


def check_select(names: Iterable[str], entity: DataEntity) -> tuple[str, ...]:
    """Return property names as F&O writes them. Raises UnknownName."""
    raise NotImplementedError


def check_order_by(items: Iterable[str], entity: DataEntity) -> tuple[str, ...]:
    """Return items like `Name desc` with the names put right. Raises UnknownName."""
    raise NotImplementedError


def check_expand(items: Iterable[str], entity: DataEntity) -> tuple[str, ...]:
    """Return navigation properties, `Name` or `Name($select=A,B)`, with the names put right. Raises UnknownName."""
    raise NotImplementedError

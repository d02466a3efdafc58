"""Query options: what a request selects, orders by and expands, names put right, written as a URL. Performs no I/O."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from d365mcp.d365.filters.names import displayed, identifier, navigation_named, properties_named, property_named
from d365mcp.d365.filters.write import percent_encoded
from d365mcp.d365.models import DataEntity
from d365mcp.errors import InvalidArgument

_ORDER = re.compile(r"\s*(?P<name>\w+)(?:\s+(?:asc|(?P<descending>desc)))?\s*", re.IGNORECASE)
_EXPANDED = re.compile(r"\s*(?P<name>\w+)\s*(?:\(\s*\$select\s*=(?P<select>[^()]*)\))?\s*", re.ASCII)


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
        return "&".join(f"{name}={percent_encoded(value)}" for name, value in options.items() if value)


def check_select(names: Iterable[str], entity: DataEntity) -> tuple[str, ...]:
    """Return property names as F&O writes them, each once. Raises UnknownName."""
    return tuple(dict.fromkeys(prop.name for prop in properties_named((name.strip() for name in names), entity)))


def check_order_by(items: Iterable[str], entity: DataEntity) -> tuple[str, ...]:
    """Return items like `Name desc` with the names put right. Raises UnknownName."""
    return tuple(_check_order(item, entity) for item in items)


def _check_order(item: str, entity: DataEntity) -> str:
    match = _ORDER.fullmatch(item)
    if match is None:
        raise InvalidArgument(
            f'{displayed(item)} is no order: give a property of the entity, such as "Name" or "Name desc".'
        )
    name = property_named(match["name"], entity).name
    return f"{name} desc" if match["descending"] else name


def check_expand(items: Iterable[str], entity: DataEntity) -> tuple[str, ...]:
    """Return navigation properties, `Name` or `Name($select=A,B)`, with the names put right. Raises UnknownName."""
    return tuple(dict.fromkeys(_check_expanded(item, entity) for item in items))


def _check_expanded(item: str, entity: DataEntity) -> str:
    match = _EXPANDED.fullmatch(item)
    if match is None:
        hint = "give a navigation property, alone or with $select: Lines or Lines($select=ItemNumber)"
        raise InvalidArgument(f"{displayed(item)}: F&O expands one level and takes nothing but $select inside; {hint}.")
    name = navigation_named(match["name"], entity).name
    if match["select"] is None:
        return name
    return expanded_item(name, [identifier(column.strip(), "property") for column in match["select"].split(",")])


def expanded_item(link: str, columns: Iterable[str]) -> str:
    return f"{link}($select={','.join(columns)})"


def selected_of(item: str) -> tuple[str, tuple[str, ...]]:
    """Return the navigation property of a checked item, and the columns selected of it: none means all."""
    link, _, selected = item.rstrip(")").partition("($select=")
    return link, tuple(selected.split(",")) if selected else ()

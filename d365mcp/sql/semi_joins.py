"""Semi-joins: which scans need only records that have a partner in another one, and the filters that find these. Pure.

What F&O is asked may find more than the statement's own comparison, never less: the database compares again. F&O compares
text without case and without blanks at its end, so values that are equal to it stand in one filter: no record comes twice.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlglot import exp

from d365mcp.d365.filters.literals import value_text
from d365mcp.d365.filters.parse import parse_filter
from d365mcp.d365.filters.tree import And, Comparison, Expression, Literal, Membership, Or, Property, restricted_to
from d365mcp.d365.filters.write import percent_encoded
from d365mcp.d365.models import COMPANY, DataEntity, EntityProperty
from d365mcp.sql.relevance import Relevance
from d365mcp.sql.types import DATES, column_type

# More values than these are not asked for.
MOST_VALUES = 1_000
# A URL should stay below 2,000 characters or so: this leaves room for select, order and company.
MAX_FILTER_CHARS = 1_500
LEAST_ROOM = MAX_FILTER_CHARS // 4
# How far filters narrow a set, the most first.
OF_KEY, OF_VALUE, OF_TIME, OF_KIND, NOT_AT_ALL = range(5)
_WHOLE_NUMBERS = ("INTEGER", "BIGINT")


@dataclass(frozen=True)
class Partner:
    """A column of a scan whose values have to be among those of a column of another scan."""

    column: str
    scan: str
    its_column: str
    is_number: bool = False


@dataclass(frozen=True)
class ValueFilters:
    """Ordinary OData filters, of which no two find the same record; none where no record has a partner."""

    texts: tuple[str, ...]
    values: Mapping[Partner, int]  # how many of each are asked for


# Which scans have partners


def partners_of(
    table: exp.Table, filter: str, found: Relevance, places: Mapping[int, str], entities: Mapping[int, DataEntity]
) -> tuple[Partner, ...]:
    """Return the partners of a table's scan, of columns for which its own filter does not name the values.

    `places` and `entities` are by the `id` of tables' nodes.
    """
    wanted = dict[Partner, None]()
    entity, expression = entities[id(table)], parse_filter(filter) if filter else None
    for column, other, its_column in found.partners.get(id(table), ()):
        own, its = _property_named(entity, column), _property_named(entities[other], its_column)
        if places[other] == places[id(table)] or own.name == COMPANY or not _are_comparable(own, its):
            continue
        if expression is None or restricted_to(expression, own.name) is None:
            wanted[Partner(own.name, places[other], its.name, column_type(own) in _WHOLE_NUMBERS)] = None
    return tuple(wanted)


def _property_named(entity: DataEntity, folded: str) -> EntityProperty:
    return entity.properties[entity.names_by_folded[folded.casefold()]]


def _are_comparable(one: EntityProperty, other: EntityProperty) -> bool:
    """Return whether equal values of two columns are written alike in a filter."""
    kinds = column_type(one), column_type(other)
    return all(kind in _WHOLE_NUMBERS for kind in kinds) or (
        kinds == ("VARCHAR", "VARCHAR") and one.type_name == other.type_name
    )


# Which are read first


def reading_order(
    narrowness: Mapping[str, int], partners: Mapping[str, Sequence[Partner]]
) -> dict[str, frozenset[str]]:
    """Return, by scan, the scans that are so much narrower that it is worth waiting for their values."""
    ranks = {name: 10 * rank for name, rank in narrowness.items()}
    for _ in ranks:
        for name, others in partners.items():
            ranks[name] = min([ranks[name], *(ranks[other.scan] + 1 for other in others)])
    return {
        name: frozenset(other.scan for other in others if ranks[other.scan] < ranks[name])
        for name, others in partners.items()
    }


def narrowness(filter: str, entity: DataEntity) -> int:
    """Return how far a filter narrows a set, as well as that can be said beforehand."""
    return _rank(parse_filter(filter), entity) if filter else NOT_AT_ALL


def _rank(expression: Expression, entity: DataEntity) -> int:
    match expression:
        case And(operands):
            return min(_rank(operand, entity) for operand in operands)
        case Or(operands):
            return max(_rank(operand, entity) for operand in operands)
        case Comparison("eq", Property(path), Literal()) | Membership(Property(path)):
            prop = entity.properties.get(path)
            if prop is None or path == COMPANY:
                return NOT_AT_ALL
            if prop.enumeration or column_type(prop) == "BOOLEAN":
                return OF_KIND
            return OF_KEY if any(part.name == path for part in entity.key) else OF_VALUE
    dates = (name for name in expression.columns() if name in entity.properties)
    return OF_TIME if any(column_type(entity.properties[name]) in DATES for name in dates) else OF_KIND


# What is asked for


def value_filters(values: Mapping[Partner, Sequence[str]], taken: int) -> Iterator[ValueFilters]:
    """Yield ways to ask for the records that have partners, the fewest filters first.

    `values` are those of each partner whose values are known; `taken` is what the filter they stand beside takes of a URL.
    """
    room = max(MAX_FILTER_CHARS - taken, LEAST_ROOM)
    if any(not each for each in values.values()):
        yield ValueFilters((), {partner: 0 for partner, each in values.items() if not each})
        return
    askable = {partner: each for partner, each in values.items() if not any("*" in value for value in each)}
    sizes = {partner: sum(_cost(partner, value) for value in each) for partner, each in askable.items()}
    together: list[Partner] = []
    for partner in sorted(askable, key=lambda each: sizes[each]):
        if sum(sizes[each] for each in (*together, partner)) <= room:
            together.append(partner)
    if together:
        yield ValueFilters(
            (" and ".join(f"({_listed(each, askable[each])})" for each in together),),
            {each: len(askable[each]) for each in together},
        )
    for partner in sorted(askable, key=lambda each: sizes[each]):
        chunks = _chunked(partner, askable[partner], room) if partner not in together else None
        if chunks:
            texts = tuple(f"({_listed(partner, chunk)})" for chunk in chunks)
            yield ValueFilters(texts, {partner: len(askable[partner])})


def _chunked(partner: Partner, values: Sequence[str], room: int) -> list[list[str]] | None:
    """Cut values into parts that fit; None where one does not, or two may be equal to F&O in a way not known here."""
    if not all(value.isascii() and _cost(partner, value) <= room for value in values):
        return None
    chunks: list[list[str]] = []
    left, before = 0, ""
    for value in sorted(values, key=lambda each: (_as_compared(each), each)):
        if not chunks or (_cost(partner, value) > left and _as_compared(value) != before):
            chunks.append([])
            left = room
        chunks[-1].append(value)
        left -= _cost(partner, value)
        before = _as_compared(value)
    return chunks


def _as_compared(value: str) -> str:
    return value.rstrip(" ").casefold()


def _listed(partner: Partner, values: Sequence[str]) -> str:
    return f"{partner.column} in ({','.join(_literal(partner, value) for value in values)})"


def _literal(partner: Partner, value: str) -> str:
    return value if partner.is_number else value_text(value)


def _cost(partner: Partner, value: str) -> int:
    return len(percent_encoded(f" or {partner.column} eq {_literal(partner, value)}"))

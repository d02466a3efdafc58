"""What comparisons with days, years and times mean for F&O's dates, which sit at noon UTC. Performs no I/O.

Midnight literals therefore match no date, and the end of a range is easily a day off:
https://learn.microsoft.com/dynamics365/fin-ops-core/dev-itpro/data-entities/odata
"""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any

from d365mcp.d365.filters.literals import EMPTY_DAY, LAST_DAY, MIDNIGHT, NOON, as_utc, day_of, next_day, on_calendar
from d365mcp.d365.filters.tree import And, Comparison, Expression, FunctionCall, Literal, Or, Property
from d365mcp.errors import InvalidArgument

_ONE_DAY = timedelta(days=1)


def noon_comparison(operator: str, column: Property, when: date | datetime) -> Expression:
    """Compare a date with a day, or order it by a time: its noon is after that day's midnight and before its evening."""
    if isinstance(when, datetime) and operator not in ("eq", "ne"):
        return Comparison(operator, column, Literal(on_calendar(when)))
    day = day_of(when)
    if day is None:
        raise InvalidArgument(f"{column.path} is a date without a time: write {when:%Y-%m-%d} instead of {when}.")
    return Comparison(operator, column, Literal(datetime.combine(day, NOON)))


def midnight_advice(operator: str, column: Property, when: date | datetime) -> str | None:
    """Return what a midnight does that was perhaps meant as its whole day."""
    if operator not in ("gt", "le") or not isinstance(when, datetime) or on_calendar(when).timetz() != MIDNIGHT:
        return None
    effect, way_out = ("leaves that day out", "keep") if operator == "le" else ("keeps that day", "leave out")
    comparison = f"{column.path} {operator} {when:%Y-%m-%d}"
    return f"{comparison} at midnight {effect}, which F&O has at noon: write {comparison} to {way_out} the whole day"


def time_comparison(operator: str, column: Property, when: date | datetime) -> Expression:
    """Compare a time with a time, or with a whole day from midnight to midnight."""
    if isinstance(when, datetime):
        return Comparison(operator, column, Literal(as_utc(when)))
    start = Literal(datetime.combine(when, MIDNIGHT))
    after = Literal(next_day(when))
    match operator:
        case "eq":
            return And((Comparison("ge", column, start), Comparison("lt", column, after)))
        case "ne":
            return Or((Comparison("lt", column, start), Comparison("ge", column, after)))
        case "gt":
            return Comparison("ge", column, after)
        case "le":
            return Comparison("lt", column, after)
    return Comparison(operator, column, start)


def _within(operator: str, column: Expression, first: date, last: date) -> Expression:
    """Compare a date or time with a span of days, as `year(column) eq 2026` does."""
    start, end = Literal(first), Literal(last)
    match operator:
        case "eq":
            return And((Comparison("ge", column, start), Comparison("le", column, end)))
        case "ne":
            return Or((Comparison("lt", column, start), Comparison("gt", column, end)))
    return Comparison(operator, column, end if operator in ("gt", "le") else start)


def year_comparison(operator: str, column: Expression, year: Any) -> Expression:
    if isinstance(year, bool) or not isinstance(year, int) or not EMPTY_DAY.year <= year <= LAST_DAY.year:
        raise InvalidArgument(f"year() is compared with a year from {EMPTY_DAY.year} to {LAST_DAY.year}.")
    return _within(operator, column, date(year, 1, 1), date(year, 12, 31))


def join_months(operands: Sequence[Expression]) -> list[Expression]:
    """Join `year(X) eq 2026 and month(X) eq 7`, with `day(X) eq 14` or without, to a span of days."""
    named: dict[Expression, dict[str, int]] = {}
    for operand in operands:
        match operand:
            case Comparison(
                "eq", FunctionCall("year" | "month" | "day" as part, (Property() as column,)), Literal(int(number))
            ):
                named.setdefault(column, {}).setdefault(part, number)
    spans = {column: parts for column, parts in named.items() if "year" in parts and "month" in parts}
    return [
        *(operand for operand in operands if not _is_part(operand, spans)),
        *(_in_month(column, **parts) for column, parts in spans.items()),
    ]


def _is_part(operand: Expression, spans: dict[Expression, dict[str, int]]) -> bool:
    match operand:
        case Comparison(
            "eq", FunctionCall("year" | "month" | "day" as part, (Property() as column,)), Literal(int(number))
        ):
            return spans.get(column, {}).get(part) == number
    return False


def _in_month(column: Expression, year: int, month: int, day: int | None = None) -> Expression:
    try:
        first = date(year, month, day or 1)
        last = first if day else date(year + month // 12, month % 12 + 1, 1) - _ONE_DAY
    except (ValueError, OverflowError) as problem:
        raise InvalidArgument(f"There is no day {year}-{month}" + (f"-{day}." if day else ".")) from problem
    return _within("eq", column, first, last)

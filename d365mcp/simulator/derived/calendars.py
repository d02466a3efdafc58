"""Fiscal calendars around today: last year's, this year's and the next one's."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterator
from datetime import date

from d365mcp.simulator.model import Record, World

_CALENDAR = "Fiscal"
_LEDGER = 22565421195


def periods(world: World) -> Iterator[Record]:
    for first in _months(world):
        days = monthrange(first.year, first.month)[1]
        yield {
            "Calendar": _CALENDAR,
            "FiscalYear": str(first.year),
            "StartDate": first.isoformat(),
            "EndDate": first.replace(day=days).isoformat(),
            "PeriodName": f"Period {first.month}",
            "ShortName": f"P{first.month}",
            "Type": "Operating",
            "Month": f"Month{first.month}",
            "Quarter": f"Q{(first.month + 2) // 3}",
            "Days": days,
        }


def days(world: World) -> Iterator[Record]:
    """Yield the first day of each period."""
    for first in _months(world):
        yield {
            "LedgerGregorianDateId": f"{_LEDGER}-{first.isoformat()}",
            "PeriodName": f"Period {first.month}",
            "YearName": str(first.year),
            "Month": f"Month{first.month}",
            "GregorianDate": first.isoformat(),
            "CalendarId": _CALENDAR,
        }


def month_ends(world: World, months: int) -> Iterator[date]:
    """Yield the last days of so many months that are over, the oldest first."""
    today = world.clock.date()
    for back in range(months, 0, -1):
        year, month = divmod(today.year * 12 + today.month - 1 - back, 12)
        yield date(year, month + 1, monthrange(year, month + 1)[1])


def _months(world: World) -> Iterator[date]:
    this_year = world.clock.date().year
    for year in (this_year - 1, this_year, this_year + 1):
        yield from (date(year, month, 1) for month in range(1, 13))

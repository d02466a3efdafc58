"""Fiscal calendars around today: of each year that has entries in the ledger, and of the next one."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterator
from datetime import date

from d365mcp.simulator.model import Record, World

_CALENDAR = "Fiscal"
_LEDGER = 22565421195
_BOOKED_MONTHS = 36
"""How far the ledger goes back."""


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
            "Quarter": f"Q{_quarter(first)}",
            "Days": days,
        }


def days(world: World) -> Iterator[Record]:
    """Yield the first day of each period; its offsets are counted from today's."""
    today = world.clock.date()
    for first in _months(world):
        years = first.year - today.year
        yield {
            "LedgerGregorianDateId": f"{_LEDGER}-{first.isoformat()}",
            "PeriodName": f"Period {first.month}",
            "YearName": str(first.year),
            "Month": f"Month{first.month}",
            "Quarter": f"Q{_quarter(first)}",
            "YearOffset": years,
            "QuarterOffset": years * 4 + _quarter(first) - _quarter(today),
            "PeriodOffset": years * 12 + first.month - today.month,
            "GregorianDate": first.isoformat(),
            "CalendarId": _CALENDAR,
        }


def month_ends(world: World) -> Iterator[date]:
    """Yield the last days of the months that are booked and over, the oldest first."""
    today = world.clock.date()
    for back in range(_BOOKED_MONTHS, 0, -1):
        year, month = divmod(today.year * 12 + today.month - 1 - back, 12)
        yield date(year, month + 1, monthrange(year, month + 1)[1])


def _months(world: World) -> Iterator[date]:
    first, last = next(month_ends(world)).year, world.clock.date().year + 1
    for year in range(first, last + 1):
        yield from (date(year, month, 1) for month in range(1, 13))


def _quarter(day: date) -> int:
    return (day.month + 2) // 3

"""The simulated day: which day it is in a world, and the dates of the world that keep their distance to it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime

from d365mcp.simulator.shapes import Shape, WorldError


@dataclass(frozen=True)
class Clock:
    """The machine's clock, on its own day or on one that stays."""

    day: date | None = None

    def date(self) -> date:
        return self.day or datetime.now(UTC).date()

    def today(self) -> str:
        """Return the session date, at noon UTC as F&O writes dates."""
        return f"{self.date().isoformat()}T12:00:00Z"

    def now(self) -> str:
        return f"{self.date().isoformat()}T{datetime.now(UTC):%H:%M:%SZ}"


@dataclass(frozen=True)
class Movement:
    """How far the dates of a world move: those from the first to the last of them."""

    days: int = 0
    first: str = ""
    last: str = ""

    def moved(self, text: str) -> str:
        if self.days and self.first <= text[:10] <= self.last:
            return shifted(text[:10], self.days) + text[10:]
        return text


def movement(world: Shape, today: date) -> Movement:
    """Read which dates of a world move, so that they lie around this day."""
    shape = world.part("dates")
    if not shape.value:
        return Movement()
    written, first, last = (_day(shape, name) for name in ("written", "from", "to"))
    return Movement((today - written).days, first.isoformat(), last.isoformat())


def shifted(day: str, days: int) -> str:
    """Return the date so many days later."""
    return date.fromordinal(date.fromisoformat(day).toordinal() + days).isoformat()


def _day(shape: Shape, name: str) -> date:
    try:
        return date.fromisoformat(shape.text(name))
    except ValueError as exc:
        raise WorldError(f"{shape.place}.{name}: expected a date such as 2026-07-14.") from exc

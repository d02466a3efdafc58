"""What a comparison with a date or a time means, as a table, and by brute force against a simulated F&O.

F&O keeps a Date at noon UTC and a UtcDateTime at its instant.

| literal | on a Date | on a UtcDateTime |
|---|---|---|
| `2026-07-14` | that day | that day in UTC, from midnight to midnight |
| a midnight or a noon | eq, ne: its day; else: before the day's noon, or at it | that instant |
| F&O's own noon in another zone | its day | that instant |
| any other time | eq, ne: refused; else: before or after its day's noon | that instant |
| with a zone | by the calendar of that zone: no zone moves the day | that instant |
| without one | as in UTC | as in UTC |
"""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from operator import eq, ge, gt, le, lt, ne
from typing import Any

import pytest

from d365mcp.errors import InvalidArgument
from tests.d365.test_odata_against_fo import Table
from tests.simulated import Simulator

OPERATORS = {"eq": eq, "ne": ne, "gt": gt, "ge": ge, "lt": lt, "le": le}
DAYS = [date(2026, 7, 12) + timedelta(days=number) for number in range(5)]
HOURS = [0, 1, 9, 11, 12, 13, 14, 22, 23]
TIMES = ["00:00:00", "00:00:01", "08:30:00", "11:59:59", "12:00:00", "12:00:01", "18:00:00", "23:59:59", "23:59:59.999"]
ZONES = ["", "Z", "+00:00", "+02:00", "+05:30", "+12:00", "+12:45", "+13:00", "+14:00", "-05:00", "-11:00", "-12:00"]
LITERALS = ["2026-07-14", *(f"2026-07-14T{clock}{zone}" for clock in TIMES for zone in ZONES)]
OWN_NOONS = ["2026-07-14T14:00:00+02:00", "2026-07-14T23:59:00+11:59", "2026-07-14T00:00:00-12:00"]

TIMES_KEPT: dict[str, Any] = {
    "entitySet": "Instants",
    "publicEntityName": "Instant",
    "keys": ["Number"],
    "properties": [
        {"name": "Number", "edmType": "Edm.Int32"},
        {"name": "Day", "edmType": "Edm.DateTimeOffset", "dataType": "Date"},
        {"name": "At", "edmType": "Edm.DateTimeOffset", "dataType": "UtcDateTime"},
    ],
    "records": [
        {"Number": number, "Day": f"{day}", "At": f"{day}T{hour:02}:00:00Z"}
        for number, (day, hour) in enumerate((day, hour) for day in DAYS for hour in HOURS)
    ],
}


@pytest.fixture(scope="module")
def kept_times() -> Iterator[Table]:
    running = Simulator.start({"entities": [TIMES_KEPT]})
    with running.client() as client:
        yield Table(client, "Instants", ("Number", "Day", "At"))
    running.stop()


def day_rule(operator: str, literal: str, day: date) -> bool | None:
    """Return whether a Date is found; None where the question has no answer."""
    written, _, clock = literal.partition("T")
    local = time.fromisoformat(re.sub(r"(Z|[+-]\d\d:\d\d)$", "", clock) or "12:00")
    instant = datetime.fromisoformat(literal) if clock else None
    if instant and instant.tzinfo and instant.astimezone(UTC).isoformat() == f"{written}T12:00:00+00:00":
        local = time(12)
    if operator in ("eq", "ne"):
        return OPERATORS[operator](f"{day}", written) if local in (time(0), time(12)) else None
    noon = datetime.combine(day, time(12))
    return bool(OPERATORS[operator](noon, datetime.combine(date.fromisoformat(written), local)))


def time_rule(operator: str, literal: str, at: datetime) -> bool:
    if "T" not in literal:
        return bool(OPERATORS[operator](f"{at:%Y-%m-%d}", literal))
    instant = datetime.fromisoformat(literal)
    return bool(OPERATORS[operator](at, instant if instant.tzinfo else instant.replace(tzinfo=UTC)))


@pytest.mark.parametrize("operator", OPERATORS)
def test_a_date_is_compared_by_the_calendar_of_whoever_writes_the_filter(kept_times: Table, operator: str) -> None:
    for literal in [*LITERALS, *OWN_NOONS]:
        wanted = [day_rule(operator, literal, date.fromisoformat(each["Day"][:10])) for each in kept_times.records]
        if None in wanted:
            with pytest.raises(InvalidArgument, match="write 2026-07-14 instead"):
                kept_times.query(f"Day {operator} {literal}")
            continue
        found = kept_times.query(f"Day {operator} {literal}")
        assert found == [each for each, kept in zip(kept_times.records, wanted, strict=True) if kept], literal


@pytest.mark.parametrize("operator", OPERATORS)
def test_a_time_is_compared_as_an_instant_and_a_day_as_all_of_it(kept_times: Table, operator: str) -> None:
    for literal in [*LITERALS, *OWN_NOONS]:
        found = kept_times.query(f"At {operator} {literal}")
        wanted = [
            each for each in kept_times.records if time_rule(operator, literal, datetime.fromisoformat(each["At"]))
        ]
        assert found == wanted, literal

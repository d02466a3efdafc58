"""Bulk rows of a world, written as a few cycles: the same rows every time, and related columns stay together.

`{"count": 12, "always": {…}, "numbers": {"Col": {"from", "every", "step", "format"}},
"dates": {"Col": {"from", "every", "step", "at"}}, "cycles": [{"every", "rows": [{…}, …]}]}`:
row i takes row (i // every) mod n of each cycle, and its numbers and dates grow by one step each `every` rows.
"""

from __future__ import annotations

from collections.abc import Iterator

from d365mcp.simulator.clock import shifted
from d365mcp.simulator.shapes import Shape


def rows(shape: Shape) -> Iterator[dict[str, object]]:
    """The rows as the world would write them out."""
    always = shape.plain("always")
    cycles = [
        (item.number("every", 1), [row.as_object() for row in item.items("rows")]) for item in shape.items("cycles")
    ]
    numbers = [(name, *_number(item)) for name, item in shape.objects("numbers").items()]
    dates = [(name, *_date(item)) for name, item in shape.objects("dates").items()]
    for index in range(shape.number("count", 0)):
        row = dict(always)
        for every, choices in cycles:
            row.update(choices[index // every % len(choices)])
        for name, first, every, step, pattern in numbers:
            number = first + index // every * step
            row[name] = pattern.format(number) if pattern else number
        for name, day, every, step, time in dates:
            row[name] = shifted(day, index // every * step) + time
        yield row


def _number(shape: Shape) -> tuple[int, int, int, str]:
    return shape.number("from", 1), shape.number("every", 1), shape.number("step", 1), shape.text("format", "")


def _date(shape: Shape) -> tuple[str, int, int, str]:
    return shape.text("from"), shape.number("every", 1), shape.number("step", 1), shape.text("at", "")

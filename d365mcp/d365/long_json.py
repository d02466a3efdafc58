"""A long JSON object parsed in pieces. Performs no I/O.

Python's decoder lets no other thread run before it is done, be it called in a thread: half a second for 32 MiB.
"""

import json
import re
from collections.abc import Callable
from typing import Any

BLANKS = re.compile(r"[ \t\n\r]*")

Scan = Callable[[str, int], tuple[Any, int]]


def decoded(text: str, decoder: json.JSONDecoder) -> dict[str, Any]:
    """Return what an object holds, its lists read value by value. Raises ValueError for what is no object."""
    members: dict[str, Any] = {}
    at = opened(text, skipped(text, 0), "{")
    more = not text.startswith("}", at)
    while more:
        name, at = decoder.raw_decode(text, at)
        if not isinstance(name, str):
            raise ValueError("a name was expected")
        at = opened(text, skipped(text, at), ":")
        scan = listed if text.startswith("[", at) else plain
        members[name], at = scan(text, at, decoder.raw_decode)
        more, at = following(text, at, "}")
    if skipped(text, at + (not members)) != len(text):
        raise ValueError("something follows")
    return members


def listed(text: str, at: int, scan: Scan) -> tuple[list[Any], int]:
    values = []
    at = opened(text, at, "[")
    if text.startswith("]", at):
        return [], at + 1
    more = True
    while more:
        value, at = scan(text, at)
        values.append(value)
        more, at = following(text, at, "]")
    return values, at


def plain(text: str, at: int, scan: Scan) -> tuple[Any, int]:
    return scan(text, at)


def following(text: str, at: int, end: str) -> tuple[bool, int]:
    """Return whether another value follows, and where."""
    at = skipped(text, at)
    if text.startswith(end, at):
        return False, at + 1
    return True, opened(text, at, ",")


def opened(text: str, at: int, mark: str) -> int:
    """Return where what comes after a mark begins."""
    if not text.startswith(mark, at):
        raise ValueError(f"{mark} was expected")
    return skipped(text, at + 1)


def skipped(text: str, at: int) -> int:
    found = BLANKS.match(text, at)
    return found.end() if found else at

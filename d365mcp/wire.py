"""JSON from callers, read within bounds. Knows no HTTP and no tool."""

import re
from codecs import BOM_UTF8
from itertools import islice
from typing import Any

from jiter import from_json

MAX_DEPTH = 100
# Of a document full of small values: all that 4 MiB can hold would take seconds to read, on the event loop, and 100 MB.
MAX_TOKENS = 400_000
# A text, whose inner marks do not count, or a mark that makes room for one more value.
TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[,{\[]', re.DOTALL)


def parsed(document: bytes) -> Any:
    """Return the value of JSON in UTF-8. Raises ValueError, saying what is wrong and where.

    Wrong is, too, what parsers disagree on, for it might mean another thing to whoever looked at it before us: the same
    name twice in one object, NaN, half of a surrogate pair. Texts are not kept: they are the caller's.
    """
    return from_json(document.removeprefix(BOM_UTF8), allow_inf_nan=False, catch_duplicate_keys=True, cache_mode="keys")


def is_crowded(document: bytes) -> bool:
    """Return whether JSON has more than MAX_TOKENS texts and marks, without reading more of it than that."""
    if len(document) <= MAX_TOKENS or sum(map(document.count, (b'"', b",", b"{", b"["))) <= MAX_TOKENS:
        return False
    return next(islice(TOKEN.finditer(document), MAX_TOKENS, None), None) is not None


def too_deep(value: Any) -> bool:
    """Return whether a value is nested more than MAX_DEPTH levels; needs no recursion."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True

"""Cuts what one request finds into ranges that may be read side by side, and says whether they make one whole. Pure.

The ranges follow the order of the key, by `$skip`. Each begins with the last record of the one before: where its etag is
another there, records came, went or changed meanwhile. What comes and goes within one range stays unseen, as in any read
that is no snapshot.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

# F&O answers with no more: https://learn.microsoft.com/dynamics365/fin-ops-core/dev-itpro/data-entities/odata
_PAGE_ROWS = 10_000
ETAG_NAME = b'"@odata.etag"'
_ETAG = re.compile(rb'"@odata\.etag"\s*:\s*("(?:[^"\\]|\\.)*")')


@dataclass(frozen=True)
class ReadingPace:
    """How a scan is read. Seconds are measured: what answers sooner than `least_seconds` is never dear."""

    page_rows: int = _PAGE_ROWS
    count_after: float = 0.15  # a first page that takes longer may be one of several
    dear: float = 3.0  # so many times the fastest page
    least_seconds: float = 0.25

    def is_dear(self, fastest: float, seconds: float) -> bool:
        """Return whether a page took so long that reading it by its place is not worth it."""
        return seconds > self.dear * max(fastest, self.least_seconds)


@dataclass(frozen=True)
class Range:
    """Records from a place on; without `top` up to the last one there is."""

    skip: int
    top: int | None


@dataclass(frozen=True)
class Edges:
    """The etags of a page's first and last record."""

    first: bytes
    last: bytes


def ranges(total: int, wanted: int, page_rows: int = _PAGE_ROWS) -> Iterator[Range]:
    """Yield the ranges behind the first page. The last one is open, so that a record more than were counted is seen."""
    end = page_rows
    while end < min(total, wanted):
        skip = end - 1
        end = skip + page_rows
        if end < min(total, wanted):
            yield Range(skip, page_rows)
        else:
            yield Range(skip, None if total <= wanted else wanted - skip)


def edges(body: bytes) -> Edges | None:
    """Return a page's edges without parsing it, None where its records have no etags.

    Within a text the quotes about the name would be escaped.
    """
    first, last = _ETAG.search(body), _ETAG.match(body, max(body.rfind(ETAG_NAME), 0))
    return Edges(first[1], last[1]) if first and last else None


def records_in(body: bytes) -> int:
    """Return how many records a page has, if each has an etag."""
    return body.count(ETAG_NAME)

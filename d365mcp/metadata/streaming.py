"""A metadata resource's rows as they arrive: PublicEntities alone has some 50 MB. Knows no snapshot."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import ijson

from d365mcp.d365.client import NOT_METADATA, D365Client
from d365mcp.d365.responses import nested_too_deep
from d365mcp.errors import InvalidAnswer, Unreachable
from d365mcp.wire import MAX_DEPTH, brackets_of, peeled

MAX_STREAM_BYTES = 400 * 1024 * 1024
# F&O has some 5,000 entities, the widest of half a megabyte.
MAX_ROWS = 100_000
MAX_ROW_BYTES = 8 * 1024 * 1024
STREAM_SECONDS = 1_800.0
STALL_SECONDS = 60.0


class IncompleteStream(Unreachable):
    """An answer that stopped before its end: the rows before were as they should be."""


async def rows(client: D365Client, resource: str, query: str = "") -> AsyncIterator[dict[str, Any] | None]:
    """Yield a resource's rows, None for what is none.

    Raises IncompleteStream where the answer stops before its end, InvalidAnswer where it is no JSON.
    """
    opened = client.metadata_stream(resource, query, max_bytes=MAX_STREAM_BYTES, seconds=STREAM_SECONDS)
    async with opened as chunks:
        parser = RowParser()
        try:
            while chunk := await _next_chunk(chunks):
                for row in parser.feed(chunk):
                    yield row if isinstance(row, dict) else None
            parser.close()
        except ijson.IncompleteJSONError:
            raise IncompleteStream(f"F&O's answer to {resource} ended before its end.") from None
        except (ijson.JSONError, ValueError):  # a number may be too long for Python
            raise InvalidAnswer(f"F&O's answer to {resource} is no JSON.") from None


async def _next_chunk(chunks: AsyncIterator[bytes]) -> bytes:
    """Return the next chunk, nothing at the end. Raises IncompleteStream where none comes."""
    try:
        async with asyncio.timeout(STALL_SECONDS):
            return await anext(chunks, b"")
    except TimeoutError:
        raise IncompleteStream(f"F&O's answer stalled: nothing came for {STALL_SECONDS:.0f} seconds.") from None


class RowParser:
    """Parses rows from chunks. What it would have to hold whole has bounds: a row, and the levels within one.

    It is fed, as ijson's own reading does not pass on that it is cancelled, and leaves the connection behind.
    """

    def __init__(self) -> None:
        self.parsed = ijson.sendable_list()
        self.parser = ijson.items_coro(self.parsed, "value.item", use_float=True)
        self.since = 0  # bytes since the last row
        self.rows = 0
        self.open = 0  # brackets, which in metadata stand in no text

    def feed(self, chunk: bytes) -> list[Any]:
        """Return the rows that end in a chunk. Raises InvalidAnswer for rows, or levels, without end."""
        self.check(chunk)
        self.parser.send(chunk)
        found = list(self.parsed)
        self.parsed.clear()
        if found:
            self.since = 0
        self.rows += len(found)
        if self.rows > MAX_ROWS:
            raise InvalidAnswer("F&O's metadata has rows without end.", hint=NOT_METADATA)
        return found

    def check(self, chunk: bytes) -> None:
        self.since += len(chunk)
        if self.since > MAX_ROW_BYTES:
            raise InvalidAnswer("F&O's metadata has a row without end.", hint=NOT_METADATA)
        left = peeled(brackets_of(chunk))
        opening = left.count(b"[")
        self.open += 2 * opening - len(left)
        if max(opening, self.open) > MAX_DEPTH:
            raise nested_too_deep()

    def close(self) -> None:
        """Raise ijson.IncompleteJSONError where the answer is not at its end."""
        self.parser.close()

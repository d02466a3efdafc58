"""A page that arrives: its beginning and its end stay here, what lies between goes to the database process at once."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from itertools import count

from d365mcp.sql.child.pages import begins_as_page
from d365mcp.sql.processes import DatabaseProcess
from d365mcp.sql.scans import ETAG_NAME, records_in

_HEAD_BYTES = 64 * 1024  # hold what F&O says before the records
_REST_BYTES = 64 * 1024  # hold the last record, and what F&O says behind it
_PIECE_BYTES = 512 * 1024
_AHEAD_SHARE = 1 / 7  # of the process's memory

_numbers = count(1)


@dataclass(frozen=True)
class ArrivedPage:
    """A page. Where it has a number, the process has all of it but the `rest`, of which the beginning is here as `head`."""

    rest: bytes = b""
    number: int | None = None
    head: bytes = b""
    records_before: int = 0

    @property
    def outline(self) -> bytes:
        """Return the page without what lies between its head and its rest."""
        return self.head + self.rest

    @property
    def records(self) -> int:
        """Return how many records there are, if each has an etag."""
        return self.records_before + records_in(self.rest)


class Arrival:
    """Takes one page, piece by piece, anew with each attempt. What is short, or no page, stays whole."""

    def __init__(self, process: DatabaseProcess) -> None:
        self._process = process
        self._page = ArrivedPage()

    async def receive(self, pieces: AsyncIterator[bytes]) -> bytes:
        """Return the rest of a page whose other pieces are in the process."""
        self._page, rest = ArrivedPage(), bytearray()
        try:
            async for piece in pieces:
                rest += piece
                if len(rest) >= _PIECE_BYTES + _REST_BYTES and self._may_send(rest):
                    await self._send_ahead(rest)
        except BaseException:  # a cancellation too leaves pieces behind that nobody will load
            self.drop()
            raise
        return bytes(rest)

    def _may_send(self, rest: bytearray) -> bool:
        """Return whether it is a page, and the process has room for it."""
        ahead = sum(self._process.ahead.values())
        is_page = self._page.number is not None or begins_as_page(bytes(rest[:_HEAD_BYTES]))
        return is_page and ahead + len(rest) < self._process.memory_mb * 1_048_576 * _AHEAD_SHARE

    async def _send_ahead(self, rest: bytearray) -> None:
        """Send what comes before the last record that began early enough; nothing where records have no etags."""
        end = rest.rfind(ETAG_NAME, 0, len(rest) - _REST_BYTES)
        if end <= 0:
            return
        piece, page = bytes(rest[:end]), self._page
        del rest[:end]
        number = page.number or next(_numbers)
        records = page.records_before + records_in(piece)
        self._page = replace(page, number=number, head=page.head or piece[:_HEAD_BYTES], records_before=records)
        self._process.ahead[number] = self._process.ahead.get(number, 0) + len(piece)
        await self._process.send("keep", piece, page=number)

    def drop(self) -> None:
        """Let the process forget what it has of a page that nobody will load."""
        if self._process.ahead.pop(self._page.number, None):
            self._process.send_later("drop", page=self._page.number)

    def page(self, rest: bytes) -> ArrivedPage:
        """Return the page that was received."""
        return replace(self._page, rest=rest)

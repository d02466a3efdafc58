"""Reads the pages of one request: side by side where there are several, else one after the other by F&O's links.

The pages come out in the order of the request, whichever arrives first, and no more than a few are held.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from d365mcp.d365.links import check_leads_on
from d365mcp.errors import BadRequest
from d365mcp.events import current_operation
from d365mcp.sql.arrivals import ArrivedPage
from d365mcp.sql.child.pages import next_link
from d365mcp.sql.scans import Edges, Range, ReadingPace, edges, ranges

_T = TypeVar("_T")
# Pages that are on their way or wait for the database, beyond those that are asked for at once.
_PAGES_HELD = 4


class Places:
    """How many requests of statements are at F&O at once, over all statements of this process."""

    def __init__(self, most: int = 4) -> None:
        self.most = most
        self.semaphore = asyncio.Semaphore(most)


class Share:
    """One statement's part of the places. It is halved when F&O throttles."""

    def __init__(self, places: Places) -> None:
        self.most = places.most
        self._places = places.semaphore
        self._own = asyncio.Semaphore(places.most)
        self._given_up = 0
        self._throttles = _throttles()

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Hold a place for one request."""
        await self._own.acquire()
        try:
            async with self._places:
                yield
        finally:
            if _throttles() > self._throttles:
                self._halve()
            if self._given_up:
                self._given_up -= 1
            else:
                self._own.release()

    def _halve(self) -> None:
        self._throttles = _throttles()
        self._given_up += self.most - max(1, self.most // 2)
        self.most = max(1, self.most // 2)


def _throttles() -> int:
    """Return how often F&O turned away a request of the call under way."""
    operation = current_operation()
    return operation.throttles if operation else 0


class PageSource(Protocol):
    """One request, and the ways to ask for its parts."""

    @property
    def in_key_order(self) -> bool:
        """Whether the records come in an order that only the whole key can make: then `$skip` finds the same ones again."""

    async def first(self) -> ArrivedPage: ...

    async def following(self, link: str) -> ArrivedPage: ...

    async def part(self, skip: int, top: int | None) -> ArrivedPage: ...

    async def count(self) -> int | None:
        """Return how many records there are, None where F&O does not say."""


@dataclass(frozen=True)
class ScanPage:
    """A page as it came; where it `overlaps`, its first record is the last one of the page before."""

    page: ArrivedPage
    overlaps: bool = False


class PartsDiffer(Exception):
    """The pages do not make one whole: the set has to be read again, in order. `changed` says that records differ."""

    def __init__(self, *, changed: bool) -> None:
        super().__init__()
        self.changed = changed


@dataclass(frozen=True)
class Timed(Generic[_T]):
    """What a request brought, and how long it took; no seconds where it was throttled."""

    value: _T
    seconds: float | None


class PageReader:
    """Reads one request, as a context. `wanted` is the most records that it asks for; `thrifty` asks for no page before
    those there are have turned out too few, one that `is_narrow` hardly has a second, and `by_links` reads one after the other."""

    def __init__(
        self,
        source: PageSource,
        share: Share,
        pace: ReadingPace,
        *,
        wanted: int,
        thrifty: bool = False,
        is_narrow: bool = False,
        by_links: bool = False,
    ) -> None:
        self.total: int | None = None  # F&O's count, where it was asked beforehand
        self.pages = 0
        self._source = source
        self._share = share
        self._wanted = wanted
        self._thrifty = thrifty
        self._is_narrow = is_narrow
        self._pace = pace
        self._by_links = by_links or share.most == 1 or wanted <= pace.page_rows
        self._tasks: set[asyncio.Task[Any]] = set()
        self._asking: asyncio.Task[Timed[ArrivedPage]] | None = None
        self._counting: asyncio.Task[Timed[int | None]] | None = None
        self._planned: Iterator[Range] = iter(())
        self._ahead: deque[asyncio.Task[Timed[ArrivedPage]]] = deque()
        self._link = ""  # of the page before
        self._linked: asyncio.Task[Timed[ArrivedPage]] | None = None  # the page that it leads to
        self._edges: Edges | None = None  # of the page before
        self._fastest = float("inf")

    async def __aenter__(self) -> "PageReader":
        return self

    async def __aexit__(self, *problem: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def start(self) -> "asyncio.Task[Timed[ArrivedPage]]":
        """Ask for the first page."""
        self._asking = self._asking or self._begin(self._source.first)
        return self._asking

    async def next(self) -> ScanPage | None:
        """Return the next page, None after the last one. Raises PartsDiffer where they make no whole."""
        if not self.pages:
            page: ScanPage | None = ScanPage(await self._first())
        elif self._link and not await self._leaves_link():
            page = ScanPage(await self._by_link())
        else:
            page = await self._part()
        self.pages += page is not None
        return page

    async def _first(self) -> ArrivedPage:
        """Ask for the first page. One that takes its time may be one of several: then they are counted meanwhile.

        A statement over few records is answered before that, and costs no further request.
        """
        asking = self.start()
        if not (self._by_links or self._thrifty or self._is_narrow):
            await asyncio.wait({asking}, timeout=self._pace.count_after)
            if not asking.done():
                counting = self._count()
                await asyncio.wait({asking, counting}, return_when=asyncio.FIRST_COMPLETED)
                if counting.done():
                    self._plan(counting.result().value)
        answered, self._asking = await asking, None
        self._measure(answered)
        self._edges = edges(answered.value.outline)
        self._by_links |= not self._source.in_key_order or self._edges is None
        self._heed_link(answered.value)
        if not self._link or self._by_links:
            self._drop_parts()
        else:
            self._learn_page_rows(answered.value.records)
        if self._link and self._wanted > self._pace.page_rows and not self._thrifty:
            self._count()
        return answered.value

    def _learn_page_rows(self, rows: int) -> None:
        """Plan with the length that F&O's pages have."""
        if rows != self._pace.page_rows:
            self._drop_parts()
            self._pace = replace(self._pace, page_rows=rows)
            if self.total is not None:
                self._plan(self.total)

    def _drop_parts(self) -> None:
        self._planned = iter(())
        while self._ahead:
            self._ahead.popleft().cancel()

    def _count(self) -> asyncio.Task[Timed[int | None]]:
        self._counting = self._counting or self._begin(self._source.count)
        return self._counting

    @property
    def has_more(self) -> bool:
        """Whether there are more pages behind the first."""
        return bool(self._link)

    @property
    def side_by_side(self) -> bool:
        """Whether the pages are ranges of one whole."""
        return not self._by_links

    async def counted(self) -> int | None:
        """Return how many records there are, None where F&O does not say."""
        if self.total is None:
            self._plan((await self._count()).value)
            self._by_links |= self.total is None
        return self.total

    async def pages_left(self) -> int:
        """Return how many pages are behind the first, at least."""
        total = min(await self.counted() or 0, self._wanted)
        return max(1, -(-(total - self._pace.page_rows) // self._pace.page_rows))

    async def _leaves_link(self) -> bool:
        """Return whether the rest is read in ranges: then the link of the first page is not followed."""
        if self._by_links or await self.counted() is None:
            return False
        if self.pages == 1:
            self._link = ""
        return not self._link

    def _plan(self, total: int | None) -> None:
        self.total = total
        if not self._by_links:
            self._planned = ranges(total or 0, self._wanted, self._pace.page_rows)
            self._fill()

    def _fill(self) -> None:
        """Ask for as many pages ahead as may be held."""
        most = self._share.most + _PAGES_HELD
        while len(self._ahead) < (min(most, self.pages) if self._thrifty else most):
            if (part := next(self._planned, None)) is None:
                return
            self._ahead.append(self._begin(partial(self._source.part, part.skip, part.top)))

    async def _part(self) -> ScanPage | None:
        """Return the next range's page, compared with the page before."""
        self._fill()
        if not self._ahead:
            return None
        try:
            answered = await self._ahead.popleft()
        except BadRequest:  # `$skip` is refused
            raise PartsDiffer(changed=False) from None
        before, self._edges = self._edges, edges(answered.value.outline)
        if before is None or self._edges is None or self._edges.first != before.last:
            raise PartsDiffer(changed=True)
        if self._measure(answered) or self._share.most == 1:
            self._leave_ranges()
        self._heed_link(answered.value)
        return ScanPage(answered.value, overlaps=True)

    def _leave_ranges(self) -> None:
        """Ask for all that is left as one range, whose pages follow each other by links."""
        if (part := next(self._planned, None)) is not None:
            top = None if (self.total or 0) <= self._wanted else self._wanted - part.skip
            self._planned = iter([Range(part.skip, top)])

    async def _by_link(self) -> ArrivedPage:
        """Return the page that the one before leads to."""
        answered = await (self._linked or self._begin(partial(self._source.following, self._link)))
        self._linked = None
        self._edges = edges(answered.value.outline) or self._edges
        self._heed_link(answered.value)
        return answered.value

    def _heed_link(self, page: ArrivedPage) -> None:
        """Ask for the page that a page leads to, while that one is loaded."""
        before, self._link = self._link, next_link(page.outline) or ""
        if before:
            check_leads_on(before, self._link)
        if self._link and (self._by_links or self.pages) and not self._thrifty:
            self._linked = self._begin(partial(self._source.following, self._link))

    def _measure(self, answered: Timed[ArrivedPage]) -> bool:
        """Return whether a page took so long that the next ones are better read by links."""
        if answered.seconds is None:
            return False
        self._fastest = min(self._fastest, answered.seconds)
        return self._pace.is_dear(self._fastest, answered.seconds)

    def _begin(self, ask: Callable[[], Awaitable[_T]]) -> "asyncio.Task[Timed[_T]]":
        task = asyncio.create_task(self._timed(ask))
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[Any]) -> None:
        """Let go of what a task holds. Whether it failed is known to who awaits it; nobody may."""
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()

    async def _timed(self, ask: Callable[[], Awaitable[_T]]) -> Timed[_T]:
        async with self._share.place():
            throttles, began = _throttles(), time.monotonic()
            value = await ask()
            seconds = time.monotonic() - began
        return Timed(value, seconds if _throttles() == throttles else None)

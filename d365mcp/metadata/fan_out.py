"""Asks F&O for many small things, some at once. What fails is counted; where F&O is away, the rest waits."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from d365mcp.errors import (
    D365McpError,
    DeadlineExceeded,
    SignInFailed,
    Throttled,
    Unauthorized,
    Unavailable,
    Unreachable,
)

T = TypeVar("T")

_IN_FLIGHT = 16
# Longer than a throttled call is waited for.
EACH_SECONDS = 30.0
# So many in a row without an answer, and F&O is away.
AWAY_AFTER = 32
_AWAY = (Throttled, Unreachable, DeadlineExceeded, SignInFailed, Unauthorized)


@dataclass
class FanOutResult:
    """How asking went: how many failed, and why the rest was not asked for."""

    failed: int = 0
    unanswered: int = 0  # in a row
    stopped_by: D365McpError | None = None

    def record(self, problem: D365McpError) -> None:
        self.failed += 1
        is_away = isinstance(problem, _AWAY) or (
            isinstance(problem, Unavailable) and problem.http_status in (502, 503, 504)
        )
        self.unanswered = self.unanswered + 1 if is_away else 0
        if self.unanswered >= AWAY_AFTER:
            self.stopped_by = problem


async def ask_each(
    items: Iterable[T], ask: Callable[[T], Awaitable[None]], failed: Callable[[T], object] = lambda item: None
) -> FanOutResult:
    """Ask for each of the items, in their order, and say which failed.

    What is no failure of F&O's is raised, and ends it.
    """
    result, waiting = FanOutResult(), iter(items)
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(_IN_FLIGHT):
                group.create_task(_worker(waiting, ask, failed, result))
    except ExceptionGroup as problems:
        raise problems.exceptions[0] from None
    return result


async def _worker(
    waiting: Iterator[T], ask: Callable[[T], Awaitable[None]], failed: Callable[[T], object], result: FanOutResult
) -> None:
    for item in waiting:
        try:
            await _with_timeout(ask(item))
        except D365McpError as problem:
            result.record(problem)
            failed(item)
        else:
            result.unanswered = 0
        if result.stopped_by:
            return


async def _with_timeout(asking: Awaitable[None]) -> None:
    try:
        async with asyncio.timeout(EACH_SECONDS):
            await asking
    except TimeoutError:
        raise DeadlineExceeded("F&O did not answer in time.") from None

"""What comes late: what most calls need first, the rest by itself, and at once where somebody needs it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from d365mcp.lazy import LATER_SECONDS, Arming, Lazy


def recording(loaded: list[str], name: str) -> Lazy[str]:
    def load() -> str:
        loaded.append(name)
        return name

    return Lazy(load)


async def until(true: Callable[[], object]) -> float:
    """Wait for something, and return the seconds that took."""
    began = time.monotonic()
    while not true() and time.monotonic() < began + 60:  # noqa: ASYNC110 - what is waited for has no event of its own
        await asyncio.sleep(0.01)
    return time.monotonic() - began


def test_what_most_calls_need_is_loaded_first_and_the_rest_when_the_first_calls_are_out() -> None:
    loaded: list[str] = []

    async def answer() -> float:
        soon, later = recording(loaded, "soon"), recording(loaded, "later")
        arm = Arming([soon], later)
        for _ in range(3):  # each answer arms
            arm()
        assert loaded == []
        return await until(lambda: later.value)

    seconds = asyncio.run(answer())
    assert loaded == ["soon", "later"]
    assert seconds > LATER_SECONDS / 2


def test_who_needs_the_rest_at_once_gets_it_at_once() -> None:
    loaded: list[str] = []

    async def answer() -> None:
        soon, later = recording(loaded, "soon"), recording(loaded, "later")
        Arming([soon], later)()
        assert await later.get() == "later"
        assert loaded == ["later"]
        await until(lambda: len(loaded) > 1)
        await asyncio.sleep(LATER_SECONDS)

    asyncio.run(answer())
    assert loaded == ["later", "soon"]

"""Loads what calls need after the first answer: importing it is more than three quarters of a cold start.

Off the event loop and one after the other: entry points of the SDK imported from several threads at once
deadlock, and an import on the event loop blocks every other request.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

from d365mcp.errors import NotReady
from d365mcp.singleflight import SingleFlight

T = TypeVar("T")

log = logging.getLogger(__name__)

# Started at once, the imports would cost the first answer 20 to 40 ms.
SOON_SECONDS = 0.02
# A client's first requests come in a row. What they seldom need would take half of the processor from them.
LATER_SECONDS = 1.0
# The longest that a caller waits.
LOAD_SECONDS = 230.0


class Lazy(Generic[T]):
    """Something that is loaded once, off the event loop, when it is first needed or shortly before.

    `lock` is shared by all that load in one process: one after the other.
    """

    def __init__(self, load: Callable[[], T], lock: "threading.Lock | None" = None) -> None:
        self.load = load
        self.lock = lock or threading.Lock()
        self.value: T | None = None
        self.flights: SingleFlight[T] = SingleFlight(LOAD_SECONDS)

    async def get(self) -> T:
        """Return it. Raises NotReady when it cannot be loaded."""
        return self.value if self.value is not None else await self.flights.get("", self.loaded)

    def start(self) -> None:
        """Begin loading, where nobody has."""
        if self.value is None:
            self.flights.begin("", self.loaded)

    async def loaded(self) -> T:
        try:
            self.value = await _in_daemon(self._load_locked)
        except Exception as problem:  # every failure has to reach the callers who wait
            log.exception("The server's packages could not be loaded.")
            raise _not_loaded(getattr(problem, "name", None) or type(problem).__name__) from problem
        return self.value

    def _load_locked(self) -> T:
        with self.lock:
            return self.load()


class Arming:
    """Begins loading what comes late after the first answer: what most calls need soon, the rest when these are out."""

    def __init__(self, soon: Sequence[Lazy[Any]], later: Lazy[Any]) -> None:
        self.soon, self.later = soon, later
        self.armed = False

    def __call__(self) -> None:
        if not self.armed:
            self.armed = True
            loop = asyncio.get_running_loop()
            loop.call_later(LATER_SECONDS, self.later.start)
            for part in self.soon:
                loop.call_later(SOON_SECONDS, part.start)


def _not_loaded(package: str) -> NotReady:
    """Return that what calls need could not be imported; the next request tries again."""
    message = f"This server's package {package} could not be loaded: its deployment is incomplete."
    return NotReady(message, retry_after=5)


def _in_daemon(work: Callable[[], T]) -> "asyncio.Future[T]":
    """Do work in a thread of its own, which a process that ends does not wait for, as it would for asyncio's."""
    done: Future[T] = Future()
    done.set_running_or_notify_cancel()  # from now on, a waiting caller cannot cancel it

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as problem:
            done.set_exception(problem)

    threading.Thread(target=run, name="late imports", daemon=True).start()
    return asyncio.wrap_future(done)

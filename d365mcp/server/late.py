"""What calls need, imported after the first answer: it is three quarters of a cold start and more.

Off the event loop and one after the other: entry points of the SDK imported from several threads at once
deadlock, and an import on the event loop blocks every other request.
"""

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")

log = logging.getLogger(__name__)

# Started at once, the imports would cost the first answer 20 to 40 ms.
ARM_SECONDS = 0.02


class UnavailableError(Exception):
    """What calls need could not be imported; tried again with the next request."""

    def __init__(self, package: str) -> None:
        super().__init__(f"This server's package {package} could not be loaded: its deployment is incomplete.")


class Late(Generic[T]):
    """Something that is loaded once, off the event loop, when it is first needed or shortly before.

    `turn` is shared by all that load in one process: one after the other.
    """

    def __init__(self, load: Callable[[], T], turn: "threading.Lock | None" = None) -> None:
        self.load = load
        self.turn = turn or threading.Lock()
        self.value: T | None = None
        self.loading: asyncio.Future[T] | None = None

    async def get(self) -> T:
        """Return it. Raises UnavailableError when it cannot be loaded."""
        if self.value is not None:
            return self.value
        # Shielded: one caller's end must not end the loading the others wait for.
        return await asyncio.shield(self.start())

    def start(self) -> "asyncio.Future[T]":
        """Begin loading, where nobody has."""
        loop = asyncio.get_running_loop()
        if self.loading is None or self.loading.get_loop() is not loop:
            self.loading = loop.create_future()
            self.loading.add_done_callback(seen)
            if self.value is not None:
                self.loading.set_result(self.value)
            else:
                threading.Thread(target=self.work, args=(loop, self.loading), name="late imports", daemon=True).start()
        return self.loading

    def work(self, loop: asyncio.AbstractEventLoop, loading: "asyncio.Future[T]") -> None:
        try:
            with self.turn:
                value = self.load()
        except Exception as problem:  # whatever it is has to reach those who wait
            log.exception("The server's packages could not be loaded.")
            package = getattr(problem, "name", None) or type(problem).__name__
            settle(loop, self.failed, loading, UnavailableError(package))
        else:
            settle(loop, self.loaded, loading, value)

    def loaded(self, loading: "asyncio.Future[T]", value: T) -> None:
        self.value = value
        if not loading.done():
            loading.set_result(value)

    def failed(self, loading: "asyncio.Future[T]", problem: Exception) -> None:
        self.loading = None
        if not loading.done():
            loading.set_exception(problem)


class Arming:
    """Begins loading what comes late, one after the other, shortly after the first answer."""

    def __init__(self, *parts: Late[Any]) -> None:
        self.parts = parts
        self.armed = False

    def __call__(self) -> None:
        if not self.armed:
            self.armed = True
            asyncio.get_running_loop().call_later(ARM_SECONDS, self.start)

    def start(self) -> None:
        for part in self.parts:
            part.start()


def settle(loop: asyncio.AbstractEventLoop, callback: Callable[..., None], *args: object) -> None:
    """Call back on the loop, unless it has ended meanwhile."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(callback, *args)


def seen(loading: "asyncio.Future[Any]") -> None:
    """Look at a failure, for where nobody waits for it any more."""
    if not loading.cancelled():
        loading.exception()

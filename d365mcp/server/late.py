"""The MCP SDK and all that a call needs, imported after the first answer: three quarters of a cold start.

One daemon thread imports everything, one after the other: entry points of the SDK imported from several threads at once
deadlock, and an import on the event loop blocks every other request.
"""

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from d365mcp.server.sdk import Engine

log = logging.getLogger(__name__)

# Started at once, the imports would cost the first answer 20 to 40 ms.
ARM_SECONDS = 0.02


class EngineUnavailableError(Exception):
    """What calls need could not be imported; tried again with the next request."""

    def __init__(self, package: str) -> None:
        super().__init__(f"This server's package {package} could not be loaded: its deployment is incomplete.")


class LateEngine:
    """Holds what answers MCP requests, once it has been loaded."""

    def __init__(self, load: "Callable[[], Engine]", then: Callable[[], object] = lambda: None) -> None:
        """`load` returns what answers; `then` imports what the first calls need, when those who wait have theirs."""
        self.load = load
        self.then = then
        self.engine: Engine | None = None
        self.loading: asyncio.Future[Engine] | None = None

    def arm(self) -> None:
        """Begin loading shortly, when the answer under way has been sent."""
        if self.engine is None and self.loading is None:
            asyncio.get_running_loop().call_later(ARM_SECONDS, self.start)

    async def get(self) -> "Engine":
        """Return what answers. Raises EngineUnavailableError when it cannot be loaded."""
        if self.engine is not None:
            return self.engine
        # Shielded: one caller's end must not end the loading the others wait for.
        return await asyncio.shield(self.start())

    def start(self) -> "asyncio.Future[Engine]":
        loop = asyncio.get_running_loop()
        if self.loading is None or self.loading.get_loop() is not loop:
            self.loading = loop.create_future()
            self.loading.add_done_callback(seen)
            threading.Thread(target=self.work, args=(loop, self.loading), name="late imports", daemon=True).start()
        return self.loading

    def work(self, loop: asyncio.AbstractEventLoop, loading: "asyncio.Future[Engine]") -> None:
        try:
            engine = self.load()
        except Exception as problem:  # whatever it is has to reach those who wait
            log.exception("The server's packages could not be loaded.")
            package = getattr(problem, "name", None) or type(problem).__name__
            settle(loop, self.failed, loading, EngineUnavailableError(package))
        else:
            settle(loop, self.loaded, loading, engine)
            self.then()

    def loaded(self, loading: "asyncio.Future[Engine]", engine: "Engine") -> None:
        self.engine = engine
        self.loading = None
        if not loading.done():
            loading.set_result(engine)

    def failed(self, loading: "asyncio.Future[Engine]", problem: Exception) -> None:
        self.loading = None
        if not loading.done():
            loading.set_exception(problem)


def settle(loop: asyncio.AbstractEventLoop, callback: Callable[..., None], *args: object) -> None:
    """Call back on the loop, unless it has ended meanwhile."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(callback, *args)


def seen(loading: "asyncio.Future[Engine]") -> None:
    """Look at a failure, for where nobody waits for it any more."""
    if not loading.cancelled():
        loading.exception()

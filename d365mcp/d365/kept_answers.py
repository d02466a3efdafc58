"""What F&O answers for a while in the same way: asked once by many, and kept. Knows no MCP.

No caller sees what another may see. With on-behalf-of each user asks F&O separately, and an answer or a refusal is kept for
that user alone. Where we sign in as the app, all callers share one answer. (The app reads the catalog's snapshot for itself;
it serves every caller of this server.)
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

from d365mcp.d365.http import D365Http, deadline_exceeded, seconds_left
from d365mcp.events import Operation, Trace, current_operation
from d365mcp.singleflight import SingleFlight

T = TypeVar("T")


class KeptAnswers(Generic[T]):
    """Answers by identity and key. A look-up has the time of a whole request, however little its first caller has left."""

    # A request to F&O must outlive its flight: only the flight's end lets the callers that joined it go on.
    LONGER, LONGER_SECONDS = 1.1, 1.0

    def __init__(self, http: D365Http, keep: float, most: int) -> None:
        self.http = http
        self.seconds = http.settings.deadline_seconds
        self.flights: SingleFlight[T] = SingleFlight(self.seconds, keep=keep, most=most)

    async def get(self, key: Hashable, ask: Callable[[], Coroutine[Any, Any, T]], *, fresh: bool = False) -> T:
        """Return the kept answer unless it has to be `fresh`, else ask as the present caller. A failure is not kept."""
        operation = current_operation() or Operation(
            Trace.continued(None), time.monotonic() + self.seconds, on_own_behalf=True
        )
        place = (self.http.tokens.identity_of(operation), key)
        if fresh:
            self.flights.forget(place)

        async def asking() -> T:
            with operation.apart(self.seconds * self.LONGER + self.LONGER_SECONDS):
                return await ask()

        try:
            async with asyncio.timeout(seconds_left()):
                return await self.flights.get(place, asking)
        except TimeoutError:
            raise deadline_exceeded("F&O did not answer") from None

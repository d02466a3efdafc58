"""How many of this process's requests may be at F&O at once. Performs no I/O.

F&O throttles when it is short of resources, and nothing says in advance how much it bears. So nothing is held back before it
turns a request away. From then on no more are sent at once than it bore, or none until its wait is over where it bore none.
After that a few more may be sent, and soon many more, until it turns one away again. Holding back delays a call no longer
than a throttled call waits anyway.
"""

import asyncio
import math
import random
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple, Protocol

from d365mcp.errors import D365Error, OutcomeUnknown, Throttled

# F&O is not tried with more at once sooner than this. The pause doubles each time the first try is turned away.
LEAST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 1.0, 4.0
# Each quiet step lets in twice as many more as the one before. After so many steps all is forgotten.
_STEPS = 8


class Wait(NamedTuple):
    """What F&O has asked for: so many seconds from a `time.monotonic()` on."""

    seconds: float
    at: float

    @property
    def until(self) -> float:
        return self.at + self.seconds


class Others(Protocol):
    """The other instances: what F&O asks of them, and where they learn what it asks of us."""

    def heard(self) -> Wait | None:
        """Return the newest wait another was asked for, where it is not returned yet."""

    def announce(self, wait: float) -> None:
        """Let others know of a wait that begins now."""


class Throttling:
    """What one environment bears. A call waits no longer than `patience` seconds, whatever was asked for."""

    def __init__(self, patience: float, others: Others | None = None) -> None:
        self.patience = patience
        self.others = others
        self.in_flight = 0
        self.waiting: deque[asyncio.Future[None]] = deque()
        self.bearable = math.inf  # at once, until `until`; then it grows with every `pause`
        self.until = 0.0
        self.pause = LEAST_PAUSE_SECONDS
        self.failed_tries = 0  # how often in a row more was tried, and the first of them was turned away

    @asynccontextmanager
    async def admission(self, end: float) -> AsyncIterator[float]:
        """Hold a place for one request, and yield the seconds it was waited for. Raises Throttled at `end`."""
        began = time.monotonic()
        await self.enter(end)
        problem: BaseException | None = None
        try:
            yield time.monotonic() - began
        except BaseException as failure:
            problem = failure
            raise
        finally:
            self.leave(problem)

    async def enter(self, end: float) -> None:
        """Take a place. Raises Throttled where none comes free in time."""
        if self.others and (heard := self.others.heard()):
            self.hear(heard)
        allowed = self.allowed()
        is_hopeless = allowed == 0 and self.until >= end  # then F&O's own answer says how long it is
        if (self.waiting or self.in_flight >= allowed) and not is_hopeless:
            await self.wait(end)
        else:
            self.in_flight += 1

    def hear(self, wait: Wait) -> None:
        """Heed what another instance met, while it matters: what this one has at F&O meanwhile goes on."""
        if wait.until + LEAST_PAUSE_SECONDS > time.monotonic():
            allowed = self.allowed()
            self.heed(allowed if self.in_flight and allowed < math.inf else self.in_flight, wait)

    def leave(self, problem: BaseException | None = None) -> None:
        """Give a place back; `problem` is what the request that had it ended in."""
        self.in_flight -= 1
        if isinstance(problem, D365Error):
            self.met(problem)
        self.let_in()

    def met(self, problem: D365Error) -> None:
        """Heed an error that asks to wait. Requests turned away come back at once: what is still at F&O, it bears."""
        if not (wait := problem.asked_wait if isinstance(problem, OutcomeUnknown) else problem.retry_after):
            return
        if (quiet := time.monotonic() - self.until) >= 0:
            self.failed_tries = min(self.failed_tries + 1, _STEPS) if quiet < self.pause else 0
        self.heed(self.in_flight, Wait(wait, time.monotonic()))
        if self.others:
            self.others.announce(wait)

    def heed(self, borne: float, wait: Wait) -> None:
        """Let no more than were borne go out at once until the wait is over."""
        if wait.seconds > self.patience:
            borne = max(borne, 1)  # no call can wait that long: one at a time learns how long it is
        hold = min(wait.seconds, self.patience)
        self.bearable = min(borne, self.allowed())
        self.pause = max(hold, LEAST_PAUSE_SECONDS)
        jitter = random.uniform(0.0, 0.5)  # noqa: S311 - not for secrets
        pause = min(self.pause * 2**self.failed_tries, _LONGEST_PAUSE_SECONDS)
        self.until = max(self.until, wait.at + (pause * (1 + jitter) if self.bearable else hold * (1 + jitter / 5)))

    def allowed(self) -> float:
        """Return how many may be at F&O at once now."""
        quiet = time.monotonic() - self.until
        if quiet < 0 or self.bearable == math.inf:
            return self.bearable
        steps = 1 + int(quiet / self.pause)
        if steps > _STEPS:
            self.bearable, self.failed_tries = math.inf, 0
            return self.bearable
        return self.bearable + float(2**steps - 1)

    def grows_at(self) -> float:
        """Return when more may go out than now, if F&O turns none away."""
        quiet = time.monotonic() - self.until
        return self.until + (self.pause * (1 + int(quiet / self.pause)) if quiet >= 0 else 0.0)

    async def wait(self, end: float) -> None:
        """Wait for a place, first come, first served. Raises Throttled where none comes in time."""
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting.append(place)
        self.let_in()
        try:
            while not place.done():
                now = time.monotonic()
                if now >= end:
                    raise _out_of_patience(self.pause)
                await asyncio.wait([place], timeout=min(end, self.grows_at()) - now + 0.001)
                self.let_in()
        except BaseException:  # a cancellation too has to give the place back
            if place.done():
                self.leave()
            else:
                self.waiting.remove(place)
            raise

    def let_in(self) -> None:
        while self.waiting and self.in_flight < self.allowed():
            self.in_flight += 1
            self.waiting.popleft().set_result(None)


def _out_of_patience(wait: float) -> Throttled:
    return Throttled(
        "F&O is throttling requests, and too many wait for it to take more: this one was not sent.",
        hint="Try again later, and ask for less.",
        retry_after=math.ceil(wait),
    )

"""What happened, as records that do not change, and the request they belong to. Performs no I/O and knows no listener.

Core code emits; `telemetry/` listens. An `Operation` is the MCP request under way: it travels with the task (a context
variable), so that an exchange with F&O finds its parent, its deadline and its caller without passing them by hand.
"""

import asyncio
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, NamedTuple

Outcome = Literal["ok", "tool_error", "protocol_error", "timeout", "refused"]


def random_hex(count: int) -> str:
    """Return that many random bytes in hexadecimal, for an id that need not be hard to guess."""
    return random.randbytes(count).hex()  # noqa: S311 - an id, no secret


class Trace(NamedTuple):
    """Where an event stands in a W3C trace: 32 and 16 hexadecimal digits."""

    trace_id: str
    span_id: str
    parent_id: str | None = None

    def traceparent(self) -> str:
        """Return the header that makes this span the parent of what is called next."""
        return f"00-{self.trace_id}-{self.span_id}-01"

    def child(self) -> "Trace":
        return Trace(self.trace_id, random_hex(8), self.span_id)

    @classmethod
    def continued(cls, traceparent: str | None) -> "Trace":
        """Return a span below the one `traceparent` names, or the first of a new trace."""
        parts = (traceparent or "").split("-")
        if len(parts) == 4 and len(parts[1]) == 32 and len(parts[2]) == 16:
            return cls(parts[1], random_hex(8), parts[2])
        return cls(random_hex(16), random_hex(8))


class Ending(NamedTuple):
    """How a request ended. A caller's mistake is what its answer helps the caller to correct: no failure of the server."""

    outcome: Outcome = "ok"
    error_code: str | None = None
    callers_mistake: bool = False


class McpRequest(NamedTuple):
    """One MCP request answered. `name` is the tool's name, or the method's where no tool was called."""

    name: str
    method: str
    trace: Trace
    started_at: float  # seconds since 1970
    duration_ms: float
    outcome: Outcome
    error_code: str | None = None
    callers_mistake: bool = False
    toolset: str | None = None
    protocol_version: str | None = None
    client_name: str | None = None
    caller: str | None = None
    invocation_id: str | None = None
    cold_start: bool = False
    queue_ms: float = 0.0
    d365_ms: float = 0.0
    d365_calls: int = 0
    retries: int = 0
    throttles: int = 0
    companies: int = 0
    rows: int = 0
    bytes: int = 0
    measured: Mapping[str, float] = MappingProxyType({})  # what its tool measured, by name


class D365Exchange(NamedTuple):
    """One HTTP exchange with F&O. `path` has neither query nor key values; `status` is None when no answer came.

    `held_ms` is how long it waited before it was sent because F&O throttles; `duration_ms` begins after that.
    """

    method: str
    host: str
    path: str
    trace: Trace
    started_at: float
    duration_ms: float
    status: int | None
    attempt: int = 1
    error: str | None = None
    activity_id: str | None = None
    request_id: str | None = None
    bytes: int = 0
    held_ms: float = 0.0


class CatalogRefreshed(NamedTuple):
    """A catalog snapshot was built, skipped or failed to build."""

    environment: str
    outcome: Literal["built", "unchanged", "failed"]
    duration_ms: float
    entities: int = 0
    error: str | None = None


class Audit(NamedTuple):
    """A write, or a call refused: who, what, on which record (only a hash of its key), how it ended."""

    caller: str
    tool: str | None
    entity: str | None
    key_hash: str | None
    outcome: str
    trace: Trace
    activity_id: str | None = None


class Refusal(NamedTuple):
    """Calls of nobody in particular that were refused for one reason: counted, since anybody can send any number."""

    reason: str
    trace: Trace  # of the first
    calls: int = 1


class StatisticsReset(NamedTuple):
    """Someone let the performance statistics count from now on."""

    caller: str
    reset_at: float
    trace: Trace


Event = McpRequest | D365Exchange | CatalogRefreshed | Audit | Refusal | StatisticsReset
Listener = Callable[[Event], None]


@dataclass(frozen=True)
class Caller:
    """Who calls this server, and what they may do."""

    name: str = "anonymous"
    roles: frozenset[str] = frozenset()  # all they hold: the greater include the lesser
    assertion: str | None = field(default=None, repr=False)  # their own token, where we act on their behalf


@dataclass(slots=True)
class Operation:
    """The MCP request under way: its trace, its deadline, who asks, and what it has cost so far."""

    trace: Trace
    deadline: float  # time.monotonic() at which the answer must be ready
    caller: str = "anonymous"
    user_assertion: str | None = field(default=None, repr=False)  # the caller's token, for on-behalf-of only
    on_own_behalf: bool = False  # nobody called: the operator's command
    d365_ms: float = 0.0
    d365_calls: int = 0
    d365_asking: int = 0  # exchanges under way
    d365_since: float = 0.0
    retries: int = 0
    throttles: int = 0
    activity_id: str | None = None  # by which F&O's support finds the exchange that ended last
    wrote: bool = False
    limit: float = 0.0  # time.monotonic() until which a write that was sent may go on, where that is later
    timer: asyncio.Timeout | None = field(default=None, repr=False)  # what ends the work at the deadline
    rows: int = 0
    companies: set[str] = field(default_factory=set)
    measured: dict[str, float] = field(default_factory=dict)
    began_by: "Operation | None" = field(default=None, repr=False)  # whose request work apart counts for

    def asks_d365(self) -> None:
        """Begin an exchange with F&O: the time that several take side by side counts once."""
        if self.began_by:
            self.began_by.asks_d365()
        if not self.d365_asking:
            self.d365_since = time.perf_counter()
        self.d365_asking += 1

    def has_asked_d365(self) -> None:
        """End an exchange with F&O."""
        if self.began_by:
            self.began_by.has_asked_d365()
        self.d365_calls += 1
        self.d365_asking -= 1
        if not self.d365_asking:
            self.d365_ms += (time.perf_counter() - self.d365_since) * 1000

    @contextmanager
    def apart(self, seconds: float) -> "Iterator[Operation]":
        """Work on what others may join: for the same identity and the same trace, with a deadline of its own."""
        deadline = time.monotonic() + seconds
        own = Operation(self.trace, deadline, self.caller, self.user_assertion, self.on_own_behalf, began_by=self)
        try:
            with working_on(own):
                yield own
        finally:
            self.retries += own.retries
            self.throttles += own.throttles
            self.activity_id = own.activity_id or self.activity_id

    @property
    def has_written(self) -> bool:
        """Return whether a write was sent that was not refused: then the work goes on to the host's own limit.

        Nobody can take it back, and only its answer tells what became of it.
        """
        return self.wrote

    @has_written.setter
    def has_written(self, wrote: bool) -> None:
        self.wrote = wrote
        if self.timer and not self.timer.expired():
            self.timer.reschedule(asyncio.get_running_loop().time() + self.remaining(safe=not wrote))

    def remaining(self, *, safe: bool = True) -> float:
        """Return the seconds left for reading, or for a write that is sent; never below zero."""
        end = self.deadline if safe else max(self.deadline, self.limit)
        return max(0.0, end - time.monotonic())


_current: ContextVar[Operation | None] = ContextVar("operation", default=None)


def current_operation() -> Operation | None:
    """Return the request this task works for, or None outside of any (a timer, a command line)."""
    return _current.get()


@contextmanager
def working_on(operation: Operation) -> Iterator[Operation]:
    """Make `operation` the current one for the duration of the block."""
    token = _current.set(operation)
    try:
        yield operation
    finally:
        _current.reset(token)

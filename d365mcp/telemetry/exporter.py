"""Listens to events and hands them to Application Insights without ever delaying or failing a request.

Cheap to import: what sends (`ingestion`) is imported by a background thread once the first answers are out; until then
events wait here.
"""

import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from d365mcp.events import Event, Refusal
from d365mcp.settings import Settings

if TYPE_CHECKING:
    from d365mcp.telemetry.ingestion import Ingestion

log = logging.getLogger(__name__)

_LOAD_AFTER_SECONDS = 2.0

RecordedEvent = tuple[Event, float]  # an event, and when it was recorded, in seconds since 1970


class Pace(NamedTuple):
    """How often and how patiently telemetry is sent, in seconds, and how much of it may wait."""

    interval: float = 2.0
    timeout: float = 10.0
    first_pause: float = 2.0
    longest_pause: float = 60.0
    batch: int = 500
    most_waiting: int = 20_000


_USUAL_PACE = Pace()


@dataclass(frozen=True)
class Backlog:
    """How telemetry fares: what waits in memory (events) and on disk (batches), what was lost, and why."""

    state: Literal["off", "loading", "sending", "failing", "broken"]
    waiting: int = 0
    on_disk: int = 0
    dropped: int = 0
    last_sent_at: float | None = None
    problem: str | None = None


class Refusals:
    """Counts refused calls of nobody in particular until they are sent: a flood of them takes no room of others."""

    def __init__(self) -> None:
        self._counted: dict[str, Refusal] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._counted)

    def add(self, event: Refusal) -> None:
        with self._lock:
            known = self._counted.get(event.reason)
            self._counted[event.reason] = known._replace(calls=known.calls + event.calls) if known else event

    def taken(self) -> list[Refusal]:
        """Return what was counted, one for each reason, and begin anew."""
        with self._lock:
            counted, self._counted = self._counted, {}
        return list(counted.values())


class Telemetry:
    """A listener. Who imports things in the background may call `load` early; it is called in any case."""

    def __init__(self, settings: Settings, pace: Pace, audit_key: Callable[[], bytes]) -> None:
        self.settings = settings
        self.pace = pace
        self.audit_key = audit_key
        self.enabled = settings.performance_monitoring and bool(settings.application_insights)
        self.problem: str | None = None
        self.dropped = 0
        self.ingestion: Ingestion | None = None
        self.waiting: deque[RecordedEvent] = deque()
        self.refusals = Refusals()
        self._loading = threading.Lock()
        self._timer: threading.Timer | None = None

    def __call__(self, event: Event) -> None:
        """Record an event: no I/O, no exception, no wait."""
        if not self.enabled:
            return
        if isinstance(event, Refusal):
            self.refusals.add(event)
        elif len(self.waiting) < self.pace.most_waiting:
            self.waiting.append((event, time.time()))
        else:
            self.dropped += 1
        if not self._timer:
            self._timer = threading.Timer(_LOAD_AFTER_SECONDS, self.load)
            self._timer.daemon = True
            self._timer.start()

    def load(self) -> None:
        """Import what sends, and let it begin. Takes a quarter of a second: never call it on an event loop."""
        with self._loading:
            if not self.enabled or self.ingestion:
                return
            try:
                from d365mcp.telemetry.ingestion import Ingestion

                self.ingestion = Ingestion(self.settings, self.pace, self.due, self.audit_key)
            except ImportError as exc:
                self._give_up(f"The package {exc.name} is missing: the deployment is incomplete.")
            except Exception as exc:  # whatever is wrong, the server works without telemetry
                self._give_up(f"APPLICATIONINSIGHTS_CONNECTION_STRING cannot be used: {exc}")

    def due(self) -> list[RecordedEvent]:
        """Return what may be sent now, a batch at most."""
        refused = [(event, time.time()) for event in self.refusals.taken()]
        return refused + [self.waiting.popleft() for _ in range(min(len(self.waiting), self.pace.batch))]

    def _give_up(self, problem: str) -> None:
        self.enabled = False
        self.problem = problem
        self.dropped += len(self.waiting)
        self.waiting.clear()
        log.error("No telemetry is sent. %s", problem)

    def backlog(self) -> Backlog:
        """Return how telemetry fares, for the health function."""
        sender = self.ingestion
        if sender:
            state: Literal["failing", "sending"] = "failing" if sender.problem else "sending"
            return Backlog(state, len(self.waiting), sender.on_disk, self.dropped, sender.sent_at, sender.problem)
        if self.problem:
            return Backlog("broken", dropped=self.dropped, problem=self.problem)
        return Backlog("loading" if self.enabled else "off", len(self.waiting), dropped=self.dropped)

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until all events so far were sent or put on disk. Loads first: never call it on an event loop."""
        self.load()
        return self.ingestion.flush(timeout) if self.ingestion else not self.enabled

    def close(self, timeout: float = 5.0) -> None:
        """Send what waits and end the threads; at exit this happens by itself."""
        if self._timer:
            self._timer.cancel()
        if self.waiting or self.refusals:
            self.load()
        if self.ingestion:
            self.ingestion.close(timeout)


def start(
    settings: Settings, pace: Pace = _USUAL_PACE, audit_key: Callable[[], bytes] = secrets.token_bytes
) -> Telemetry:
    """Return the listener; it is off without a connection string or with MCP_PERFORMANCE_MONITORING=false.

    `audit_key` returns the key that hashes of records' keys are made with; it may block, and raise what we raise.
    """
    return Telemetry(settings, pace, audit_key)

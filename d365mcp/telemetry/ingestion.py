"""The way to Application Insights, through opencensus-ext-azure: the one file that knows OpenCensus, which is retired.

Importing it costs a quarter of a second, because OpenCensus brings azure-identity and requests in: never on an event
loop. From the library come the thread, the folder for what could not be sent, the connection string and the orderly
exit; what it does wrong is done here:

| the library | here |
|---|---|
| reports on itself: a synchronous request to Microsoft in the constructor, two threads more | never |
| drops what met a network error or a missing credential | kept in the folder, sent later |
| tries on with every batch while the endpoint is down, each for ten seconds, until the queue overflows | pauses |
| a new connection for each batch, uncompressed | one kept alive, gzip |
| spans without kind always succeed, durations in whole milliseconds, no measurements, its own role and instance | `envelopes` |
| wakes its thread for each item; `flush` returns at once when the thread holds a half-filled batch | one look each interval; waits |
| logging handlers that fail on Python 3.13, metrics without percentiles, a sampler that keeps 1 in 10,000 | none is used |
"""

import gzip
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import httpx
from azure.core.exceptions import AzureError
from azure.identity import ManagedIdentityCredential
from opencensus.common.schedule import QueueEvent
from opencensus.ext.azure.common import Options, utils
from opencensus.ext.azure.common.transport import RETRYABLE_STATUS_CODES, TransportStatusCode
from opencensus.ext.azure.trace_exporter import AzureExporter

from d365mcp.events import Audit
from d365mcp.settings import LOOPBACK, Settings
from d365mcp.telemetry.envelopes import Envelope, Source, envelopes
from d365mcp.telemetry.exporter import Pace, RecordedEvent
from d365mcp.telemetry.key_hash import KeyedHash
from d365mcp.wire import write_json

log = logging.getLogger(__name__)

# The double slash is part of the audience: opencensus.ext.azure.common.transport._MONITOR_OAUTH_SCOPE
_SCOPE = "https://monitor.azure.com//.default"
_MOST_REDIRECTS = 3
_INGESTION_HOSTS = tuple(f".applicationinsights.azure.{cloud}" for cloud in ("com", "us", "cn"))
# Uncompressed: nothing that unfolds. An answer has a line for each item refused.
_HEADERS = {
    "Content-Type": "application/json; charset=utf-8",
    "Content-Encoding": "gzip",
    "Accept-Encoding": "identity",
}
_KEPT_HEADERS = ("location", "retry-after")
_MAX_ANSWER_BYTES = 1024 * 1024


class _Token(Protocol):
    token: str


class _Credential(Protocol):
    """What is needed of azure-identity's credentials, which remember their token themselves."""

    def get_token(self, *scopes: str) -> _Token: ...


class Ingestion(AzureExporter):  # type: ignore[misc]  # OpenCensus publishes no types
    """Sends events from a thread of its own; what cannot be sent waits in a folder on this instance's disk.

    The thread fetches the events itself, once each interval. The library's queue would wake it for each one, which costs
    a request ten times as much as the event; it carries only the wish to flush or to end.
    """

    def __init__(
        self, settings: Settings, pace: Pace, due: Callable[[], list[RecordedEvent]], audit_key: Callable[[], bytes]
    ) -> None:
        options = Options(connection_string=settings.application_insights)
        # Before the constructor, which starts its thread first and checks the key then.
        utils.validate_instrumentation_key(options.instrumentation_key)
        self.source = Source.of(settings, options.instrumentation_key)
        self.url = f"{options.endpoint.rstrip('/')}/v2.1/track"
        self.entra = _credential(settings.application_insights_auth)
        local = urlsplit(self.url).hostname in LOOPBACK
        self.http = httpx.Client(timeout=pace.timeout, trust_env=not local)  # no proxy leads to this machine
        self.pace = pace
        self.due = due
        self.hashed = KeyedHash(audit_key)
        self.pause = 0.0
        self.paused_until = 0.0
        self.sent_at: float | None = None
        self.problem: str | None = None
        self.complete = threading.Event()  # the constructor starts its thread before it has all that this needs
        super().__init__(
            connection_string=settings.application_insights,
            export_interval=pace.interval,
            max_batch_size=pace.batch,
            minimum_retry_interval=pace.first_pause,
            timeout=pace.timeout,
        )
        self.complete.set()

    @property
    def on_disk(self) -> int:
        """Return how many batches wait in the folder."""
        return sum(1 for _ in Path(self.storage.path).glob("*.blob*"))

    def flush(self, timeout: float) -> bool:
        """Wait until all that waits now has been sent or put on disk."""
        event = QueueEvent("flush")
        self._queue.put(event, timeout=timeout)
        return bool(event.wait(timeout))

    def close(self, timeout: float) -> None:
        """Send what waits, as far as the time allows, and end the threads."""
        self._stop(timeout)
        self.http.close()

    def _check_stats_collection(self) -> bool:
        return False

    def emit(self, batch: Sequence[RecordedEvent], event: QueueEvent | None = None) -> None:
        self.complete.wait()
        while due := self.due():
            super().emit(due)
        super().emit(batch, event)

    def span_data_to_envelope(self, recorded: RecordedEvent) -> Iterator[Envelope]:
        event, recorded_at = recorded
        if isinstance(event, Audit) and event.key_hash:
            event = event._replace(key_hash=self.hashed(event.key_hash))
        return envelopes(event, recorded_at, self.source)

    def _transmit_from_storage(self) -> None:
        if not self.paused:
            super()._transmit_from_storage()

    @property
    def paused(self) -> bool:
        return time.monotonic() < self.paused_until

    def _transmit(self, batch: Sequence[Envelope]) -> int:
        """Send a batch and say what becomes of it; _RETRY means the folder."""
        if not batch:
            return _SUCCESS
        if self.paused:
            return _RETRY
        try:
            return self.outcome_of(self.posted(batch), batch)
        except (httpx.HTTPError, httpx.InvalidURL, AzureError) as exc:
            return self.failed(_reason(exc))

    def posted(self, batch: Sequence[Envelope]) -> httpx.Response:
        content = gzip.compress(write_json(batch), compresslevel=1)
        answer = self.post(content)
        for _ in range(_MOST_REDIRECTS):
            if answer.status_code not in (307, 308):
                break
            # Followed by hand and remembered: the component has moved, and httpx would leave the token behind.
            there = answer.url.join(answer.headers.get("location", ""))
            if not _is_ingestion(there, answer.url):
                raise httpx.InvalidURL("Application Insights points to another service: not followed.")
            self.url = str(there)
            answer = self.post(content)
        return answer

    def post(self, content: bytes) -> httpx.Response:
        headers = dict(_HEADERS)
        if self.entra:
            headers["Authorization"] = f"Bearer {self.entra.get_token(_SCOPE).token}"
        with self.http.stream("POST", self.url, content=content, headers=headers) as answer:
            content = next(answer.iter_raw(_MAX_ANSWER_BYTES), b"")  # as much as is worth reading
            kept = {name: answer.headers[name] for name in _KEPT_HEADERS if name in answer.headers}
            return httpx.Response(answer.status_code, headers=kept, content=content, request=answer.request)

    def outcome_of(self, answer: httpx.Response, batch: Sequence[Envelope]) -> int:
        if answer.status_code == 200:
            return self.succeeded()
        if answer.status_code == 206:
            return self.partly_accepted(answer, batch)
        problem = f"HTTP {answer.status_code}: {answer.text[:300]}".replace(self.options.instrumentation_key, "…")
        if answer.status_code in RETRYABLE_STATUS_CODES:
            return self.failed(problem, answer.headers.get("retry-after", ""))
        if problem != self.problem:
            log.error("Application Insights refuses telemetry for good. %s", problem)
        self.problem = problem
        return _DROP

    def succeeded(self) -> int:
        if self.problem:
            log.info("Application Insights takes telemetry again.")
        self.pause, self.problem, self.sent_at = 0.0, None, time.time()
        return _SUCCESS

    def partly_accepted(self, answer: httpx.Response, batch: Sequence[Envelope]) -> int:
        """Keep the items that may pass later; the others are malformed or beyond a quota."""
        try:
            refused: list[dict[str, Any]] = answer.json().get("errors", [])
            again = [batch[each["index"]] for each in refused if each["statusCode"] in RETRYABLE_STATUS_CODES]
        except (AttributeError, LookupError, TypeError, ValueError, RecursionError):
            return self.failed("HTTP 206, without saying what was refused.")
        if lost := len(refused) - len(again):
            log.error("Application Insights refused %d items for good: %s", lost, str(refused)[:300])
        if again:
            self.storage.put(again, self.pace.first_pause)
        return self.succeeded()

    def failed(self, problem: str, retry_after: str = "") -> int:
        """Pause, twice as long as before or as long as asked; one line in the log for each outage."""
        if not self.problem:
            log.warning("Application Insights does not take telemetry; it is kept and sent later. %s", problem)
        self.problem = problem
        longer = min(max(self.pause * 2, self.pace.first_pause), self.pace.longest_pause)
        self.pause = min(float(retry_after), self.pace.longest_pause) if retry_after.isdecimal() else longer
        self.paused_until = time.monotonic() + self.pause
        return _RETRY


_SUCCESS: int = TransportStatusCode.SUCCESS
_RETRY: int = TransportStatusCode.RETRY
_DROP: int = TransportStatusCode.DROP


def _reason(problem: Exception) -> str:
    """Return why nothing was sent: its own words only where they are of the network, which hold no token."""
    name = type(problem).__name__
    of_network = isinstance(problem, httpx.NetworkError | httpx.TimeoutException | httpx.InvalidURL)
    return f"{name}: {str(problem)[:300]}" if of_network else name


def _is_ingestion(there: httpx.URL, here: httpx.URL) -> bool:
    """Return whether telemetry, and the token with it, may go where an answer points: nobody else has such a host."""
    same = (there.scheme, there.netloc) == (here.scheme, here.netloc)
    return same or (there.scheme == "https" and there.host.endswith(_INGESTION_HOSTS))


def _credential(authentication: str) -> _Credential | None:
    """Return the identity that `Authorization=AAD;ClientId=…` names, or None where the instrumentation key does."""
    parts = dict(part.strip().lower().partition("=")[::2] for part in authentication.split(";"))
    if parts.get("authorization") != "aad":
        return None
    return ManagedIdentityCredential(client_id=parts.get("clientid") or None)

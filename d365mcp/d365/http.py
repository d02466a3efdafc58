"""One request to F&O: token, timeout, retry, event. Knows HTTP, not OData.

Reads are tried up to three times; a write only where F&O cannot have begun with it.
"""

import asyncio
import itertools
import math
import random
import re
import string
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from d365mcp import __version__
from d365mcp.d365.auth import TokenSource
from d365mcp.d365.decompression import ACCEPTED_ENCODING, Decoder
from d365mcp.d365.outcomes import Write, as_clause, failure_of, outcome_unknown
from d365mcp.d365.responses import HttpAnswer, activity_id, error_of
from d365mcp.d365.throttling import Others, Throttling
from d365mcp.errors import (
    NARROWER,
    D365Error,
    D365McpError,
    DeadlineExceeded,
    InvalidAnswer,
    InvalidArgument,
    OutcomeUnknown,
    Throttled,
    Unauthorized,
    Unavailable,
    Unreachable,
)
from d365mcp.events import D365Exchange, Listener, Operation, Trace, current_operation
from d365mcp.settings import Settings
from d365mcp.singleflight import SingleFlight
from d365mcp.wire import read_bounded

if TYPE_CHECKING:
    from d365mcp.d365.transport import Connections, Incoming

_ATTEMPTS = 3
# A throttled call waits no longer than this in all, and never past the request's deadline.
_PATIENCE_SECONDS = 20.0
# Importing aiohttp and reading the certificates takes tenths of a second; a slow disk has more time.
_BUILD_SECONDS = 60.0
# Outside of a request (a timer, a command line) a call may take this long.
_UNBOUND_SECONDS = 180.0
MAX_PAGE_BYTES = 32 * 1024 * 1024
ASK_FOR_LESS = "Select fewer columns or fewer rows."

_HEADERS = {
    "user-agent": f"d365mcp/{__version__}",  # by which F&O's own logs name us
    "accept": "application/json;odata.metadata=minimal",
    "accept-encoding": ACCEPTED_ENCODING,
    "odata-version": "4.0",
    "odata-maxversion": "4.0",
}
# Characters that a URL has as they are. All else is encoded: a line end would end the line, and # would end the URL.
_SENT_AS_IT_IS = string.punctuation.replace("#", "")
_MAX_TARGET_CHARS = 64 * 1024
_HEADER = re.compile(r"[ -~]*")
_UNSENDABLE = "What is asked for does not fit into a URL, so nothing was sent: give shorter key values and names."
_KEY_PREDICATE = re.compile(r"\([^)]*\)")


Receive = Callable[[AsyncIterator[bytes]], Awaitable[bytes]]


class NotSent(Exception):
    """No connection was made: nothing has reached F&O."""


class ConnectionLost(Exception):
    """A connection broke before its answer was there; F&O may be at work."""


@dataclass
class PoolFacts:
    """The connection pool as it stands, and what it has done. Key names are d365fo-client's where they exist."""

    limit: int
    active: int = 0
    idle: int = 0
    acquired: int = 0
    errors: int = 0


@dataclass(frozen=True)
class Request:
    """One request, relative to the environment; `write` says what it writes, if anything."""

    method: str
    path: str  # starts with a slash
    query: str = ""
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    write: Write | None = None
    max_bytes: int = MAX_PAGE_BYTES
    hint: str = ASK_FOR_LESS  # what to do about an answer that is larger
    # Takes an answer piece by piece, and returns what of it is the body. Each attempt begins anew.
    receive: Receive | None = None
    seconds: float | None = None  # for what runs outside of an MCP request and takes its time

    @property
    def safe(self) -> bool:
        """Return whether sending it twice does no harm."""
        return self.write is None

    def place(self) -> str:
        """Return the path without key values: what telemetry may see."""
        return _KEY_PREDICATE.sub("()", self.path)


class D365Http:
    """The way to one environment: its connections are one set per process, opened when first used."""

    def __init__(self, settings: Settings, tokens: TokenSource, emit: Listener, others: Others | None = None) -> None:
        self.throttling = Throttling(_PATIENCE_SECONDS, others)
        self.settings = settings
        self.base_url = settings.base_url
        self.prefix = urlsplit(settings.base_url).path.rstrip("/")
        self.tokens = tokens
        self.emit = emit
        self.facts = PoolFacts(settings.connection_pool_size)
        self.places = asyncio.Semaphore(self.facts.limit)
        self.connections: SingleFlight[Connections] = SingleFlight(_BUILD_SECONDS, keep=math.inf)

    async def send(self, request: Request) -> HttpAnswer:
        """Send a request and return a successful answer. Raises a D365Error or DeadlineExceeded."""
        worth_it = _worth_retrying if request.safe else _not_begun
        end = time.monotonic() + min(_PATIENCE_SECONDS, seconds_left())
        asked_to_wait = 0.0
        for number in itertools.count(1):
            try:
                async with self.throttling.admission(end) as waited:
                    return await self.attempt(request, number, asked_to_wait + waited)
            except D365Error as problem:
                wait = _pause(problem, number)
                asked_to_wait = wait if problem.retry_after else 0.0
                if number == _ATTEMPTS or not worth_it(problem) or time.monotonic() + wait >= end:
                    raise
            await asyncio.sleep(wait)
            if operation := current_operation():
                operation.retries += 1
        raise AssertionError("unreachable")  # pragma: no cover

    async def attempt(self, request: Request, number: int, held: float) -> HttpAnswer:
        """Send once; a refused token is replaced once."""
        meter = Meter(request, number, held)
        with _until_refused(request):
            try:
                return await self.exchange(meter)
            except Unauthorized:
                return await self.exchange(Meter(request, number), refused=meter.token)

    async def exchange(self, meter: "Meter", *, refused: str = "") -> HttpAnswer:
        request = meter.request
        async with self.opened(meter, refused=refused) as incoming:
            with _write_may_be_done(request, incoming.status):
                answer = await _read_answer(incoming, meter)
            if answer.status >= 300:
                raise failure_of(answer, request.write) if request.write else error_of(answer)
            return answer

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open a request whose answer is read in decoded chunks, up to its `max_bytes`."""
        end = time.monotonic() + min(_PATIENCE_SECONDS, seconds_left())
        async with self.throttling.admission(end) as held, self.opened(meter := Meter(request, 1, held)) as incoming:
            if incoming.status >= 300:
                raise error_of(await _read_answer(incoming, meter))
            yield _metered(incoming, meter)

    @asynccontextmanager
    async def opened(self, meter: "Meter", *, refused: str = "") -> AsyncIterator["Incoming"]:
        """Open one exchange within what is left of the request's time, and emit what became of it."""
        operation, request = meter.operation, meter.request
        target = self.target(request)
        try:
            async with asyncio.timeout(request.seconds or seconds_left(safe=request.safe)):
                if not self.connections.is_kept(""):  # what they need is imported while the token comes
                    self.connections.begin("", self.open_connections)
                meter.token = await self.tokens.token(operation, refused=refused)
                connections = await self.connections.get("", self.open_connections)
                headers = self.headers(request, meter)
                self.facts.acquired += 1
                async with self.places:
                    self.begin(meter)
                    incoming = await connections.send(request.method, target, headers, request.body)
                    try:
                        meter.status = incoming.status
                        meter.activity_id = activity_id(incoming.headers)
                        yield incoming
                    finally:
                        incoming.close()
        except TimeoutError:
            meter.error = "timeout"
            raise _timed_out(request, meter) from None
        except (NotSent, ConnectionLost) as problem:
            meter.error = type(problem.__cause__).__name__
            self.facts.errors += 1
            raise _unanswered(request, problem) from None
        except D365Error as error:
            meter.error = error.code
            raise
        finally:
            self.tell(meter, operation)

    def begin(self, meter: "Meter") -> None:
        """Count an exchange as under way: it has a connection's place, and what it takes from now on F&O takes."""
        self.facts.active += 1
        meter.start()
        if meter.operation:
            meter.operation.asks_d365()
            meter.operation.has_written |= not meter.request.safe

    def tell(self, meter: "Meter", operation: Operation | None) -> None:
        """Emit the exchange, and add it to what the request has cost."""
        if not meter.started:
            return
        self.facts.active -= 1
        event = meter.event(urlsplit(self.base_url).netloc)
        if operation:
            operation.has_asked_d365()
            operation.throttles += event.status == 429
            operation.activity_id = event.activity_id
        self.emit(event)

    def target(self, request: Request) -> str:
        """Return path and query as they are sent. Raises InvalidArgument for what cannot be."""
        target = f"{self.prefix}{request.path}{'?' + request.query if request.query else ''}"
        if len(target) > _MAX_TARGET_CHARS:
            raise InvalidArgument(_UNSENDABLE)
        return quote(target, safe=_SENT_AS_IT_IS)

    def headers(self, request: Request, meter: "Meter") -> dict[str, str]:
        """Return the headers as they are sent. Raises InvalidArgument for what cannot be."""
        if not all(map(_HEADER.fullmatch, request.headers.values())):
            raise InvalidArgument("An ETag has visible ASCII characters alone: this one fits into no header.")
        content = {"content-type": "application/json"} if request.body is not None else {}
        return {
            **_HEADERS,
            **content,
            **request.headers,
            "authorization": f"Bearer {meter.token}",
            "x-ms-client-request-id": meter.request_id,
            "traceparent": meter.trace.traceparent(),
        }

    async def open_connections(self) -> "Connections":
        """Return the connections, of which there are none yet. What they need is imported off the event loop."""
        try:
            return await asyncio.to_thread(self.load_connections)
        except (ImportError, OSError, ValueError) as problem:
            hint = "Check HTTPS_PROXY, SSL_CERT_FILE and SSL_CERT_DIR, and that the deployment has all its packages."
            raise Unreachable(f"No connection to F&O can be made: {problem}.", hint=hint) from problem

    def load_connections(self) -> "Connections":
        from d365mcp.d365.transport import Connections

        return Connections(self.base_url)

    def pool(self) -> PoolFacts:
        """Return the pool as it stands."""
        if connections := self.connections.kept(""):
            self.facts.idle = connections.idle()
        return self.facts

    async def aclose(self) -> None:
        if connections := self.connections.kept(""):
            await connections.aclose()


class Meter:
    """What one exchange is, takes and ends in."""

    def __init__(self, request: Request, attempt: int, held: float = 0.0) -> None:
        self.request = request
        self.attempt = attempt
        self.held = held  # seconds, because F&O throttles
        self.operation = current_operation()
        self.trace = (self.operation.trace if self.operation else Trace.continued(None)).child()
        self.token = ""
        self.request_id = str(uuid.uuid4())
        self.status: int | None = None
        self.error: str | None = None
        self.activity_id: str | None = None
        self.bytes = 0
        self.started = 0.0
        self.clock = 0.0

    def start(self) -> None:
        self.started = time.time()
        self.clock = time.perf_counter()

    def event(self, host: str) -> D365Exchange:
        return D365Exchange(
            method=self.request.method,
            host=host,
            path=self.request.place(),
            trace=self.trace,
            started_at=self.started,
            duration_ms=(time.perf_counter() - self.clock) * 1000,
            status=self.status,
            attempt=self.attempt,
            error=self.error,
            activity_id=self.activity_id,
            request_id=self.request_id,
            bytes=self.bytes,
            held_ms=self.held * 1000,
        )


async def _read_answer(incoming: "Incoming", meter: Meter) -> HttpAnswer:
    """Read an answer to its end, if it has one in reason."""
    pieces, receive = _metered(incoming, meter), meter.request.receive
    if receive and incoming.status < 300:
        return HttpAnswer(incoming.status, incoming.headers, await receive(pieces))
    body = await read_bounded(pieces, meter.request.max_bytes)
    return HttpAnswer(incoming.status, incoming.headers, body)


async def _metered(incoming: "Incoming", meter: Meter) -> AsyncIterator[bytes]:
    """Yield an answer's decompressed pieces. Raises InvalidAnswer where it leaves its bounds."""
    decoder = Decoder(incoming.headers, meter.request.max_bytes, meter.request.hint)
    async for chunk in incoming:
        for piece in decoder.feed(chunk):
            meter.bytes += len(piece)
            yield piece
    decoder.end()


@contextmanager
def _write_may_be_done(request: Request, status: int) -> Iterator[None]:
    """Raise OutcomeUnknown, not InvalidAnswer, where it is the answer to a write that cannot be read."""
    try:
        yield
    except InvalidAnswer as unread:
        if request.safe:
            raise
        raise outcome_unknown(f"its answer cannot be used ({as_clause(unread.message)})", HttpAnswer(status)) from None


@contextmanager
def _until_refused(request: Request) -> Iterator[None]:
    """Forget that something was written once F&O, or the way to it, proves that it was not."""
    try:
        yield
    except OutcomeUnknown:
        raise
    except D365McpError:
        operation = current_operation()
        if operation and not request.safe:
            operation.has_written = False
        raise


def _unanswered(request: Request, problem: NotSent | ConnectionLost) -> D365Error:
    """Return the error for an exchange that broke off."""
    if not request.safe and not isinstance(problem, NotSent):
        return outcome_unknown("the connection broke off before an answer came")
    if isinstance(problem, NotSent):
        hint = "Check D365FO_BASE_URL, name resolution, HTTPS_PROXY and the network rules between here and the environment."
        return Unreachable("No connection to F&O could be made.", hint=hint)
    hint = "Try again; if it stays so, look at the environment's state and the network rules in between."
    return Unreachable("The connection to F&O broke off before an answer came.", hint=hint)


def _timed_out(request: Request, meter: Meter) -> D365Error | DeadlineExceeded:
    if meter.started and not request.safe:
        return outcome_unknown("no answer came in time")
    if meter.started:
        return deadline_exceeded("F&O did not answer")
    return deadline_exceeded("No connection to F&O became free" if meter.token else "No token for F&O came")


def deadline_exceeded(what: str) -> DeadlineExceeded:
    return DeadlineExceeded(f"{what} within the time this request has.", hint=NARROWER)


def seconds_left(*, safe: bool = True) -> float:
    """Return what is left of the request's time, less what the answer itself takes."""
    operation = current_operation()
    if operation is None:
        return _UNBOUND_SECONDS
    left = operation.remaining(safe=safe)
    return max(0.01, left - max(0.15, left * 0.03))


def _worth_retrying(problem: D365Error) -> bool:
    """Return whether a read may succeed when tried again: throttled, a gateway's failure, a dropped connection."""
    if isinstance(problem, Unavailable):
        return problem.http_status in (502, 503, 504)
    return isinstance(problem, Throttled | Unreachable)


def _not_begun(problem: D365Error) -> bool:
    """Return whether a write may be tried again: where no connection was made, or F&O turned it away before the work."""
    return isinstance(problem, Unreachable | Throttled)


def _pause(problem: D365Error, number: int) -> float:
    """Return how long to wait before the next attempt: what F&O asks for, else a little, growing and jittered."""
    if problem.retry_after is not None:
        return problem.retry_after
    return random.uniform(0.5, 1.0) * 0.2 * 3.0 ** (number - 1)  # noqa: S311 - not for secrets

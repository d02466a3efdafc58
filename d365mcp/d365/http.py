"""One request to F&O: token, timeout, retry, event. Knows HTTP, not OData.

Reads are tried up to three times; a write only where F&O cannot have begun with it.
"""

import asyncio
import http.cookiejar
import io
import random
import re
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, stop_before_delay

from d365mcp import __version__
from d365mcp.d365.auth import TokenSource
from d365mcp.d365.decoding import ACCEPTED, bounded
from d365mcp.d365.outcomes import Write, failure_of, unknown, within
from d365mcp.d365.pool import PooledTransport
from d365mcp.d365.responses import Answer, activity_id, error_of
from d365mcp.errors import (
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
from d365mcp.settings import LOOPBACK, Settings

ATTEMPTS = 3
# A throttled call is waited for this long in all, and never past the request's deadline.
PATIENCE_SECONDS = 20.0
CONNECT_SECONDS = 15.0
# Outside of a request (a timer, a command line) a call may take this long.
UNBOUND_SECONDS = 180.0
MAX_BYTES = 32 * 1024 * 1024
ASK_FOR_LESS = "Select fewer columns or fewer rows."

HEADERS = {
    "user-agent": f"d365mcp/{__version__}",  # by which F&O's own logs name us
    "accept": "application/json;odata.metadata=minimal",
    "accept-encoding": ACCEPTED,
    "odata-version": "4.0",
    "odata-maxversion": "4.0",
}
UNSENDABLE = "What is asked for does not fit into a URL, so nothing was sent: give shorter key values and names."
KEY_PREDICATE = re.compile(r"\([^)]*\)")
# Before these, nothing has reached F&O.
NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


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
    max_bytes: int = MAX_BYTES
    mend: str = ASK_FOR_LESS  # what to do about an answer that is larger
    seconds: float | None = None  # for what runs outside of an MCP request and takes its time

    @property
    def safe(self) -> bool:
        """Return whether sending it twice does no harm."""
        return self.write is None

    def place(self) -> str:
        """Return the path without key values: what telemetry may see."""
        return KEY_PREDICATE.sub("()", self.path)


class D365Http:
    """The way to one environment: one pooled client per process, built when first used."""

    def __init__(self, settings: Settings, tokens: TokenSource, emit: Listener) -> None:
        self.settings = settings
        self.base_url = settings.base_url
        self.tokens = tokens
        self.emit = emit
        self.facts = PoolFacts(settings.connection_pool_size)
        self.building: asyncio.Task[httpx.AsyncClient] | None = None
        self.transport: PooledTransport | None = None

    async def send(self, request: Request) -> Answer:
        """Send a request and return a successful answer. Raises a D365Error or DeadlineExceeded."""
        began = time.monotonic()
        retrying = AsyncRetrying(
            retry=retry_if_exception(worth_retrying if request.safe else not_begun),
            wait=pause,
            stop=stop_after_attempt(ATTEMPTS) | stop_before_delay(min(PATIENCE_SECONDS, seconds_left())),
            reraise=True,
        )
        async for attempt in retrying:
            with attempt:
                number = attempt.retry_state.attempt_number
                if number > 1 and (operation := current_operation()):
                    operation.retries += 1
                return await self.attempt(request, number, began)
        raise AssertionError("unreachable")  # pragma: no cover - tenacity returns or raises

    async def attempt(self, request: Request, number: int, began: float) -> Answer:
        """Send once; a refused token is replaced once."""
        with until_refused(request):
            try:
                return await self.exchange(request, number, fresh=False)
            except Unauthorized:
                return await self.exchange(request, number, fresh=True)

    async def exchange(self, request: Request, number: int, *, fresh: bool) -> Answer:
        async with self.opened(request, number, fresh=fresh) as (response, meter):
            with write_may_be_done(request, response.status_code):
                answer = await read_answer(response, request, meter)
            if answer.status >= 300:
                raise failure_of(answer, request.write) if request.write else error_of(answer)
            return answer

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open a request whose answer is read in decoded chunks, up to its `max_bytes`."""
        async with self.opened(request, 1, fresh=False) as (response, meter):
            if response.status_code >= 300:
                raise error_of(await read_answer(response, request, meter))
            yield metered(response, request, meter)

    @asynccontextmanager
    async def opened(
        self, request: Request, number: int, *, fresh: bool
    ) -> AsyncIterator[tuple[httpx.Response, "Meter"]]:
        """Open one exchange within what is left of the request's time, and emit what became of it."""
        url = self.url(request)
        operation = current_operation()
        meter = Meter(request, number, (operation.trace if operation else Trace.continued(None)).child())
        try:
            async with asyncio.timeout(request.seconds or seconds_left()):
                token = await self.tokens.token(operation, fresh=fresh)
                client = await self.client()
                meter.start()
                if operation:
                    operation.asks_d365()
                    operation.has_written |= not request.safe
                self.facts.acquired += 1
                async with client.stream(
                    request.method,
                    url,
                    content=request.body,
                    headers=self.headers(request, token, meter),
                    timeout=httpx.Timeout(None, connect=CONNECT_SECONDS),
                ) as response:
                    meter.status = response.status_code
                    meter.activity_id = activity_id(response.headers)
                    yield response, meter
        except TimeoutError:
            meter.error = "timeout"
            raise timed_out(request, meter) from None
        except httpx.HTTPError as problem:
            meter.error = type(problem).__name__
            self.facts.errors += 1
            raise unanswered(request, problem) from None
        except D365Error as error:
            meter.error = error.code
            raise
        finally:
            self.tell(meter, operation)

    def tell(self, meter: "Meter", operation: Operation | None) -> None:
        """Emit the exchange, and add it to what the request has cost."""
        if not meter.started:
            return
        event = meter.event(urlsplit(self.base_url).netloc)
        if operation:
            operation.has_asked_d365()
            operation.throttles += event.status == 429
            operation.activity_id = event.activity_id
        self.emit(event)

    def url(self, request: Request) -> httpx.URL:
        """Return the whole URL. Raises InvalidArgument for one that cannot be sent."""
        try:
            return httpx.URL(f"{self.base_url}{request.path}{'?' + request.query if request.query else ''}")
        except httpx.InvalidURL:
            raise InvalidArgument(UNSENDABLE) from None

    def headers(self, request: Request, token: str, meter: "Meter") -> dict[str, str]:
        content = {"content-type": "application/json"} if request.body is not None else {}
        return {
            **HEADERS,
            **content,
            **request.headers,
            "authorization": f"Bearer {token}",
            "x-ms-client-request-id": meter.request_id,
            "traceparent": meter.trace.traceparent(),
        }

    async def client(self) -> httpx.AsyncClient:
        """Return the one client; building it (TLS certificates) takes tens of milliseconds, off the event loop."""
        if self.building is None:
            self.building = asyncio.create_task(asyncio.to_thread(self.build))
        return await asyncio.shield(self.building)

    def build(self) -> httpx.AsyncClient:
        # No cookies: affinity would pin all callers to one of F&O's web servers.
        # https://learn.microsoft.com/dynamics365/fin-ops-core/dev-itpro/data-entities/service-protection-maximizing-api-throughput
        jar = http.cookiejar.CookieJar(http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))
        local = urlsplit(self.base_url).hostname in LOOPBACK
        self.transport = PooledTransport(self.facts.limit, trust_env=not local)
        return httpx.AsyncClient(transport=self.transport, follow_redirects=False, cookies=jar)

    def pool(self) -> PoolFacts:
        """Return the pool as it stands."""
        if self.transport is not None:
            self.facts.active, self.facts.idle = self.transport.active, len(self.transport.idle)
        return self.facts

    async def aclose(self) -> None:
        if self.building is not None:
            await (await self.building).aclose()


class Meter:
    """What one exchange is, takes and ends in."""

    def __init__(self, request: Request, attempt: int, trace: Trace) -> None:
        self.request = request
        self.attempt = attempt
        self.trace = trace
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
        )


async def read_answer(response: httpx.Response, request: Request, meter: Meter) -> Answer:
    """Read an answer to its end, if it has one in reason."""
    body = io.BytesIO()
    async for piece in metered(response, request, meter):
        body.write(piece)
    return Answer(response.status_code, response.headers, body.getvalue())


async def metered(response: httpx.Response, request: Request, meter: Meter) -> AsyncIterator[bytes]:
    """Yield an answer's decompressed pieces. Raises InvalidAnswer where it leaves its bounds."""
    async for piece in bounded(response.aiter_raw(), response.headers, request.max_bytes, request.mend):
        meter.bytes += len(piece)
        yield piece


@contextmanager
def write_may_be_done(request: Request, status: int) -> Iterator[None]:
    """Raise OutcomeUnknown, not InvalidAnswer, where it is the answer to a write that cannot be read."""
    try:
        yield
    except InvalidAnswer as unread:
        if request.safe:
            raise
        raise unknown(f"its answer cannot be used ({within(unread.message)})", Answer(status)) from None


@contextmanager
def until_refused(request: Request) -> Iterator[None]:
    """Forget that something was written once F&O, or the way to it, has shown that it was not."""
    try:
        yield
    except OutcomeUnknown:
        raise
    except D365McpError:
        operation = current_operation()
        if operation and not request.safe:
            operation.has_written = False
        raise


def unanswered(request: Request, problem: httpx.HTTPError) -> D365Error:
    """Return the error for an exchange that broke off."""
    if not request.safe and not isinstance(problem, NOT_SENT):
        return unknown("the connection broke off before an answer came")
    if isinstance(problem, httpx.ConnectError):
        hint = "Check D365FO_BASE_URL, name resolution and the network rules between here and the environment."
        return Unreachable("No connection to F&O could be made.", hint=hint)
    hint = "Try again; if it stays so, look at the environment's state and the network rules in between."
    return Unreachable("The connection to F&O broke off before an answer came.", hint=hint)


def timed_out(request: Request, meter: Meter) -> D365Error | DeadlineExceeded:
    if meter.started and not request.safe:
        return unknown("no answer came in time")
    what = "F&O did not answer" if meter.started else "No token for F&O came"
    return DeadlineExceeded(
        f"{what} within the time this request has.",
        hint="Ask for less at once (fewer rows, a narrower filter). MCP_REQUEST_TIMEOUT and host.json's functionTimeout set the limit.",
    )


def seconds_left() -> float:
    """Return what is left of the request's time, less what the answer itself takes."""
    operation = current_operation()
    if operation is None:
        return UNBOUND_SECONDS
    left = operation.remaining()
    return max(0.01, left - max(0.15, left * 0.03))


def worth_retrying(problem: BaseException) -> bool:
    """Return whether a read may succeed when tried again: throttled, a gateway's failure, a dropped connection."""
    if isinstance(problem, Unavailable):
        return problem.http_status in (502, 503, 504)
    return isinstance(problem, Throttled | Unreachable)


def not_begun(problem: BaseException) -> bool:
    """Return whether a write may be tried again: where no connection was made, or F&O turned it away before the work."""
    return isinstance(problem, Unreachable | Throttled)


def pause(state: RetryCallState) -> float:
    """Return how long to wait: what F&O asks for, else a little, growing and jittered."""
    outcome = state.outcome
    problem = outcome.exception() if outcome else None
    if isinstance(problem, D365Error) and problem.retry_after is not None:
        return problem.retry_after
    return random.uniform(0.5, 1.0) * 0.2 * 3.0 ** (state.attempt_number - 1)  # noqa: S311 - not for secrets

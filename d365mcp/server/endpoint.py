"""HTTP rules of the MCP endpoint: one request in, one reply out. Free of the SDK, which loads after the first answer.

https://modelcontextprotocol.io/specification/2026-07-28/basic/transports
"""

import asyncio
import logging
import re
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from d365mcp.errors import Busy, D365McpError, InvalidArgument, NotReady
from d365mcp.events import (
    Audit,
    Caller,
    Ending,
    Event,
    Listener,
    McpRequest,
    Operation,
    Outcome,
    Refusal,
    Trace,
    working_on,
)
from d365mcp.lazy import Arming, Lazy
from d365mcp.server.auth.access import Access, narrowed_access, usual_access
from d365mcp.server.auth.callers import Callers
from d365mcp.server.auth.challenges import NotAdmitted, forbidden
from d365mcp.server.messages import (
    INVALID_REQUEST,
    JSON_HEADERS,
    MAX_BODY_BYTES,
    METHODS,
    Message,
    Refused,
    Reply,
    check_array,
    check_message,
    error,
    media_type,
    read_body,
)
from d365mcp.server.ordinary import DEFAULT_VERSION, Prepared, answer_call, refused
from d365mcp.settings import LOOPBACK, Settings
from d365mcp.wire import write_json

if TYPE_CHECKING:
    from d365mcp.server.execution import ToolExecutor
    from d365mcp.server.sdk import Engine, Served
    from d365mcp.tools.tool import Tool

log = logging.getLogger("d365mcp.request")

UNKNOWN = "unknown"  # a method that is none of ours
TAKES_JSON = re.compile(r"application/(?:json|\*)|\*/\*", re.IGNORECASE)
# These methods reach F&O, so they take a permit.
REACHING_D365 = frozenset({"tools/call", "resources/read", "completion/complete"})
# A call with less time left than this, after waiting, is not begun.
LEAST_SECONDS = 0.25
HOST = re.compile(r"(?:\[(?P<v6>[0-9a-f:.]+)\]|(?P<name>[^\[\]:,@/\s]+))(?::[0-9]{1,5})?")


class Endpoint:
    """Answers MCP over HTTP. Remembers nothing between requests.

    `engine` answers anything, with the SDK. Ahead of it, `prepared` answers the ordinary shapes of initialize and the
    lists, `executor` answers ordinary calls. A test registry comes in by its own engine alone. Without `emit` nobody listens.
    """

    def __init__(
        self,
        settings: Settings,
        engine: "Lazy[Engine]",
        emit: Listener | None,
        prepared: Prepared | None = None,
        executor: "Lazy[ToolExecutor] | None" = None,
        callers: Callers | None = None,
    ) -> None:
        self.settings = settings
        self.engine = engine
        self.emit = emit
        self.prepared = prepared
        self.executor = executor
        self.callers = callers or Callers(settings)
        self.arm = Arming([*self.callers.late, *([executor] if executor else [])], engine)
        self.permits = asyncio.Semaphore(settings.tool_permits)
        self.in_flight = 0
        self.answered = 0
        named = (settings.site_hostname, urlsplit(settings.public_url).netloc, *settings.allowed_hosts)
        own = {name.lower() for name in named}
        self.hosts = frozenset(own - {""}) | LOOPBACK
        self.origins = frozenset(origin.lower().rstrip("/") for origin in settings.allowed_origins)

    async def handle(
        self,
        method: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        traceparent: str | None = None,
        invocation_id: str | None = None,
    ) -> Reply:
        """Answer one HTTP request; header names come in lower case. Never raises."""
        try:
            self.check_place(headers)
            access = await self.access(headers, traceparent)
            if method != "POST":
                message = f"{method} is not used here: this server keeps no sessions and opens no streams. Use POST."
                return error(405, INVALID_REQUEST, message, headers={"allow": "POST"})
            self.check_form(headers, body)
            found = read_body(headers, body)
            if isinstance(found, list):
                check_array(found, headers.get("mcp-protocol-version", DEFAULT_VERSION))
        except Refused as refusal:
            return refusal.reply
        if isinstance(found, list):
            return await self.answer_all(found, headers, access, traceparent, invocation_id)
        return await self.answer(found, headers, access, traceparent, invocation_id)

    async def answer(
        self,
        message: Any,
        headers: Mapping[str, str],
        access: Access | D365McpError,
        traceparent: str | None,
        invocation_id: str | None,
        *,
        alone: bool = True,
    ) -> Reply:
        """Answer one message; a notification or a response with nothing but its arrival."""
        try:
            message = check_message(message)
        except Refused as refusal:
            return refusal.reply
        if "method" not in message or "id" not in message:
            return Reply(202)
        if message["method"] == "initialize" and not alone:
            return error(400, INVALID_REQUEST, "initialize must be sent alone, never in a batch.", message["id"])
        if isinstance(access, D365McpError):
            self.arm()
            return refused(message, headers, access)
        prepared = self.prepared.answer(message, headers, access) if self.prepared else None
        if prepared is not None and not self.is_observed:  # a fifth of such a request
            self.arm()
            self.answered += 1
            return prepared
        job = Job(self, message, headers, access, Trace.continued(traceparent), invocation_id)
        return await job.run(prepared)

    async def answer_all(self, messages: list[Any], headers: Mapping[str, str], *request: Any) -> Reply:
        """Answer an array of messages with the array of their answers, each call with a permit of its own.

        https://modelcontextprotocol.io/specification/2025-03-26/basic/transports#sending-messages-to-the-server
        """
        plain = {**headers, "accept": "application/json"}  # no stream within an array
        replies = await asyncio.gather(*(self.answer(each, plain, *request, alone=False) for each in messages))
        bodies = [reply.body for reply in replies if reply.body]
        if not bodies:
            return Reply(202)
        asked = any(isinstance(each, dict) and "method" in each and "id" in each for each in messages)
        return Reply(200 if asked else 400, JSON_HEADERS, b"[" + b",".join(bodies) + b"]")

    @property
    def is_observed(self) -> bool:
        """Return whether anybody wants to know what became of a request."""
        return self.emit is not None or log.isEnabledFor(logging.INFO)

    async def access(self, headers: Mapping[str, str], traceparent: str | None) -> Access | D365McpError:
        """Return what a request may use, or what each of its messages is refused with. Raises Refused."""
        try:
            access = self.callers.usual or usual_access(self.settings, await self.admit(headers, traceparent))
            return narrowed_access(access, headers)
        except InvalidArgument as problem:
            return problem
        except NotReady as problem:
            self.record(Refusal(problem.code, Trace.continued(traceparent)))
            return problem

    async def admit(self, headers: Mapping[str, str], traceparent: str | None = None) -> Caller:
        """Return the caller. Raises NotReady, or Refused: the audit hears of those who tried, and counts those who are nobody."""
        try:
            return await self.callers.identify(headers)
        except Refused as refusal:
            self.arm()  # a caller who signs in comes back soon
            if isinstance(refusal, NotAdmitted):
                trace = Trace.continued(traceparent)
                known = refusal.caller and Audit(refusal.caller, None, None, None, refusal.reason, trace)
                self.record(known or Refusal(refusal.reason, trace))
            raise

    async def take_permit(self, seconds: float) -> bool:
        """Take one of the permits, in order of asking; False where none becomes free in time. Who has one releases it."""
        try:
            # A free one is taken at once: setting a clock for it would be a twentieth of a call.
            async with asyncio.timeout(seconds if self.permits.locked() else None):
                await self.permits.acquire()
        except TimeoutError:
            return False
        self.in_flight += 1
        return True

    def release_permit(self) -> None:
        self.in_flight -= 1
        self.permits.release()

    def record(self, event: Event) -> None:
        if self.emit is not None:
            self.emit(event)

    def check_place(self, headers: Mapping[str, str]) -> None:
        """Refuse foreign Host and Origin headers: a page elsewhere could reach us through a browser."""
        host = headers.get("host", "").lower()
        if not self.is_own(host):
            message = f"The Host {host[:100]} is not this server's: MCP_ALLOWED_HOSTS takes further names."
            raise Refused(error(421, INVALID_REQUEST, message))
        origin = headers.get("origin")
        if origin and not self.is_allowed_origin(origin.lower(), host):
            message = f"The Origin {origin[:100]} may not call this server: MCP_ALLOWED_ORIGINS takes it."
            raise Refused(error(403, INVALID_REQUEST, message))

    def is_own(self, host: str) -> bool:
        return host in self.hosts or _hostname(host) in self.hosts

    def is_allowed_origin(self, origin: str, host: str) -> bool:
        if origin.rstrip("/") in self.origins:
            return True
        try:
            parts = urlsplit(origin)
        except ValueError:
            return False
        return parts.scheme in ("http", "https") and (parts.netloc == host or (parts.hostname or "") in LOOPBACK)

    def check_form(self, headers: Mapping[str, str], body: bytes) -> None:
        """Refuse bodies of another type or size, and clients that do not take JSON."""
        if len(body) > MAX_BODY_BYTES or _int_of(headers.get("content-length")) > MAX_BODY_BYTES:
            message = f"The body is larger than {MAX_BODY_BYTES // 1024 // 1024} MiB."
            raise Refused(error(413, INVALID_REQUEST, message))
        if media_type(headers.get("content-type", "")) != "application/json":
            raise Refused(error(415, INVALID_REQUEST, "Content-Type must be application/json."))
        if not TAKES_JSON.search(headers.get("accept", "*/*")):
            raise Refused(error(406, INVALID_REQUEST, "Accept must include application/json (and text/event-stream)."))


class Job:
    """One request on its way: its trace and deadline, and what it took."""

    def __init__(
        self,
        endpoint: Endpoint,
        message: Message,
        headers: Mapping[str, str],
        access: Access,
        trace: Trace,
        invocation_id: str | None,
    ) -> None:
        self.endpoint = endpoint
        self.message = message
        self.headers = headers
        self.access = access
        self.invocation_id = invocation_id
        self.began = time.perf_counter()
        self.started_at = time.time()
        self.queued = 0.0
        self.ending = Ending()
        now, limit = time.monotonic(), endpoint.settings.limit_seconds
        caller = access.caller
        self.operation = Operation(
            trace, now + min(access.seconds, limit), caller.name, caller.assertion, limit=now + limit
        )

    async def run(self, prepared: Reply | None) -> Reply:
        """Answer from what is prepared, else by the tools or the engine."""
        reply = prepared if prepared is not None else await self.served()
        self.endpoint.arm()
        self.record(reply)
        return reply

    async def served(self) -> Reply:
        with working_on(self.operation):
            try:
                if self.message["method"] not in REACHING_D365:
                    return await self.answer()
                waiting = time.perf_counter()
                permitted = await self.endpoint.take_permit(max(0.0, self.operation.remaining() - LEAST_SECONDS))
                self.queued = time.perf_counter() - waiting
                if not permitted:
                    return self.busy()
                try:
                    return await self.answer()
                finally:
                    self.endpoint.release_permit()
            except NotReady as problem:
                return self.refused("protocol_error", problem)

    async def answer(self) -> Reply:
        if self.message["method"] == "tools/call" and self.endpoint.executor:
            executor = await self.endpoint.executor.get()
            tool = self.tool()
            if tool and (role := self.access.lacking(tool.toolset, read_only=tool.read_only)):
                return self.step_up(executor, tool.name, role)
            direct = await answer_call(executor, self.message, self.headers, self.access)
            if direct is not None:
                reply, called = direct
                self.ending = called.ending
                return reply
        engine = await self.endpoint.engine.get()
        served: Served = await engine.serve(self.message, self.headers, self.access)
        self.ending = served.ending
        return served.reply

    def step_up(self, executor: "ToolExecutor", tool: str, role: str) -> Reply:
        """Refuse a call the operator allows and this caller's roles do not."""
        self.ending = Ending("refused", "insufficient_scope", callers_mistake=True)
        arguments = (self.message.get("params") or {}).get("arguments")
        executor.audit_refusal(tool, arguments, self.access.caller, "insufficient_scope")
        message = f"{tool} needs {role}: sign in with that scope, or let an administrator assign you that role."
        return forbidden(self.endpoint.settings, role, message, self.message["id"])

    def busy(self) -> Reply:
        permits = self.endpoint.settings.tool_permits
        message = f"All {permits} calls this instance runs at once are taken, and none ended in time: try again."
        return self.refused("refused", Busy(message, retry_after=2))

    def refused(self, outcome: Outcome, problem: D365McpError) -> Reply:
        self.ending = Ending(outcome, problem.code, problem.callers_mistake)
        return refused(self.message, self.headers, problem)

    def tool(self) -> "Tool | None":
        """Return the tool that is called, where it is one of ours and those are loaded."""
        executor = self.endpoint.executor.value if self.endpoint.executor else None
        if executor is None or self.message["method"] != "tools/call":
            return None
        name = (self.message.get("params") or {}).get("name")
        return executor.tools.get(name) if isinstance(name, str) else None

    def record(self, reply: Reply) -> None:
        """Emit what became of the request, and log one line of it."""
        if self.endpoint.is_observed:
            event = self.event(reply)
            self.endpoint.record(event)
            if log.isEnabledFor(logging.INFO):
                log.info("%s", _line_of(event))
        self.endpoint.answered += 1

    def event(self, reply: Reply) -> McpRequest:
        operation, tool = self.operation, self.tool()
        # Names that callers invent stay out of telemetry's tables: anybody could fill them.
        method = self.message["method"] if self.message["method"] in METHODS else UNKNOWN
        return McpRequest(
            name=tool.name if tool else method,
            method=method,
            trace=operation.trace,
            started_at=self.started_at,
            duration_ms=(time.perf_counter() - self.began) * 1000,
            outcome=self.ending.outcome,
            error_code=self.ending.error_code,
            callers_mistake=self.ending.callers_mistake,
            toolset=tool.toolset if tool else None,
            protocol_version=self.headers.get("mcp-protocol-version"),
            client_name=_client_name(self.message, self.headers),
            caller=operation.caller,
            invocation_id=self.invocation_id,
            cold_start=self.endpoint.answered == 0,
            queue_ms=self.queued * 1000,
            d365_ms=operation.d365_ms,
            d365_calls=operation.d365_calls,
            retries=operation.retries,
            throttles=operation.throttles,
            companies=len(operation.companies),
            rows=operation.rows,
            bytes=len(reply.body),
            measured=operation.measured,
        )


def _hostname(host: str) -> str:
    """Return a Host header's name without the port, or nothing where it is no Host at all."""
    match = HOST.fullmatch(host)
    return (match["v6"] or match["name"]) if match else ""


def _int_of(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdecimal() and len(text) < 20 else 0


def _client_name(message: Message, headers: Mapping[str, str]) -> str | None:
    """Return what the client calls itself: in the envelope, in initialize, or by its User-Agent."""
    params = message.get("params") or {}
    meta = params.get("_meta")
    info = meta.get("io.modelcontextprotocol/clientInfo") if isinstance(meta, dict) else params.get("clientInfo")
    name = info.get("name") if isinstance(info, dict) else None
    name = name if isinstance(name, str) else headers.get("user-agent")
    return name[:60] if name else None


def _line_of(event: McpRequest) -> str:
    """Return one line of JSON for the log: no argument values, nothing of the records."""
    fields = {
        "event": "mcp.request",
        "method": event.method,
        "tool": event.name if event.toolset else None,
        "outcome": event.outcome,
        "error_code": event.error_code,
        "total_ms": round(event.duration_ms, 1),
        "d365_ms": round(event.d365_ms, 1),
        "d365_calls": event.d365_calls,
        "queue_ms": round(event.queue_ms, 1),
        "invocation_id": event.invocation_id,
        "trace_id": event.trace.trace_id,
    }
    return write_json({name: value for name, value in fields.items() if value is not None}).decode()

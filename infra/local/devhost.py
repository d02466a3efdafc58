"""Serves a function_app.py over HTTP as the Azure Functions host would; knows nothing of what the functions do."""

import argparse
import asyncio
import contextlib
import importlib
import inspect
import json
import logging
import os
import re
import secrets
import signal
import socket
import sys
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import azure.functions as func
import uvicorn
from azure.functions.timer import TimerRequest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

log = logging.getLogger("devhost")

OVERRIDE_PREFIX = "azurefunctionsjobhost__"
Headers = list[tuple[bytes, bytes]]

# What the real host's web server takes of a request, and how slowly; its bodies are limited by the host itself.
# https://learn.microsoft.com/dotnet/api/microsoft.aspnetcore.server.kestrel.core.kestrelserverlimits
MAX_HEADERS, MAX_HEADER_BYTES = 100, 32_768
LEAST_BYTES_PER_SECOND, GRACE_SECONDS = 240, 5.0
# https://learn.microsoft.com/azure/azure-functions/functions-app-settings#functions_request_body_size_limit
BODY_LIMIT, MAX_BODY_BYTES = "FUNCTIONS_REQUEST_BODY_SIZE_LIMIT", 104_857_600


class AppError(Exception):
    """The app cannot be served; the message says what to change."""


# --- What host.json and local.settings.json say ---------------------------------------------------------------------


@dataclass(frozen=True)
class HostSettings:
    """The part of host.json that one machine can honour; None stands for no limit."""

    route_prefix: str
    max_concurrent_requests: int | None
    max_outstanding_requests: int | None
    function_timeout: float | None


def read_host_settings(app: Path, environ: Mapping[str, str]) -> HostSettings:
    """Read host.json; AzureFunctionsJobHost__… variables override single values."""
    document = _document(app / "host.json")
    if document.get("version") != "2.0":
        raise AppError('host.json must have "version": "2.0".')
    settings = dict(_leaves(document)) | dict(_overrides(environ))
    return HostSettings(
        route_prefix=settings.get("extensions:http:routeprefix", "api").strip("/"),
        max_concurrent_requests=_limit(settings.get("extensions:http:maxconcurrentrequests", "-1")),
        max_outstanding_requests=_limit(settings.get("extensions:http:maxoutstandingrequests", "-1")),
        function_timeout=_seconds(settings.get("functiontimeout", "00:30:00")),
    )


def local_settings(app: Path) -> dict[str, str]:
    """Return the Values of local.settings.json, which stand where the environment says nothing else."""
    path = app / "local.settings.json"
    document = _document(path) if path.exists() else {}
    if document.get("IsEncrypted"):
        raise AppError("local.settings.json is encrypted. Run `func settings decrypt` first.")
    return {name: str(value) for name, value in document.get("Values", {}).items()}


def _document(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8-sig")))
    except FileNotFoundError as exc:
        raise AppError(f"There is no {path.name} in {path.parent}.") from exc
    except ValueError as exc:
        raise AppError(f"{path.name} is not a JSON object: {exc}.") from exc


def _leaves(value: object, path: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, child in value.items():
            yield from _leaves(child, (*path, name.lower()))
    else:
        yield ":".join(path), str(value)


def _overrides(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name, value in environ.items():
        if name.lower().startswith(OVERRIDE_PREFIX):
            yield name.lower().removeprefix(OVERRIDE_PREFIX).replace("__", ":"), value


def _limit(value: str) -> int | None:
    return None if int(value) < 0 else int(value)


def _seconds(timespan: str) -> float | None:
    if timespan == "-1":
        return None
    match = re.fullmatch(r"(?:(\d+)\.)?(\d+):(\d+):(\d+(?:\.\d+)?)", timespan)
    if match is None:
        raise AppError(f'functionTimeout "{timespan}" in host.json is not a duration. Write it as "00:05:00".')
    days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


# --- The functions of an app, indexed as the Python worker does ------------------------------------------------------


@dataclass(frozen=True)
class TraceContext:
    trace_parent: str
    trace_state: str = ""
    attributes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Context:
    """What a function finds in its `context` argument (azure.functions.Context)."""

    function_name: str
    function_directory: str
    trace_context: TraceContext
    invocation_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    retry_context: None = None
    thread_local_storage: threading.local = field(default_factory=threading.local)


@dataclass(frozen=True)
class Function:
    """One function and its trigger binding."""

    name: str
    code: Callable[..., Any]
    trigger: dict[str, Any]
    directory: str
    wants_context: bool
    is_async: bool

    async def invoke(self, trigger: object, traceparent: str = "", tracestate: str = "") -> object:
        """Call the function on the event loop, or in a thread when it is not async."""
        arguments = {self.trigger["name"]: trigger}
        if self.wants_context:
            trace = TraceContext(_child_of(traceparent), tracestate)
            arguments["context"] = Context(self.name, self.directory, trace)
        if self.is_async:
            return await self.code(**arguments)
        return await asyncio.to_thread(self.code, **arguments)


def _child_of(traceparent: str) -> str:
    """Keep the caller's trace; the host's own request is the function's parent in it."""
    match = re.fullmatch("00-([0-9a-f]{32})-[0-9a-f]{16}-([0-9a-f]{2})", traceparent)
    trace_id, flags = match.groups() if match else (secrets.token_hex(16), "00")
    return f"00-{trace_id}-{secrets.token_hex(8)}-{flags}"


def index(app: Path) -> list[Function]:
    """Import function_app.py and list its functions."""
    if not (app / "function_app.py").exists():
        raise AppError(f"There is no function_app.py in {app}.")
    sys.path.insert(0, str(app))
    module = importlib.import_module("function_app")
    apps = [value for value in vars(module).values() if isinstance(value, func.FunctionRegister)]
    if len(apps) != 1:
        raise AppError(f"function_app.py must hold exactly one FunctionApp at its top level; it holds {len(apps)}.")
    return [_function(entry, app) for entry in apps[0].get_functions()]


def _function(entry: Any, app: Path) -> Function:
    code = entry.get_user_function()
    bindings = [json.loads(binding) for binding in entry.get_raw_bindings()]
    return Function(
        name=entry.get_function_name(),
        code=code,
        trigger=next(binding for binding in bindings if binding["type"].endswith("Trigger")),
        directory=str(app),
        wants_context="context" in inspect.signature(code).parameters,
        is_async=inspect.iscoroutinefunction(code),
    )


# --- HTTP triggers -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Route:
    """Which requests an HTTP-triggered function answers."""

    function: Function
    template: str
    pattern: re.Pattern[str]
    methods: frozenset[str]
    needs_key: bool


def routes_of(functions: list[Function], prefix: str) -> list[Route]:
    """List the HTTP routes, the most specific templates first, as ASP.NET Core tries them."""
    routes = [_route(function, prefix) for function in functions if function.trigger["type"] == "httpTrigger"]
    return sorted(routes, key=lambda route: [_generality(segment) for segment in route.template.split("/")])


def _generality(segment: str) -> int:
    return 0 if "{" not in segment else 2 if "{*" in segment else 1


def _route(function: Function, prefix: str) -> Route:
    trigger = function.trigger
    template = "/".join(part for part in (prefix, (trigger.get("route") or function.name).strip("/")) if part)
    return Route(
        function=function,
        template=template,
        pattern=_pattern(template),
        methods=frozenset(method.upper() for method in trigger.get("methods") or ()),
        needs_key=trigger.get("authLevel", "FUNCTION").upper() != "ANONYMOUS",
    )


def _pattern(template: str) -> re.Pattern[str]:
    return re.compile("".join(map(_segment_pattern, template.split("/"))) + "/?", re.IGNORECASE)


def _segment_pattern(segment: str) -> str:
    if "{" not in segment:
        return "/" + re.escape(segment)
    parameter = re.fullmatch(r"\{(\*?)(\w+)(\??)\}", segment)
    if parameter is None:
        raise AppError(f'Route segment "{segment}" is more than the dev host knows: {{x}}, {{x?}} and {{*x}}.')
    rest, name, optional = parameter.groups()
    if rest:
        return f"(?:/(?P<{name}>.*?))?"
    return f"(?:/(?P<{name}>[^/]+))?" if optional else f"/(?P<{name}>[^/]+)"


@dataclass(frozen=True)
class Reply:
    status: int
    body: bytes = b""
    headers: Headers = field(default_factory=list)


class Refused(Exception):
    """A request that ends with a bare status, and its connection with it."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def check_headers(headers: Headers) -> None:
    if len(headers) > MAX_HEADERS or sum(len(name) + len(value) for name, value in headers) > MAX_HEADER_BYTES:
        raise Refused(431)


@dataclass
class DevHost:
    """The ASGI application: a request finds its function, within the limits that host.json sets."""

    routes: list[Route]
    settings: HostSettings
    key: str | None = None
    cors_origins: frozenset[str] = frozenset()
    outstanding: int = 0

    def __post_init__(self) -> None:
        limit = self.settings.max_concurrent_requests
        self.permits: contextlib.AbstractAsyncContextManager[Any] = (
            contextlib.nullcontext() if limit is None else asyncio.Semaphore(limit)
        )

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        request = Request.of(scope)
        try:
            reply = await self._answer(request, scope, receive)
        except Refused as refused:
            reply = Reply(refused.status, headers=[(b"connection", b"close")])
        length = (b"content-length", str(len(reply.body)).encode())
        headers = [*reply.headers, length, *self._cors_headers(request)]
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})

    async def _answer(self, request: "Request", scope: Any, receive: Any) -> Reply:
        check_headers(scope["headers"])
        if self.cors_origins and request.is_preflight:
            return Reply(204)
        return await self._queue(request, receive)

    def _cors_headers(self, request: "Request") -> Headers:
        """Return what ASP.NET Core's CORS middleware adds when any header and method are allowed."""
        origin = request.headers.get("origin", "")
        if not self.cors_origins & {origin, "*"} or not origin:
            return []
        headers = {"access-control-allow-origin": origin, "vary": "Origin"}
        if request.is_preflight:
            headers["access-control-allow-methods"] = request.headers["access-control-request-method"]
            headers["access-control-allow-headers"] = request.headers.get("access-control-request-headers", "")
        return [(name.encode(), value.encode("latin-1")) for name, value in headers.items() if value]

    async def _queue(self, request: "Request", receive: Any) -> Reply:
        """Wait for one of maxConcurrentRequests places; refuse beyond maxOutstandingRequests.

        https://github.com/Azure/azure-functions-host/blob/dev/src/WebJobs.Script.WebHost/HttpRequestQueue.cs
        """
        limit = self.settings.max_outstanding_requests
        if limit is not None and self.outstanding >= limit:
            log.warning("Http request queue limit of %d has been exceeded.", limit)
            return Reply(429, headers=[(b"x-function-scaleout", b"1")])
        self.outstanding += 1
        try:
            async with self.permits:
                return await self._dispatch(request, receive)
        finally:
            self.outstanding -= 1

    async def _dispatch(self, request: "Request", receive: Any) -> Reply:
        for route in self.routes:
            match = route.pattern.fullmatch(request.path)
            if match and (not route.methods or request.method in route.methods):
                if route.needs_key and self.key and self.key != request.key:
                    return Reply(401)
                parameters = {name: value for name, value in match.groupdict().items() if value}
                return await self._invoke(route.function, await request.to_function(parameters, receive), request)
        return Reply(404)

    async def _invoke(self, function: Function, trigger: func.HttpRequest, request: "Request") -> Reply:
        trace = (request.headers.get("traceparent", ""), request.headers.get("tracestate", ""))
        try:
            async with asyncio.timeout(self.settings.function_timeout) as timeout:
                result = await function.invoke(trigger, *trace)
            return _reply(result)
        except (Exception, asyncio.CancelledError) as exc:  # whatever a function raises, the host lives on
            if timeout.expired():
                log.error(
                    "%s ran longer than functionTimeout (%g s). The Functions host would restart the worker process "
                    "now, and every other request in it would fail.",
                    function.name,
                    self.settings.function_timeout,
                )
            else:
                log.error("Executed %s (Failed)", function.name, exc_info=exc)
            return Reply(500)


def _reply(result: object) -> Reply:
    match result:
        case None:
            return Reply(204)
        case str():
            return Reply(200, result.encode(), [(b"content-type", b"text/plain; charset=utf-8")])
        case func.HttpResponse():
            headers = {"content-type": _content_type(result)} | {k.lower(): v for k, v in result.headers.items()}
            headers.pop("content-length", None)  # the host counts for itself
            encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
            return Reply(result.status_code, result.get_body(), encoded)
    raise TypeError(f"An HTTP-triggered function returns HttpResponse, str or None, not {type(result).__name__}.")


def _content_type(response: func.HttpResponse) -> str:
    mimetype: str = response.mimetype
    return f"{mimetype}; charset={response.charset}" if mimetype.startswith("text/") else mimetype


@dataclass(frozen=True)
class Request:
    """One HTTP request before it is a function's."""

    method: str
    scheme: str
    path: str
    raw_path: str
    query_string: str
    headers: dict[str, str]

    @classmethod
    def of(cls, scope: Any) -> "Request":
        headers: dict[str, str] = {}
        for raw_name, raw_value in scope["headers"]:
            name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1").strip(" \t")
            headers[name] = f"{headers[name]},{value}" if name in headers else value
        raw_path, query = scope["raw_path"].decode("latin-1"), scope["query_string"].decode("latin-1")
        return cls(scope["method"], scope["scheme"], scope["path"], raw_path, query, headers)

    @property
    def is_preflight(self) -> bool:
        return self.method == "OPTIONS" and {"origin", "access-control-request-method"} <= self.headers.keys()

    @property
    def query(self) -> dict[str, str]:
        query: dict[str, str] = {}
        for name, value in parse_qsl(self.query_string):
            query[name] = f"{query[name]},{value}" if name in query else value
        return query

    @property
    def key(self) -> str | None:
        return self.headers.get("x-functions-key") or self.query.get("code")

    async def to_function(self, route_parameters: dict[str, str], receive: Any) -> func.HttpRequest:
        """Build what the function is handed."""
        body, headers = await self._body(receive), self.headers
        if "transfer-encoding" in headers:
            # The host passes on only a body that has a length. Deployed, Azure's front end puts it on one in chunks.
            # https://github.com/Azure/azure-functions-host/blob/dev/src/WebJobs.Script.Grpc/MessageExtensions/GrpcMessageConversionExtensions.cs
            headers = {**headers, "content-length": str(len(body))}
            del headers["transfer-encoding"]
        question_mark = "?" if self.query_string else ""
        return func.HttpRequest(
            method=self.method,
            url=f"{self.scheme}://{self.headers.get('host', '')}{self.raw_path}{question_mark}{self.query_string}",
            headers=headers,
            params=self.query,
            route_params=route_parameters,
            body=body,
        )

    async def _body(self, receive: Any) -> bytes:
        length, limit = int(self.headers.get("content-length", "0")), int(os.environ.get(BODY_LIMIT, MAX_BODY_BYTES))
        if length > limit:
            raise Refused(413)
        return await read_body(receive, limit) if length or "transfer-encoding" in self.headers else b""


async def read_body(receive: Any, limit: int) -> bytes:
    """Read a body to its end, unless it comes more slowly, or is larger, than the real host lets it."""
    loop, chunks, size = asyncio.get_running_loop(), [], 0
    began = loop.time()
    while True:
        try:
            async with asyncio.timeout_at(began + GRACE_SECONDS + size / LEAST_BYTES_PER_SECOND):
                message = await receive()
        except TimeoutError:
            raise Refused(408) from None
        if message["type"] == "http.disconnect":
            raise Refused(400)
        chunks.append(message["body"])
        size += len(message["body"])
        if size > limit:
            raise Refused(413)
        if not message["more_body"]:
            return b"".join(chunks)


# --- Timer triggers ----------------------------------------------------------------------------------------------------


async def run_timer(function: Function, schedule: str) -> None:
    """Run a timer-triggered function whenever its schedule says so, one run at a time."""
    if function.trigger.get("runOnStartup"):
        await _tick(function)
    while True:
        now = datetime.now(UTC)
        second = now.replace(microsecond=0) + timedelta(seconds=1)
        await asyncio.sleep((second - now).total_seconds())
        if is_due(schedule, second):
            await _tick(function)


async def _tick(function: Function) -> None:
    try:
        await function.invoke(TimerRequest())
    except Exception as exc:  # the next run may do better
        log.error("Executed %s (Failed)", function.name, exc_info=exc)


def schedule_of(function: Function, environ: Mapping[str, str]) -> str:
    """Return the function's NCRONTAB expression; %NAME% stands for an app setting."""
    schedule: str = function.trigger["schedule"]
    if setting := re.fullmatch("%(.+)%", schedule):
        schedule = environ.get(setting[1], "")
    if not re.fullmatch(r"[\d*/,-]+(\s[\d*/,-]+){5}", schedule):
        raise AppError(f'Schedule "{schedule}" of {function.name} is not six numeric fields, as in "0 */5 * * * *".')
    return schedule


def is_due(schedule: str, instant: datetime) -> bool:
    """Tell whether an NCRONTAB expression (second, minute, hour, day, month, day of the week) includes a second."""
    now = (instant.second, instant.minute, instant.hour, instant.day, instant.month, instant.isoweekday() % 7)
    return all(map(_allows, schedule.split(), now, (0, 0, 0, 1, 1, 0)))


def _allows(part: str, value: int, lowest: int) -> bool:
    for item in part.split(","):
        span, _, step = item.partition("/")
        first, _, last = (f"{lowest}-60" if span == "*" else span).partition("-")
        start, stop = int(first), int(last or (60 if step else first))
        if start <= value <= stop and (value - start) % int(step or 1) == 0:
            return True
    return False


# --- The connection ----------------------------------------------------------------------------------------------------


class Connection(HttpToolsProtocol):
    """Ends a connection whose headers come without end: the parser would keep them all before it shows one."""

    head_bytes = 0
    in_head = True

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.in_head = True

    def on_headers_complete(self) -> None:
        self.in_head, self.head_bytes = False, 0
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.in_head:
            self.head_bytes += len(data)
            if self.head_bytes > 2 * MAX_HEADER_BYTES:
                self.transport.write(b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n\r\n")
                self.transport.close()


# --- The program -------------------------------------------------------------------------------------------------------


def listen(host: str, port: int) -> socket.socket:
    """Open the port before anything is loaded, so that a taken one is known at once."""
    # asyncio sets TCP_NODELAY only on sockets whose protocol is named; without it an answer can wait 40 ms.
    opened = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    if os.name == "posix":  # on Windows it would let two servers have one port
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        opened.bind((host, port))
    except OSError as exc:
        raise AppError(f"Port {port} on {host} cannot be opened ({exc.strerror}). Choose another with --port.") from exc
    opened.listen(2048)
    return opened


async def serve(host: DevHost, timers: list[tuple[Function, str]], opened: socket.socket) -> None:
    """Answer until a signal comes."""
    # Kept in a list: a task that nothing refers to may be collected.
    running = [asyncio.create_task(run_timer(*timer)) for timer in timers]
    config = uvicorn.Config(
        host,
        http=Connection,
        log_config=None,
        log_level="warning",
        access_log=False,
        lifespan="off",
        proxy_headers=False,
        timeout_graceful_shutdown=5,
    )
    print("Functions dev host ready on http://{}:{}".format(*opened.getsockname()[:2]), flush=True)
    await uvicorn.Server(config).serve(sockets=[opened])
    for task in running:
        task.cancel()


def describe(routes: list[Route], others: list[Function]) -> None:
    for route in routes:
        log.info("%s: [%s] /%s", route.function.name, ",".join(sorted(route.methods)) or "*", route.template)
    for function in others:
        log.info("%s: %s, not run here", function.name, function.trigger["type"])


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Serve a function app on this machine, as the Azure Functions host does."
    )
    parser.add_argument(
        "--app", type=Path, default=Path(), help="folder of function_app.py and host.json (default: here)"
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=7071, help="0 picks a free one (default: 7071)")
    parser.add_argument("--cors", action="append", default=[], metavar="ORIGIN", help="allow this origin; repeatable")
    parser.add_argument("--timers", action="store_true", help="run timer-triggered functions on their schedule")
    parser.add_argument("--log-level", default="info", choices=["debug", "info", "warning", "error"])
    return parser.parse_args()


def run(options: argparse.Namespace) -> None:
    app = options.app.resolve()
    for name, value in local_settings(app).items():
        os.environ.setdefault(name, value)
    settings = read_host_settings(app, os.environ)
    opened = listen(options.host, options.port)
    functions = index(app)
    routes = routes_of(functions, settings.route_prefix)
    timed = [f for f in functions if f.trigger["type"] == "timerTrigger"] if options.timers else []
    timers = [(function, schedule_of(function, os.environ)) for function in timed]
    describe(routes, [f for f in functions if f.trigger["type"] != "httpTrigger" and f not in timed])
    host = DevHost(routes, settings, os.environ.get("FUNCTIONS_DEV_KEY"), frozenset(options.cors))
    asyncio.run(serve(host, timers, opened))


def main() -> None:
    options = arguments()
    logging.basicConfig(level=options.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        run(options)
    except KeyboardInterrupt:
        sys.exit(0)
    except AppError as exc:
        sys.exit(str(exc))


if __name__ == "__main__":
    main()

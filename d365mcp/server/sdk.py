"""Our tools behind the MCP SDK's low-level server, one message at a time. The only module that imports the SDK.

`mcp.server.runner` and `mcp.shared.inbound` are not documented: the version is pinned, and a test holds the contract.
"""

import asyncio
import base64
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import anyio
import mcp_types as types
from mcp.server.caching import CacheHint
from mcp.server.connection import Connection
from mcp.server.lowlevel import Server
from mcp.server.runner import modern_error_data, serve_one
from mcp.shared.exceptions import MCPError, NoBackChannelError
from mcp.shared.inbound import (
    ERROR_CODE_HTTP_STATUS,
    InboundLadderRejection,
    classify_inbound_request,
    find_duplicated_routing_header,
    validate_mcp_param_headers,
)
from mcp.shared.transport_context import TransportContext
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS

from d365mcp.errors import D365McpError, DeadlineExceeded, NotAllowed, SettingsError
from d365mcp.events import Outcome, current_operation
from d365mcp.server.callers import READ_ONLY_HEADER, TOOLSETS_HEADER, Access
from d365mcp.server.messages import INVALID_PARAMS, Id, Message, Reply, dumped, error
from d365mcp.settings import Settings
from d365mcp.tools.results import compact
from d365mcp.tools.tool import Attached, Attachment, ReportProgress, Tool, ToolContext

log = logging.getLogger(__name__)

MakeContext = Callable[[Access, ReportProgress], Awaitable[ToolContext]]

LIST_SECONDS = 300
JSON_HEADERS = {"content-type": "application/json"}
STREAM_HEADERS = {
    "content-type": "text/event-stream",
    "cache-control": "no-cache, no-transform",
    "x-accel-buffering": "no",
}


@dataclass
class Exchange:
    """One request's way back to its client: collects notifications, refuses to ask the client anything."""

    request_id: Id
    transport: TransportContext
    progress_token: Any = None
    listening: bool = False  # whether the client takes notifications with the answer
    notes: list[Message] = field(default_factory=list)
    message_metadata: Any = None
    can_send_request: bool = False
    cancel_requested: anyio.Event = field(default_factory=anyio.Event)

    async def send_raw_request(self, method: str, params: Any, opts: Any = None) -> dict[str, Any]:
        raise NoBackChannelError(method)

    async def notify(self, method: str, params: Any, opts: Any = None) -> None:
        if self.listening:
            self.notes.append({"jsonrpc": "2.0", "method": method, "params": dict(params or {})})

    async def progress(self, progress: float, total: float | None = None, message: str | None = None) -> None:
        if self.progress_token is None:
            return
        told = {"progressToken": self.progress_token, "progress": progress, "total": total, "message": message}
        await self.notify("notifications/progress", {name: value for name, value in told.items() if value is not None})


@dataclass
class Served:
    """An answer, and how the request went."""

    reply: Reply
    outcome: Outcome = "ok"
    error_code: str | None = None


@dataclass
class Call:
    """The request under way, as the handlers see it."""

    access: Access
    exchange: Exchange
    outcome: Outcome = "ok"
    error_code: str | None = None

    def failed(self, problem: D365McpError) -> None:
        self.error_code = problem.code
        self.outcome = "tool_error"
        if isinstance(problem, DeadlineExceeded):
            self.outcome = "timeout"
        elif isinstance(problem, NotAllowed):
            self.outcome = "refused"


current_call: ContextVar[Call] = ContextVar("call")


class Engine:
    """Answers one message at a time with an SDK server, in both eras of the protocol."""

    def __init__(self, server: Server[Any], toolset_of: Mapping[str, str] | None = None) -> None:
        self.server = server
        self.server.middleware.clear()  # the SDK's tracing: ours is events
        self.toolset_of = toolset_of or {}

    async def serve(self, message: Message, headers: Mapping[str, str], access: Access) -> Served:
        """Answer a request: its JSON-RPC reply, with an HTTP status as the protocol's era wants it."""
        id, method, params = message["id"], message["method"], message.get("params")
        version = headers.get("mcp-protocol-version")
        if version is None or version in HANDSHAKE_PROTOCOL_VERSIONS:
            modern, connection = False, Connection.from_envelope(version or "2025-03-26", None, None)
        else:
            route = self.modern_route(message, headers)
            if isinstance(route, Reply):
                return Served(route, "protocol_error")
            modern, connection = True, route
        exchange = exchange_of(id, params, headers)
        call = Call(access, exchange)
        token = current_call.set(call)
        try:
            result = await serve_one(self.server, exchange, method, params, connection=connection, lifespan_state={})
        except Exception as problem:  # the SDK maps whatever a handler raised to a JSON-RPC error
            return Served(self.failure(problem, id, modern=modern), "protocol_error", call.error_code)
        finally:
            current_call.reset(token)
        return Served(success(id, result, exchange), call.outcome, call.error_code)

    def modern_route(self, message: Message, headers: Mapping[str, str]) -> Connection | Reply:
        """Check the envelope of a request of the stateless era."""
        id, params = message["id"], message.get("params") or {}
        if (duplicated := find_duplicated_routing_header(list(headers.items()))) is not None:
            return error(400, types.HEADER_MISMATCH, f"The header {duplicated} is there more than once.", id)
        route = classify_inbound_request(message, headers=headers)
        if isinstance(route, InboundLadderRejection):
            status = ERROR_CODE_HTTP_STATUS.get(route.code, 400)
            return error(status, route.code, route.message, id, route.data)
        schema_of = self.server.get_tool_input_schema
        if message["method"] == "tools/call" and schema_of is not None and isinstance(params.get("name"), str):
            schema, arguments = schema_of(params["name"]), params.get("arguments")
            if schema is not None and isinstance(arguments, dict | None):
                rejected = validate_mcp_param_headers(schema, arguments or {}, headers)
                if rejected is not None:
                    return error(400, rejected.code, rejected.message, id, rejected.data)
        return Connection.from_envelope(route.protocol_version, route.client_info, route.client_capabilities)

    def failure(self, problem: Exception, id: Id, *, modern: bool) -> Reply:
        told = modern_error_data(problem)
        code = told.code or INVALID_PARAMS
        status = ERROR_CODE_HTTP_STATUS.get(code, 200) if modern else 200
        return error(status, code, told.message, id, told.data)


def exchange_of(id: Id, params: Mapping[str, Any] | None, headers: Mapping[str, str]) -> Exchange:
    meta = (params or {}).get("_meta")
    progress_token = meta.get("progressToken") if isinstance(meta, dict) else None
    accept = headers.get("accept", "")
    listening = "text/event-stream" in accept or "*/*" in accept
    transport = TransportContext(kind="streamable-http", can_send_request=False, headers=headers)
    return Exchange(id, transport, progress_token, listening)


def success(id: Id, result: Mapping[str, Any], exchange: Exchange) -> Reply:
    """Return the result; behind the notifications, as a stream in one piece, where there were any."""
    final = {"jsonrpc": "2.0", "id": id, "result": result}
    if not exchange.notes:
        return Reply(200, JSON_HEADERS, dumped(final))
    body = b"".join(b"event: message\ndata: " + dumped(each) + b"\n\n" for each in (*exchange.notes, final))
    return Reply(200, STREAM_HEADERS, body)


@dataclass(frozen=True)
class Offer:
    """What the server offers beside tools: handlers of `prompts.py` and `resources.py`, by the SDK's names."""

    handlers: Mapping[str, Any] = field(default_factory=dict)


def build_engine(
    settings: Settings,
    tools: tuple[Tool, ...],
    make_context: MakeContext,
    *,
    name: str,
    version: str,
    title: str,
    instructions: str,
    offer: Offer | None = None,
) -> Engine:
    """Return the engine for our tools."""
    handlers = ToolHandlers(settings, {tool.name: tool for tool in tools}, make_context)
    lasting = CacheHint(LIST_SECONDS * 1000, "public")
    server: Server[Any] = Server(
        name,
        version=version,
        title=title,
        instructions=instructions,
        on_list_tools=handlers.list_tools,
        on_call_tool=handlers.call_tool,
        get_tool_input_schema=handlers.input_schema,
        cache_hints={
            "server/discover": lasting,
            "tools/list": lasting,
            "prompts/list": lasting,
            "resources/list": lasting,
            "resources/templates/list": lasting,
        },
        **(offer.handlers if offer else {}),
    )
    return Engine(server, {tool.name: tool.toolset for tool in tools})


class ToolHandlers:
    """Lists and calls tools."""

    def __init__(self, settings: Settings, tools: Mapping[str, Tool], make_context: MakeContext) -> None:
        self.settings = settings
        self.tools = tools
        self.make_context = make_context
        self.shown = {name: shown_tool(tool) for name, tool in tools.items()}

    def input_schema(self, name: str) -> Mapping[str, Any] | None:
        tool = self.tools.get(name)
        return tool.input_schema if tool else None

    async def list_tools(self, ctx: Any, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        """List all tools this request may use, on one page."""
        refuse_cursor(params)
        access = current_call.get().access
        offered = [
            self.shown[name]
            for name, tool in self.tools.items()
            if access.allows(tool.toolset, read_only=tool.read_only)
        ]
        if access.narrowed:
            return types.ListToolsResult(tools=offered, cache_scope="private")
        return types.ListToolsResult(tools=offered)

    async def call_tool(self, ctx: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        """Call a tool. What the caller can mend comes back as a result that says so."""
        tool = self.tools.get(params.name)
        if tool is None:
            raise MCPError(types.INVALID_PARAMS, f"Unknown tool: {params.name[:100]}")
        call = current_call.get()
        try:
            return shown_result(await self.run(tool, params.arguments or {}, call))
        except D365McpError as problem:
            call.failed(problem)
            return failed(problem.describe())
        except Exception:  # a bug of ours: the trace is for the log, not for the model
            log.exception("The tool %s failed.", tool.name)
            call.outcome, call.error_code = "tool_error", "internal"
            told = f"{tool.name} failed on the server; the failure was logged. The same call will fail again."
            return failed({"code": "internal", "message": told, "retryable": False})

    async def run(self, tool: Tool, arguments: Mapping[str, Any], call: Call) -> Any:
        refuse_hidden(tool, call.access, self.settings)
        if self.settings.problems:
            raise SettingsError(self.settings.problems)
        checked = tool.check(arguments)
        operation = current_operation()
        try:
            async with asyncio.timeout(operation.remaining() if operation else None):
                context = await self.make_context(call.access, report(call.exchange))
                return await tool.function(context, **checked)
        except TimeoutError:
            raise out_of_time(self.settings) from None


def report(exchange: Exchange) -> ReportProgress:
    async def report_progress(progress: float, total: float | None, message: str) -> None:
        await exchange.progress(progress, total, message)

    return report_progress


def refuse_cursor(params: types.PaginatedRequestParams | None) -> None:
    if params is not None and params.cursor is not None:
        raise MCPError(types.INVALID_PARAMS, "There is no such page: this list has one page and gives no cursor.")


def refuse_hidden(tool: Tool, access: Access, settings: Settings) -> None:
    """Raise NotAllowed for a tool that this request does not see, naming what hides it."""
    if tool.toolset not in access.toolsets:
        where = "MCP_TOOLSETS" if tool.toolset not in settings.toolsets else f"this request's {TOOLSETS_HEADER} header"
        raise NotAllowed(f"{tool.name} is not on offer: {where} leaves out the toolset {tool.toolset}.")
    if not access.allows(tool.toolset, read_only=tool.read_only):
        where = (
            "MCP_READ_ONLY is not false" if settings.read_only else f"this request's {READ_ONLY_HEADER} header is true"
        )
        raise NotAllowed(f"{tool.name} changes data, and only reading is allowed: {where}.")


def out_of_time(settings: Settings) -> DeadlineExceeded:
    return DeadlineExceeded(
        f"The call did not finish within {settings.deadline_seconds:g} seconds.",
        hint="Ask for less at once. MCP_REQUEST_TIMEOUT and host.json's functionTimeout set the limit.",
    )


def shown_tool(tool: Tool) -> types.Tool:
    hints = types.ToolAnnotations(
        read_only_hint=tool.read_only,
        destructive_hint=tool.destructive,
        idempotent_hint=tool.idempotent,
        open_world_hint=tool.open_world,
    )
    return types.Tool(
        name=tool.name,
        title=tool.title,
        description=tool.description,
        input_schema=tool.input_schema,
        output_schema=tool.output_schema,
        annotations=hints,
    )


def shown_result(result: Mapping[str, Any] | Attached) -> types.CallToolResult:
    """Return the structured result, and the same as compact text for clients that read only text."""
    data = dict(result.content if isinstance(result, Attached) else result)
    content: list[Any] = [types.TextContent(type="text", text=compact(data))]
    if isinstance(result, Attached):
        content.append(embedded(result.attachment))
    return types.CallToolResult(content=content, structured_content=data)


def embedded(file: Attachment) -> types.EmbeddedResource:
    blob = base64.b64encode(file.data).decode()
    contents = types.BlobResourceContents(uri=file.uri, mime_type=file.mime_type, blob=blob)
    return types.EmbeddedResource(type="resource", resource=contents)


def failed(described: Mapping[str, Any]) -> types.CallToolResult:
    """Return a failed call. Its shape is not the tool's output schema, so it goes as text alone."""
    return types.CallToolResult(content=[types.TextContent(type="text", text=compact(described))], is_error=True)

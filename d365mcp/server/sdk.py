"""Our tools behind the MCP SDK's low-level server, one message at a time. The only module that imports the SDK.

`mcp.server.runner` and `mcp.shared.inbound` are not documented: the version is pinned, and a test holds the contract.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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

from d365mcp.errors import D365McpError, InvalidArgument, NotAllowed, UnknownName, close_names
from d365mcp.events import Ending
from d365mcp.server.auth.access import Access
from d365mcp.server.execution import CallOutcome, ToolExecutor, failed_call
from d365mcp.server.messages import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    JSON_HEADERS,
    Id,
    Message,
    Reply,
    error,
)
from d365mcp.server.ordinary import capabilities_of, code_of, embedded, may_read_templates
from d365mcp.server.prompts import PROMPTS, Prompt, offered, prompt_named
from d365mcp.server.resources import (
    GUIDE,
    TEMPLATES,
    Resource,
    Template,
    complete,
    guide,
    listed,
    resolve,
    template_of,
)
from d365mcp.tools.arguments import object_in, read
from d365mcp.tools.tool import Tool
from d365mcp.wire import read_json, write_json

LIST_SECONDS = 300
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
        fields = {"progressToken": self.progress_token, "progress": progress, "total": total, "message": message}
        await self.notify(
            "notifications/progress", {name: value for name, value in fields.items() if value is not None}
        )


@dataclass
class Served:
    """An answer, and how the request went."""

    reply: Reply
    ending: Ending = Ending()


@dataclass
class CurrentCall:
    """The request under way, as the handlers see it."""

    access: Access
    capabilities: Mapping[str, Any]
    ending: Ending = Ending()


current_call: ContextVar[CurrentCall] = ContextVar("call")


class Engine:
    """Answers one message at a time with an SDK server, in both eras of the protocol."""

    def __init__(self, server: Server[Any]) -> None:
        self.server = server
        self.server.middleware.clear()  # the SDK's tracing; this server emits events instead

    async def serve(self, message: Message, headers: Mapping[str, str], access: Access) -> Served:
        """Answer a request: its JSON-RPC reply, with an HTTP status as the protocol's era wants it."""
        id, method, params = message["id"], message["method"], message.get("params")
        version = headers.get("mcp-protocol-version")
        if version is None or version in HANDSHAKE_PROTOCOL_VERSIONS:
            modern, connection = False, Connection.from_envelope(version or "2025-03-26", None, None)
        else:
            route = self.modern_route(message, headers)
            if isinstance(route, Reply):
                return Served(route, Ending("protocol_error", callers_mistake=True))
            modern, connection = True, route
        exchange = _exchange_of(id, params, headers)
        call = CurrentCall(access, capabilities_of(message, headers))
        token = current_call.set(call)
        try:
            meant = _as_meant(method, params)
            result = await serve_one(self.server, exchange, method, meant, connection=connection, lifespan_state={})
        except Exception as problem:  # the SDK maps whatever a handler raised to a JSON-RPC error
            return self.failure(problem, id, call.ending, modern=modern)
        finally:
            current_call.reset(token)
        return Served(_success(id, result, exchange), call.ending)

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

    def failure(self, problem: Exception, id: Id, ending: Ending, *, modern: bool) -> Served:
        error_data = modern_error_data(problem)
        code = error_data.code or INVALID_PARAMS
        status = ERROR_CODE_HTTP_STATUS.get(code, 200) if modern else 200
        if not ending.error_code:
            ending = Ending("protocol_error", callers_mistake=code != INTERNAL_ERROR)
        return Served(error(status, code, error_data.message, id, error_data.data), ending)


def _exchange_of(id: Id, params: Mapping[str, Any] | None, headers: Mapping[str, str]) -> Exchange:
    meta = (params or {}).get("_meta")
    progress_token = meta.get("progressToken") if isinstance(meta, dict) else None
    accept = headers.get("accept", "")
    listening = "text/event-stream" in accept or "*/*" in accept
    transport = TransportContext(kind="streamable-http", can_send_request=False, headers=headers)
    return Exchange(id, transport, progress_token, listening)


def _as_meant(method: str, params: Any) -> Any:
    """Return the parameters with arguments of the type the protocol has: an object for tools, texts for prompts.

    Hosts send a prompt null for what was left out, and numbers; some a tool the object as JSON text.
    """
    given = params.get("arguments") if isinstance(params, Mapping) else None
    if method == "tools/call" and isinstance(given, str):
        found = object_in(given or "{}")
        return params if found is None else {**params, "arguments": found}
    if method == "prompts/get" and isinstance(given, Mapping):
        texts = {name: value if isinstance(value, str) else write_json(value).decode() for name, value in given.items()}
        return {**params, "arguments": texts}
    return params


def _success(id: Id, result: Mapping[str, Any], exchange: Exchange) -> Reply:
    """Return the result; behind the notifications, as a stream in one piece, where there were any."""
    final = {"jsonrpc": "2.0", "id": id, "result": result}
    if not exchange.notes:
        return Reply(200, JSON_HEADERS, write_json(final))
    body = b"".join(b"event: message\ndata: " + write_json(each) + b"\n\n" for each in (*exchange.notes, final))
    return Reply(200, STREAM_HEADERS, body)


def build_engine(executor: ToolExecutor, *, name: str, version: str, title: str, instructions: str) -> Engine:
    """Return the engine for our tools, with the prompts and resources that go along."""
    handlers = ToolHandlers(executor)
    texts = TextHandlers(executor)
    lasting = CacheHint(LIST_SECONDS * 1000, "public")
    server: Server[Any] = Server(
        name,
        version=version,
        title=title,
        instructions=instructions,
        on_list_tools=handlers.list_tools,
        on_call_tool=handlers.call_tool,
        get_tool_input_schema=handlers.input_schema,
        on_list_prompts=texts.list_prompts,
        on_get_prompt=texts.get_prompt,
        on_list_resources=texts.list_resources,
        on_list_resource_templates=texts.list_templates,
        on_read_resource=texts.read_resource,
        on_completion=texts.complete,
        cache_hints={
            "server/discover": lasting,
            "tools/list": lasting,
            "prompts/list": lasting,
            "resources/list": lasting,
            "resources/templates/list": lasting,
        },
    )
    return Engine(server)


class ToolHandlers:
    """Lists and calls tools for the SDK."""

    def __init__(self, executor: ToolExecutor) -> None:
        self.executor = executor
        self.listed = {name: _sdk_tool(tool) for name, tool in executor.tools.items()}

    def input_schema(self, name: str) -> Mapping[str, Any] | None:
        tool = self.executor.tools.get(name)
        return tool.input_schema if tool else None

    async def list_tools(self, ctx: Any, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        """List all tools this request may use, on one page."""
        _refuse_cursor(params)
        access = current_call.get().access
        offered = [self.listed[name] for name in self.executor.offered(access)]
        if not access.structured:
            offered = [tool.model_copy(update={"output_schema": None}) for tool in offered]
        if access.private:
            return types.ListToolsResult(tools=offered, cache_scope="private")
        return types.ListToolsResult(tools=offered)

    async def call_tool(self, ctx: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        """Call a tool."""
        call = current_call.get()
        if params.name not in self.executor.tools:
            close = close_names(params.name, self.executor.offered(call.access))
            unknown = UnknownName("tool", params.name, close)
            raise MCPError(types.INVALID_PARAMS, f"{unknown.message} tools/list has all.")
        called = await self.executor.execute(params.name, params.arguments or {}, call.access, call.capabilities)
        call.ending = called.ending
        return _sdk_result(called)


class TextHandlers:
    """Prompts, resources and completion for the SDK."""

    def __init__(self, executor: ToolExecutor) -> None:
        self.executor = executor

    async def list_prompts(self, ctx: Any, params: types.PaginatedRequestParams | None) -> types.ListPromptsResult:
        _refuse_cursor(params)
        access = current_call.get().access
        prompts = [_sdk_prompt(prompt) for prompt in offered(access)]
        return types.ListPromptsResult(prompts=prompts, **cache_scope(access, whole=len(prompts) == len(PROMPTS)))

    async def get_prompt(self, ctx: Any, params: types.GetPromptRequestParams) -> types.GetPromptResult:
        with _refused_as_parameters():
            prompt = prompt_named(params.name, current_call.get().access)
            parameters = {"properties": dict.fromkeys(prompt.arguments, {"type": "string"})}
            text = prompt.filled(read(params.arguments or {}, parameters, writes=False))
        message = types.PromptMessage(role="user", content=types.TextContent(type="text", text=text))
        return types.GetPromptResult(description=prompt.description, messages=[message])

    async def list_resources(self, ctx: Any, params: types.PaginatedRequestParams | None) -> types.ListResourcesResult:
        _refuse_cursor(params)
        access = current_call.get().access
        whole = may_read_templates(access)
        resources = [_sdk_resource(each) for each in listed(metadata=whole)]
        return types.ListResourcesResult(resources=resources, **cache_scope(access, whole=whole))

    async def list_templates(
        self, ctx: Any, params: types.PaginatedRequestParams | None
    ) -> types.ListResourceTemplatesResult:
        _refuse_cursor(params)
        access = current_call.get().access
        whole = may_read_templates(access)
        templates = [_sdk_template(each) for each in TEMPLATES] if whole else []
        return types.ListResourceTemplatesResult(resource_templates=templates, **cache_scope(access, whole=whole))

    async def read_resource(self, ctx: Any, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
        call, uri = current_call.get(), str(params.uri)
        if uri == GUIDE.uri:
            text = guide(self.executor.hidden(call.access))
            contents = types.TextResourceContents(uri=uri, mime_type=GUIDE.mime_type, text=text)
            return types.ReadResourceResult(contents=[contents])
        with _refused_as_parameters():
            tool, arguments = resolve(uri, metadata=may_read_templates(call.access))
        called = await self.executor.execute(tool, arguments, call.access, call.capabilities)
        if not called.succeeded:
            raise _protocol_error(called, call)
        contents = types.TextResourceContents(uri=params.uri, mime_type="application/json", text=called.text)
        return types.ReadResourceResult(contents=[contents])

    async def complete(self, ctx: Any, params: types.CompleteRequestParams) -> types.CompleteResult:
        template = template_of(str(getattr(params.ref, "uri", "")))
        typed = params.argument.value[:200]
        found = await self.completed(template, typed) if template and typed.strip() else []
        return types.CompleteResult(completion=types.Completion(values=found, total=len(found), has_more=False))

    async def completed(self, template: Template, typed: str) -> list[str]:
        call = current_call.get()
        tool = self.executor.tools[template.tool]
        try:
            return await self.executor.within(
                tool, call.access, call.capabilities, lambda context: complete(template, typed, context)
            )
        except D365McpError as problem:
            if isinstance(problem, NotAllowed):
                self.executor.audit_refusal(tool.name, {}, call.access.caller, problem.code)
            raise _protocol_error(failed_call(problem), call) from None


def _protocol_error(called: CallOutcome, call: CurrentCall) -> MCPError:
    """Return a failure as the protocol error of a request that calls no tool; `data` has all that a tool would tell."""
    call.ending = called.ending
    facts = read_json(called.text)
    return MCPError(code_of(facts), facts["message"], facts)


@contextmanager
def _refused_as_parameters() -> Iterator[None]:
    try:
        yield
    except InvalidArgument as problem:
        raise MCPError(types.INVALID_PARAMS, problem.message) from None


def _sdk_prompt(prompt: Prompt) -> types.Prompt:
    arguments = [
        types.PromptArgument(name=name, description=text, required=False) for name, text in prompt.arguments.items()
    ]
    return types.Prompt(name=prompt.name, title=prompt.title, description=prompt.description, arguments=arguments)


def _sdk_resource(resource: Resource) -> types.Resource:
    return types.Resource(uri=resource.uri, name=resource.name, title=resource.title, mime_type=resource.mime_type)


def _sdk_template(template: Template) -> types.ResourceTemplate:
    return types.ResourceTemplate(
        uri_template=template.uri,
        name=template.name,
        description=template.description,
        mime_type="application/json",
    )


def cache_scope(access: Access, *, whole: bool) -> dict[str, Any]:
    """Return how a list may be cached: one that is narrowed to its caller, by that caller alone."""
    return {} if whole or not access.private else {"cache_scope": "private"}


def _refuse_cursor(params: types.PaginatedRequestParams | None) -> None:
    if params is not None and params.cursor is not None:
        raise MCPError(types.INVALID_PARAMS, "There is no such page: this list has one page and gives no cursor.")


def _sdk_tool(tool: Tool) -> types.Tool:
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


def _sdk_result(called: CallOutcome) -> types.CallToolResult:
    """Return the result as text, and as the structure it is where that is wanted."""
    content: list[Any] = [types.TextContent(type="text", text=called.text)]
    content += [types.EmbeddedResource.model_validate(embedded(file)) for file in called.files]
    if not called.succeeded:
        return types.CallToolResult(content=content, is_error=True)
    structure = read_json(called.text) if called.structured else None
    return types.CallToolResult(content=content, structured_content=structure)

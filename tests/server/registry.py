"""A small server without F&O: tools that answer, wait, fail and crash, behind the very HTTP code of the real one."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

from pydantic import Field
from typing_extensions import TypedDict

from d365mcp import __version__
from d365mcp.errors import NotFound
from d365mcp.events import Event, Listener, McpRequest
from d365mcp.lazy import Lazy
from d365mcp.server.auth.access import Access
from d365mcp.server.endpoint import Endpoint
from d365mcp.server.execution import ToolExecutor, by_name
from d365mcp.server.messages import Reply
from d365mcp.server.ordinary import SERVER_NAME, SERVER_TITLE
from d365mcp.server.sdk import Engine, build_engine
from d365mcp.settings import HostLimits, Settings
from d365mcp.tools.tool import Attached, Attachment, Tool, ToolContext

BASE = Settings(base_url="https://contoso.operations.dynamics.com", mcp_auth="none", host=HostLimits())


class Echo(TypedDict):
    said: str


@dataclass
class Work:
    """What the tools are doing: `busy` at once, at `most`, and a gate that holds them."""

    gate: asyncio.Event = field(default_factory=asyncio.Event)
    busy: int = 0
    most: int = 0
    order: list[str] = field(default_factory=list)


WORK = Work()


async def echo(context: ToolContext, text: Annotated[str, Field(description="What to say")] = "") -> Echo:
    """Say something back."""
    return Echo(said=text)


async def hold(context: ToolContext, name: str = "") -> Echo:
    """Work until the gate opens."""
    WORK.busy += 1
    WORK.most = max(WORK.most, WORK.busy)
    WORK.order.append(name)
    try:
        await WORK.gate.wait()
    finally:
        WORK.busy -= 1
    return Echo(said=name)


async def able(context: ToolContext) -> Echo:
    """Say what the client can do."""
    return Echo(said=json.dumps(context.capabilities))


async def miss(context: ToolContext) -> Echo:
    """Fail as F&O does."""
    raise NotFound("No such record.", http_status=404, activity_id="a-1", hint="Check the key.")


async def crash(context: ToolContext) -> Echo:
    """Fail as programs do."""
    raise RuntimeError("secret-of-the-server")


async def change(context: ToolContext) -> Echo:
    """Change something."""
    return Echo(said="changed")


async def file(context: ToolContext) -> Attached:
    """Send a file."""
    return Attached({"said": "a file"}, Attachment("d365fo://files/1", "text/plain", b"content"))


TOOLS = (
    Tool(file, "File", "data"),
    Tool(echo, "Echo", "data"),
    Tool(hold, "Hold", "data"),
    Tool(able, "Able", "metadata"),
    Tool(miss, "Miss", "data"),
    Tool(crash, "Crash", "data"),
    Tool(change, "Change", "data", read_only=False),
)


def calls_for(settings: Settings, emit: Listener) -> ToolExecutor:
    def make_context(access: Access, capabilities: Mapping[str, Any]) -> ToolContext:
        missing: Any = None
        caller, read_only = access.caller, access.read_only
        nothing: list[Any] = [missing] * 4
        return ToolContext(settings, missing, missing, missing, caller, read_only, capabilities, emit, *nothing)

    return ToolExecutor(settings, by_name(TOOLS), make_context, emit)


def engine_for(calls: ToolExecutor) -> Engine:
    return build_engine(calls, name=SERVER_NAME, version=__version__, title=SERVER_TITLE, instructions="Say something.")


@dataclass
class Tried:
    """An endpoint over the registry, and the events it emitted."""

    endpoint: Endpoint
    events: list[Event] = field(default_factory=list)

    async def post(self, message: Any, headers: Mapping[str, str] | None = None) -> Reply:
        body = message if isinstance(message, bytes) else json.dumps(message).encode()
        return await self.endpoint.handle("POST", {**HEADERS, **(headers or {})}, body)

    async def call(self, tool: str, headers: Mapping[str, str] | None = None, **arguments: Any) -> Reply:
        return await self.post(request("tools/call", name=f"d365fo_{tool}", arguments=arguments), headers)

    @property
    def requests(self) -> list[McpRequest]:
        return [event for event in self.events if isinstance(event, McpRequest)]


HEADERS = {
    "host": "localhost:7071",
    "content-type": "application/json",
    "accept": "application/json, text/event-stream",
    "mcp-protocol-version": "2025-11-25",
}


def tried(*, direct: bool = True, **settings: Any) -> Tried:
    """Return a fresh endpoint with these settings; not `direct`, the SDK answers all calls."""
    given = replace(BASE, **settings)
    events: list[Event] = []
    WORK.__init__()  # type: ignore[misc]
    calls = calls_for(given, events.append)
    late = Lazy(lambda: engine_for(calls))
    return Tried(Endpoint(given, late, events.append, executor=Lazy(lambda: calls) if direct else None), events)


def request(method: str, /, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 7, "method": method, "params": params}


def body_of(reply: Reply) -> dict[str, Any]:
    return dict(json.loads(reply.body))


def result_of(reply: Reply) -> dict[str, Any]:
    return dict(body_of(reply)["result"])


def text_of(reply: Reply) -> dict[str, Any]:
    return dict(json.loads(result_of(reply)["content"][0]["text"]))

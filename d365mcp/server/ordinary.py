"""The requests that clients ordinarily send, answered without the SDK: importing it is most of a cold start.

A request is ordinary when the SDK would certainly accept it and nothing in it changes the answer. The shapes below say
which requests are. The SDK answers all others. Lists are joined from fragments that the SDK made once
(`tests/prepared_answers.py`). Calls need the tools alone. Tests compare both ways of answering.
"""

import base64
from collections.abc import Callable, Mapping, Sequence, Set
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import d365mcp
from d365mcp.errors import D365McpError
from d365mcp.server.auth.access import Access
from d365mcp.server.messages import (
    BUSY,
    FORBIDDEN,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    JSON_HEADERS,
    THROTTLED,
    UNAVAILABLE,
    Id,
    Message,
    Reply,
    error,
    head,
    result,
)
from d365mcp.server.prompts import PROMPTS, offered
from d365mcp.wire import read_json, write_json

if TYPE_CHECKING:
    from d365mcp.server.execution import CallOutcome, ToolExecutor
    from d365mcp.tools.tool import Attachment

HANDSHAKE_VERSIONS = frozenset({"2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"})
# Offered to a client whose initialize asks for an unknown version.
LATEST_HANDSHAKE_VERSION = "2025-11-25"
# Assumed for a handshake-era request without the header.
DEFAULT_VERSION = "2025-03-26"
MODERN_VERSION = "2026-07-28"
VERSION_HEADER = "mcp-protocol-version"


# --- Which requests are ordinary -----------------------------------------------------------------------------------------

# A shape accepts a value that the protocol certainly takes there. Odd values are left to the SDK.
Shape = Callable[[Any], bool]


def _of(*types: type) -> Shape:
    return lambda value: type(value) in types  # not isinstance: True is no whole number


def _words(*known: str) -> Shape:
    return lambda value: value in known


def _list_of(shape: Shape) -> Shape:
    return lambda value: type(value) is list and all(map(shape, value))


def _members(needed: Mapping[str, Shape], optional: Mapping[str, Shape], *, closed: bool = False) -> Shape:
    """Return the shape of an object. Members of other names say nothing; one that is closed has none."""
    known, names = {**needed, **optional}, frozenset(needed)

    def fits(value: Any) -> bool:
        if type(value) is not dict or not names <= value.keys():
            return False
        for name, member in value.items():
            shape = known.get(name)
            if closed if shape is None else not shape(member):
                return False
        return True

    return fits


def _options(**shapes: Shape) -> Shape:
    return _members({}, shapes)


def _is_settings(value: Any) -> bool:
    return type(value) is dict and all(type(each) is dict for each in value.values())


META = "io.modelcontextprotocol/"
TEXT, OBJECT, TOKEN = _of(str), _of(dict), _of(str, int)
LEVEL = _words("alert", "critical", "debug", "emergency", "error", "info", "notice", "warning")
ICON = _members({"src": TEXT}, {"mimeType": TEXT, "sizes": _list_of(TEXT), "theme": _words("dark", "light")})
CLIENT = _members(
    {"name": TEXT, "version": TEXT},
    {"title": TEXT, "description": TEXT, "websiteUrl": TEXT, "icons": _list_of(ICON)},
)
CAPABILITIES = _options(
    elicitation=_options(form=OBJECT, url=OBJECT),
    experimental=_is_settings,
    extensions=_is_settings,
    roots=_options(listChanged=_of(bool)),
    sampling=_options(context=OBJECT, tools=OBJECT),
    tasks=_options(
        list=OBJECT,
        cancel=OBJECT,
        requests=_options(elicitation=_options(create=OBJECT), sampling=_options(createMessage=OBJECT)),
    ),
)
HANDSHAKE_META = _options(progressToken=TOKEN)
MODERN_META = _members(
    {f"{META}protocolVersion": _words(MODERN_VERSION), f"{META}clientCapabilities": CAPABILITIES},
    {f"{META}clientInfo": CLIENT, f"{META}logLevel": LEVEL, "progressToken": TOKEN},
)
INITIALIZE = {"protocolVersion": TEXT, "capabilities": CAPABILITIES, "clientInfo": CLIENT}
RESOURCE_LISTS = ("resources/list", "resources/templates/list")
LISTS = ("tools/list", "prompts/list", *RESOURCE_LISTS)
# The parameters of each method that is answered here.
HANDSHAKE = {
    "initialize": _members(INITIALIZE, {"_meta": HANDSHAKE_META}, closed=True),
    "tools/call": _members({"name": TEXT}, {"arguments": OBJECT, "_meta": HANDSHAKE_META}, closed=True),
    **dict.fromkeys(("ping", *LISTS), _members({}, {"_meta": HANDSHAKE_META}, closed=True)),
}
MODERN = {
    "tools/call": _members({"name": TEXT, "_meta": MODERN_META}, {"arguments": OBJECT}, closed=True),
    **dict.fromkeys(("server/discover", *LISTS), _members({"_meta": MODERN_META}, {}, closed=True)),
}


def _ordinary_version(message: Message, headers: Mapping[str, str]) -> str | None:
    """Return the protocol version of the answer to an ordinary request, or None where the SDK has to look."""
    if len(message) != 3 + ("params" in message) or not _is_plain_id(
        message["id"]
    ):  # jsonrpc, id and method are there already
        return None
    method, params = message["method"], message.get("params", {})
    version = headers.get(VERSION_HEADER)
    if version == MODERN_VERSION:
        routed = headers.get("mcp-method") == method and headers.get("mcp-name") == params.get("name")
        return version if routed and _has_shape(params, MODERN.get(method)) else None
    if version not in HANDSHAKE_VERSIONS and version is not None:
        return None
    if not _has_shape(params, HANDSHAKE.get(method)):
        return None
    if method == "initialize":
        asked: str = params["protocolVersion"]
        return asked if asked in HANDSHAKE_VERSIONS else LATEST_HANDSHAKE_VERSION
    return version or DEFAULT_VERSION


def _is_plain_id(id: Id) -> bool:
    return isinstance(id, str) or (isinstance(id, int) and abs(id) < 2**53)


def _has_shape(params: Mapping[str, Any], shape: Shape | None) -> bool:
    return shape is not None and shape(params)


def capabilities_of(message: Message, headers: Mapping[str, str]) -> Mapping[str, Any]:
    """Return the client's capabilities: in the stateless era each request carries them.

    Before it initialize alone did, and nobody remembers that.
    """
    if headers.get(VERSION_HEADER) != MODERN_VERSION:
        return {}
    found: Mapping[str, Any] = message["params"]["_meta"][f"{META}clientCapabilities"]
    return found


# --- Answers prepared ahead ----------------------------------------------------------------------------------------------

FRAGMENTS = Path(__file__).with_name("prepared.json")
# Callers ask for a few sets of toolsets. A caller who asks for every possible set must not fill the memory.
MOST_LISTS = 100


class Prepared:
    """Answers to initialize, ping, server/discover and the lists; those of tools joined for each set somebody may use."""

    def __init__(self, path: Path = FRAGMENTS) -> None:
        self.path = path
        self.lists: dict[tuple[Any, ...], bytes] = {}

    @cached_property
    def fragments(self) -> dict[str, Any]:
        """Return {"answers": {version: {method: result}}, "tools": {version: [{toolset, read_only, tool}]}}."""
        found: dict[str, Any] = read_json(self.path.read_bytes())
        return found

    @cached_property
    def answers(self) -> dict[tuple[str, str], bytes]:
        return {
            (version, method): write_json(answer)
            for version, answers in self.fragments["answers"].items()
            for method, answer in answers.items()
        }

    def answer(self, message: Message, headers: Mapping[str, str], access: Access) -> Reply | None:
        """Return the reply, or None where the SDK has to look."""
        method = message["method"]
        if method == "tools/call" or (method in RESOURCE_LISTS and not may_read_templates(access)):
            return None
        version = _ordinary_version(message, headers)
        if version is None:
            return None
        if method == "tools/list":
            return result(message["id"], self.tools_list(version, access))
        if method == "prompts/list" and len(prompts := offered(access)) < len(PROMPTS):
            return result(message["id"], self.prompts_list(version, access, {prompt.name for prompt in prompts}))
        found = self.answers.get((version, method))
        return result(message["id"], found) if found is not None else None

    def tools_list(self, version: str, access: Access) -> bytes:
        """Return the list of the tools this request may use, kept as bytes."""
        limits = (access.caller.roles, access.toolsets, access.read_only, access.asked_to_read)
        key = (version, limits, access.private, access.structured)
        found = self.lists.get(key)
        if found is None:
            if len(self.lists) >= MOST_LISTS:
                self.lists.clear()
            found = self.lists[key] = write_json(self.joined(version, access))
        return found

    def joined(self, version: str, access: Access) -> dict[str, Any]:
        frame: dict[str, Any] = self.fragments["answers"][version]["tools/list"]
        rows = self.fragments["tools"][version]
        tools = [row["tool"] for row in rows if access.allows(row["toolset"], read_only=row["read_only"])]
        if not access.structured:
            tools = [{name: each for name, each in tool.items() if name != "outputSchema"} for tool in tools]
        return {**frame, **_cache_scope(frame, access), "tools": tools}

    def prompts_list(self, version: str, access: Access, names: Set[str]) -> bytes:
        """Return the list of these prompts, which are fewer than there are."""
        frame: dict[str, Any] = self.fragments["answers"][version]["prompts/list"]
        prompts = [prompt for prompt in frame["prompts"] if prompt["name"] in names]
        return write_json({**frame, **_cache_scope(frame, access), "prompts": prompts})


def _cache_scope(frame: Mapping[str, Any], access: Access) -> dict[str, str]:
    """Return how a list that is narrowed to its caller may be cached."""
    return {"cacheScope": "private"} if access.private and "cacheScope" in frame else {}


def may_read_templates(access: Access) -> bool:
    """Return whether a request may read resources: the tools behind their templates are of the toolset metadata."""
    return access.allows("metadata", read_only=True)


# --- Calls ---------------------------------------------------------------------------------------------------------------

SERVER_NAME = "d365mcp"
SERVER_TITLE = "Dynamics 365 Finance & Operations"
SERVER_INFO = {"name": SERVER_NAME, "title": SERVER_TITLE, "version": d365mcp.__version__}
# What the stateless era adds to every result.
SERVER_STAMP = b',"resultType":"complete","_meta":' + write_json({f"{META}serverInfo": SERVER_INFO})


async def answer_call(
    executor: "ToolExecutor", message: Message, headers: Mapping[str, str], access: Access
) -> "tuple[Reply, CallOutcome] | None":
    """Answer an ordinary call of a tool that is there, or return None where the SDK has to look."""
    if _ordinary_version(message, headers) is None or message["params"]["name"] not in executor.tools:
        return None
    params = message["params"]
    capabilities = capabilities_of(message, headers)
    called = await executor.execute(params["name"], params.get("arguments", {}), access, capabilities)
    body = _call_result(called.text, called.files, succeeded=called.succeeded, structured=called.structured)
    return _call_reply(message["id"], headers, body), called


def _call_result(
    text: str, files: "Sequence[Attachment]" = (), *, succeeded: bool = False, structured: bool = False
) -> bytes:
    """Return a call's result, still open at its end; the structured content is the text itself, made once."""
    attached = [b"," + write_json(embedded(file)) for file in files]
    parts = [b'{"content":[{"type":"text","text":', write_json(text), b"}", *attached, b"]"]
    if structured:
        parts += [b',"structuredContent":', text.encode()]
    parts += [b',"isError":', b"false" if succeeded else b"true"]
    return b"".join(parts)


def _call_reply(id: Id, headers: Mapping[str, str], result: bytes) -> Reply:
    """Return the answer to a call, with what its protocol version adds."""
    stamp = SERVER_STAMP if headers.get(VERSION_HEADER) == MODERN_VERSION else b""
    return Reply(200, JSON_HEADERS, b"".join([head(id), result, stamp, b"}}"]))


def embedded(file: "Attachment") -> dict[str, Any]:
    resource = {"uri": file.uri, "mimeType": file.mime_type, "blob": base64.b64encode(file.data).decode()}
    return {"type": "resource", "resource": resource}


# --- Refusals ------------------------------------------------------------------------------------------------------------

# A failure's code as a protocol error. Any other failure is not the request's fault.
CODES = {
    "invalid_argument": INVALID_PARAMS,
    "unknown_name": INVALID_PARAMS,
    "not_allowed": FORBIDDEN,
    "throttled": THROTTLED,
    "busy": BUSY,
    "internal": INTERNAL_ERROR,
}


def refused(message: Message, headers: Mapping[str, str], problem: D365McpError) -> Reply:
    """Return the reply to a request that is refused unread: a tool's result for a call, else a protocol error.

    With HTTP 200: another status ends clients on the Python SDK 1.30, and takes from a model the words that would help.
    """
    facts = problem.describe()
    if message["method"] == "tools/call":
        return _call_reply(message["id"], headers, _call_result(write_json(facts).decode()))
    return error(200, code_of(facts), problem.message, message["id"], facts)


def code_of(facts: Mapping[str, Any]) -> int:
    return CODES.get(facts["code"], UNAVAILABLE)

"""JSON-RPC as it goes over HTTP: replies, errors, and reading messages safely. Knows no SDK."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from d365mcp.wire import MAX_DEPTH, TooDeep, TooManyValues, read_caller_json, write_json

MAX_BODY_BYTES = 4 * 1024 * 1024
# The one version whose clients may send several messages at once:
# https://modelcontextprotocol.io/specification/2025-03-26/basic#batching
ARRAY_VERSION = "2025-03-26"
MAX_MESSAGES = 100

PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS, INTERNAL_ERROR = -32700, -32600, -32601, -32602, -32603
# Outside the ranges that JSON-RPC and MCP reserve.
UNAUTHORIZED, FORBIDDEN, THROTTLED, UNAVAILABLE, BUSY = -31401, -31403, -31429, -31500, -31503

JSON_HEADERS = {"content-type": "application/json"}

# The methods of this server.
METHODS = frozenset(
    {
        "initialize",
        "ping",
        "server/discover",
        "tools/list",
        "tools/call",
        "prompts/list",
        "prompts/get",
        "resources/list",
        "resources/templates/list",
        "resources/read",
        "completion/complete",
    }
)

Id = str | int | None
Message = dict[str, Any]


class Reply(NamedTuple):
    """One HTTP answer."""

    status: int
    headers: Mapping[str, str] = MappingProxyType({})
    body: bytes = b""


def media_type(content_type: str) -> str:
    """Return what a Content-Type names, without its parameters."""
    return content_type.partition(";")[0].strip().lower()


class Refused(Exception):
    """A request that ends here, with its reply."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


def error(
    status: int, code: int, message: str, id: Id = None, data: Any = None, headers: Mapping[str, str] | None = None
) -> Reply:
    """Return an HTTP answer with a JSON-RPC error: clients read the body to tell what a 4xx means."""
    found: dict[str, Any] = {"code": code, "message": message}
    if data is not None:
        found["data"] = data
    body = write_json({"jsonrpc": "2.0", "id": id, "error": found})
    return Reply(status, {**JSON_HEADERS, **(headers or {})}, body)


def result(id: Id, prepared: bytes) -> Reply:
    """Return an HTTP answer with a result that is JSON already."""
    return Reply(200, JSON_HEADERS, b"%b%b}" % (head(id), prepared))


def head(id: Id) -> bytes:
    """Return how an answer begins, up to its result."""
    if isinstance(id, int):
        return b'{"jsonrpc":"2.0","id":%d,"result":' % id
    return b'{"jsonrpc":"2.0","id":%b,"result":' % write_json(id)


# https://github.com/Azure/azure-functions-host/blob/dev/src/WebJobs.Script.Grpc/MessageExtensions/GrpcMessageConversionExtensions.cs
LOST_BODY = (
    "The body was lost on its way here. It was sent in chunks (Transfer-Encoding), and without Azure's front end a Functions "
    "host passes on only a body with a Content-Length. Let the client send it whole (in C#, a DelegatingHandler that awaits "
    "request.Content.LoadIntoBufferAsync), or put a proxy in front that buffers requests."
)


def is_lost(headers: Mapping[str, str], body: bytes) -> bool:
    """Return whether the host has kept a body in chunks to itself."""
    return not body and "transfer-encoding" in headers


def read_body(headers: Mapping[str, str], body: bytes) -> Any:
    """Return the JSON of a body. Raises Refused, saying what is wrong with it."""
    if is_lost(headers, body):
        raise Refused(error(400, PARSE_ERROR, LOST_BODY))
    if len(body) > MAX_BODY_BYTES:
        raise Refused(error(413, INVALID_REQUEST, f"The body is larger than {MAX_BODY_BYTES // 1024 // 1024} MiB."))
    if not body or body.isspace():
        raise Refused(error(400, PARSE_ERROR, "The body is empty: send one JSON-RPC message, with a Content-Length."))
    try:
        return read_caller_json(body)
    except TooManyValues:
        message = "The JSON has too many values for one call: send less at once."
        raise Refused(error(413, INVALID_REQUEST, message)) from None
    except TooDeep:
        raise Refused(error(400, PARSE_ERROR, f"The JSON is nested more than {MAX_DEPTH} levels deep.")) from None
    except ValueError as problem:
        message = f"The body is not JSON in UTF-8, of whole characters and with each name once: {str(problem)[:200]}."
        raise Refused(error(400, PARSE_ERROR, message)) from None


def check_message(message: Any) -> Message:
    """Return a request, notification or response whose outer members have the right types. Raises Refused."""
    if not isinstance(message, dict) or message.get("jsonrpc") != "2.0":
        raise Refused(error(400, INVALID_REQUEST, 'The body must be one JSON-RPC message with "jsonrpc": "2.0".'))
    if "method" not in message:
        if "id" in message and ("result" in message or "error" in message):
            return message
        raise Refused(error(400, INVALID_REQUEST, "The message has neither a method nor a result."))
    if not isinstance(message["method"], str):
        raise Refused(error(400, INVALID_REQUEST, "The method must be text."))
    id = message.get("id", "")  # a notification has none
    if isinstance(id, float) and id.is_integer():  # 7.0 is a whole number, in JSON Schema as in JavaScript
        id = message["id"] = int(id)
    if isinstance(id, bool) or not isinstance(id, (str, int)):
        raise Refused(error(400, INVALID_REQUEST, "The id must be text or a whole number."))
    if message.get("params", {}) is None:  # some libraries write null for a member that is left out
        del message["params"]
    if not isinstance(message.get("params", {}), dict):
        raise Refused(error(400, INVALID_PARAMS, "params must be an object.", message.get("id")))
    return message


def check_array(messages: list[Any], version: str) -> None:
    """Raise Refused for an array that the protocol's version, or the number of its messages, does not allow."""
    if version != ARRAY_VERSION:
        problem = f"Send one JSON-RPC message at a time: protocol {ARRAY_VERSION} alone has batches."
        raise Refused(error(400, INVALID_REQUEST, problem))
    if not 0 < len(messages) <= MAX_MESSAGES:
        problem = f"A batch has 1 to {MAX_MESSAGES} JSON-RPC messages; this one has {len(messages)}."
        raise Refused(error(400, INVALID_REQUEST, problem))

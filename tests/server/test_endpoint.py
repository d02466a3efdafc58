"""The HTTP rules: every reply a client can get, and what its body says."""

import asyncio
import json
from typing import Any

import pytest

from d365mcp.server.messages import Reply
from tests.server.registry import HEADERS, body_of, request, result_of, text_of, tried

PING = request("ping")
MODERN = "2026-07-28"


def posted(message: Any, headers: dict[str, str] | None = None, **settings: Any) -> Reply:
    return asyncio.run(tried(**settings).post(message, headers))


def modern(method: str, **params: Any) -> tuple[dict[str, Any], dict[str, str]]:
    meta = {"io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": {}}
    headers = {"mcp-protocol-version": MODERN, "mcp-method": method}
    if "name" in params:
        headers["mcp-name"] = params["name"]
    return request(method, **params, _meta=meta), headers


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT"])
def test_only_post_is_used(method: str) -> None:
    reply = asyncio.run(tried().endpoint.handle(method, HEADERS, b""))
    assert (reply.status, reply.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize(
    ("body", "code", "word"),
    [
        (b"", -32700, "empty"),
        (b"{", -32700, "not JSON"),
        (b"\xff\xfe", -32700, "not JSON"),
        (b'{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}', -32700, "duplicate key"),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":NaN}}', -32700, "expected value at line 1 column 55"),
        (
            b'{"jsonrpc":"2.0","id":1,"method":"ping","params":' + b'{"a":' * 5000 + b"1" + b"}" * 5001,
            -32700,
            "nested",
        ),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":' + b'{"a":' * 150 + b"1" + b"}" * 151, -32700, "nested"),
        (b"[" * 20_000, -32700, "JSON"),
        (b"[]", -32600, "batches"),
        (b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]', -32600, "batches"),
        (b'"x"', -32600, "one JSON-RPC message"),
        (b'{"id":1,"method":"ping"}', -32600, "2.0"),
        (b'{"jsonrpc":"2.0","id":null,"method":"ping"}', -32600, "id"),
        (b'{"jsonrpc":"2.0","id":true,"method":"ping"}', -32600, "id"),
        (b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}', -32600, "id"),
        (b'{"jsonrpc":"2.0","id":1,"method":5}', -32600, "method"),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}', -32602, "params"),
        (b'{"jsonrpc":"2.0","id":1}', -32600, "neither"),
    ],
)
def test_a_malformed_body_is_refused_with_its_reason(body: bytes, code: int, word: str) -> None:
    reply = posted(body)
    assert reply.status == 400
    assert body_of(reply)["error"]["code"] == code
    assert word in body_of(reply)["error"]["message"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 421),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"content-type": "text/plain"}, 415),
        ({"accept": "text/html"}, 406),
        ({"content-length": "99999999"}, 413),
        ({"mcp-protocol-version": "1999-01-01"}, 400),
    ],
)
def test_a_request_from_elsewhere_or_of_another_form_is_refused(headers: dict[str, str], status: int) -> None:
    reply = posted(PING, headers)
    assert reply.status == status
    assert body_of(reply)["error"]["message"]


@pytest.mark.parametrize(
    ("headers", "settings"),
    [
        ({"host": "127.0.0.1:9999"}, {}),
        ({"host": "[::1]:7071"}, {}),
        ({"host": "func.azurewebsites.net"}, {"site_hostname": "func.azurewebsites.net"}),
        ({"host": "mcp.contoso.com"}, {"allowed_hosts": ("mcp.contoso.com",)}),
        ({"host": "mcp.contoso.com"}, {"public_address": "https://mcp.contoso.com"}),
        ({"origin": "http://localhost:6274"}, {}),
        ({"origin": "https://inspector.contoso.com"}, {"allowed_origins": ("https://inspector.contoso.com/",)}),
        ({"accept": "*/*"}, {}),
        ({"content-type": "application/json; charset=utf-8"}, {}),
        ({"mcp-session-id": "abc", "last-event-id": "9"}, {}),
    ],
)
def test_what_is_allowed_is_answered(headers: dict[str, str], settings: dict[str, Any]) -> None:
    reply = posted(PING, headers, **settings)
    assert (reply.status, result_of(reply)) == (200, {})
    assert "mcp-session-id" not in reply.headers


def test_a_body_above_4_mib_is_refused() -> None:
    assert posted(b" " * (4 * 1024 * 1024 + 1)).status == 413


@pytest.mark.parametrize(
    ("message", "id"),
    [
        ({**PING, "params": None}, 7),
        ({**request("tools/list"), "params": None}, 7),
        ({**PING, "id": 7.0}, 7),
        ({**PING, "id": -0.0}, 0),
    ],
)
def test_what_a_library_writes_for_nothing_and_for_whole_numbers_is_understood(
    message: dict[str, Any], id: int
) -> None:
    reply = posted(message)
    assert (reply.status, body_of(reply)["id"]) == (200, id)
    assert "result" in body_of(reply)


def test_a_notification_without_params_is_one_however_that_is_written() -> None:
    assert posted({"jsonrpc": "2.0", "method": "notifications/initialized", "params": None}).status == 202


def test_the_stateless_era_wants_its_envelope_however_params_are_left_out() -> None:
    headers = {"mcp-protocol-version": MODERN, "mcp-method": "tools/list"}
    reply = posted({**request("tools/list"), "params": None}, headers)
    assert (reply.status, body_of(reply)["error"]["code"]) == (400, -32602)


def test_notifications_and_responses_are_accepted_in_silence() -> None:
    for message in (
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 1, "result": {}},
    ):
        reply = posted(message)
        assert (reply.status, reply.body) == (202, b"")


def test_an_unknown_method_is_404_in_the_stateless_era_and_200_before() -> None:
    old = posted(request("no/such"))
    new = posted(*modern("no/such"))
    assert (old.status, body_of(old)["error"]["code"]) == (200, -32601)
    assert (new.status, body_of(new)["error"]["code"]) == (404, -32601)
    assert posted(*modern("initialize")).status == 404


def test_the_stateless_envelope_is_checked() -> None:
    message, headers = modern("tools/call", name="d365fo_echo", arguments={})
    assert posted(message, headers).status == 200
    mismatch = posted(message, {**headers, "mcp-name": "d365fo_crash"})
    assert (mismatch.status, body_of(mismatch)["error"]["code"]) == (400, -32020)
    bare = posted(request("tools/list"), {"mcp-protocol-version": MODERN, "mcp-method": "tools/list"})
    assert (bare.status, body_of(bare)["error"]["code"]) == (400, -32602)
    meta = message["params"]["_meta"] | {"io.modelcontextprotocol/protocolVersion": "2031-01-01"}
    future = posted(
        request("tools/list", _meta=meta), {"mcp-protocol-version": "2031-01-01", "mcp-method": "tools/list"}
    )
    assert (future.status, body_of(future)["error"]["code"]) == (400, -32022)
    assert MODERN in body_of(future)["error"]["data"]["supported"]


def test_an_unknown_tool_is_a_protocol_error() -> None:
    reply = asyncio.run(tried().call("nope"))
    assert body_of(reply)["error"]["code"] == -32602


def test_an_unknown_cursor_of_a_list_is_refused() -> None:
    reply = posted(request("tools/list", cursor="x"))
    assert body_of(reply)["error"]["code"] == -32602


def test_an_unknown_argument_names_its_close_match() -> None:
    reply = asyncio.run(tried().call("echo", txet="x"))
    assert result_of(reply)["isError"] is True
    assert text_of(reply)["message"] == 'No argument "txet". Did you mean text?'


@pytest.mark.parametrize("arguments", [{"text": "\ud800"}, {"\udc00": 1}, {"text": {"a": ["x", "\udfff"]}}])
def test_half_a_character_is_refused_before_any_tool_sees_it(arguments: dict[str, Any]) -> None:
    reply = asyncio.run(tried().call("echo", **arguments))
    assert (reply.status, body_of(reply)["error"]["code"]) == (400, -32700)
    assert "hex escape at line 1" in body_of(reply)["error"]["message"]


def test_a_result_is_structured_and_the_same_as_text() -> None:
    reply = asyncio.run(tried().call("echo", text="Zoë"))
    assert result_of(reply)["structuredContent"] == text_of(reply) == {"said": "Zoë"}


def test_an_expected_failure_says_what_to_do() -> None:
    reply = asyncio.run(tried().call("miss"))
    assert result_of(reply)["isError"] is True
    assert text_of(reply) == {
        "code": "not_found",
        "message": "No such record.",
        "http_status": 404,
        "activity_id": "a-1",
        "retryable": False,
        "hint": "Check the key.",
    }


def test_a_crash_tells_nothing_of_the_inside(caplog: pytest.LogCaptureFixture) -> None:
    reply = asyncio.run(tried().call("crash"))
    assert result_of(reply)["isError"] is True
    assert b"secret-of-the-server" not in reply.body
    assert "secret-of-the-server" in caplog.text


def names(reply: Reply) -> set[str]:
    return {tool["name"].removeprefix("d365fo_") for tool in result_of(reply)["tools"]}


def test_a_request_may_narrow_the_tools_never_widen_them() -> None:
    both = {"read_only": False, "toolsets": ("data", "metadata")}
    listing = request("tools/list")
    assert {"echo", "able", "change"} <= names(posted(listing, **both))
    assert names(posted(listing, {"x-mcp-toolsets": "metadata"}, **both)) == {"able"}
    assert "change" not in names(posted(listing, {"x-mcp-readonly": "true"}, **both))
    only_metadata = {"toolsets": ("metadata",)}
    assert names(posted(listing, {"x-mcp-toolsets": "data,metadata", "x-mcp-readonly": "false"}, **only_metadata)) == {
        "able"
    }


@pytest.mark.parametrize(
    ("said", "reading"),
    [("true", True), ("TRUE", True), ("1", True), ("yes", True), ("On", True)]
    + [("false", False), ("0", False), ("No", False), ("off", False), ("", False)],
)
def test_reading_alone_is_asked_for_in_any_way_of_saying_yes(said: str, reading: bool) -> None:
    assert ("change" not in names(posted(request("tools/list"), {"x-mcp-readonly": said}, read_only=False))) == reading


@pytest.mark.parametrize("said", ["maybe", "null", "true,false", "2"])
def test_a_guard_against_writing_that_says_neither_is_refused(said: str) -> None:
    reply = posted(request("tools/list"), {"x-mcp-readonly": said}, read_only=False)
    assert body_of(reply)["error"]["message"] == "x-mcp-readonly must be true or false."


def test_a_hidden_tool_is_refused_by_the_name_of_what_hides_it() -> None:
    read_only = asyncio.run(tried().call("change"))
    assert "MCP_READ_ONLY" in text_of(read_only)["message"]
    header = asyncio.run(tried(read_only=False).call("change", {"x-mcp-readonly": "true"}))
    assert "x-mcp-readonly" in text_of(header)["message"]
    toolset = asyncio.run(tried(toolsets=("metadata",)).call("echo"))
    assert "MCP_TOOLSETS" in text_of(toolset)["message"]


def test_missing_settings_are_told_by_every_call_while_lists_work() -> None:
    problems = ("D365FO_BASE_URL is not set.", "D365FO_CLIENT_ID is not set.")
    reply = asyncio.run(tried(problems=problems).call("echo"))
    assert text_of(reply)["code"] == "settings"
    assert all(problem in text_of(reply)["message"] for problem in problems)
    assert posted(request("tools/list"), problems=problems).status == 200


def test_an_event_says_what_became_of_a_request() -> None:
    async def both() -> None:
        await there.call("echo", text="x")
        await there.call("miss")

    there = tried()
    asyncio.run(both())
    first, second = there.requests
    assert (first.name, first.outcome, first.cold_start, first.toolset) == ("d365fo_echo", "ok", True, "data")
    assert (second.outcome, second.error_code, second.cold_start) == ("tool_error", "not_found", False)
    assert first.trace.trace_id != second.trace.trace_id


def test_a_trace_goes_on_from_the_host() -> None:
    there = tried()
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    body = json.dumps(request("tools/call", name="d365fo_echo", arguments={})).encode()
    asyncio.run(there.endpoint.handle("POST", HEADERS, body, traceparent=parent))
    (event,) = there.requests
    assert event.trace.trace_id == "0af7651916cd43dd8448eb211c80319c"
    assert event.trace.parent_id == "b7ad6b7169203331"


def test_the_log_line_has_no_argument_values(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="d365mcp.request"):
        asyncio.run(tried().call("echo", text="very-private"))
    (line,) = [record.message for record in caplog.records if record.name == "d365mcp.request"]
    assert json.loads(line)["tool"] == "d365fo_echo"
    assert "very-private" not in line

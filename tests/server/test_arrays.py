"""Arrays of messages, which protocol 2025-03-26 alone has: each message answered as it would be alone."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from d365mcp.server.messages import Reply
from tests.served import serving
from tests.server.mutations import call_cases, cases
from tests.server.registry import HEADERS, Tried, request, tried
from tests.simulated import Simulator

OLD = {name: value for name, value in HEADERS.items() if name != "mcp-protocol-version"}
PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
NOTE = {"jsonrpc": "2.0", "method": "notifications/initialized"}
RESPONSE = {"jsonrpc": "2.0", "id": 9, "result": {}}


def posted(there: Tried, message: Any, **headers: str) -> Reply:
    body = json.dumps(message).encode()
    return asyncio.run(there.endpoint.handle("POST", {**OLD, **headers}, body))


def test_a_client_of_2025_03_26_may_send_several_messages_at_once(simulator: Simulator) -> None:
    query = {"name": "d365fo_query_entities", "arguments": {"entity_name": "CustomersV3", "top": 5.0}}
    messages = [
        {"jsonrpc": "2.0", "id": "a", "method": "tools/call", "params": query},
        NOTE,
        {"jsonrpc": "2.0", "id": 2, "method": "tools/list"},
        {"jsonrpc": "2.0", "id": 3, "method": "no/such"},
        {"jsonrpc": "2.0", "id": 4, "method": "resources/read", "params": {"uri": "d365fo://enumerations/NoYes"}},
        7,
    ]
    headers = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
    with serving(simulator) as served:
        reply = httpx.post(served.url, json=messages, headers=headers, timeout=60, trust_env=False)
    assert reply.status_code == 200
    call, tools, unknown, resource, malformed = reply.json()
    assert (call["id"], len(call["result"]["structuredContent"]["records"])) == ("a", 5)
    assert (tools["id"], len(tools["result"]["tools"]) > 10) == (2, True)
    assert (unknown["id"], unknown["error"]["code"]) == (3, -32601)
    assert (resource["id"], "Yes" in resource["result"]["contents"][0]["text"]) == (4, True)
    assert (malformed["id"], malformed["error"]["code"]) == (None, -32600)


@pytest.mark.parametrize(
    ("messages", "status", "answers"),
    [
        ([PING], 200, 1),
        ([PING, NOTE, RESPONSE], 200, 1),
        ([NOTE, RESPONSE], 202, None),
        ([1, "x", None, [PING]], 400, 4),
        ([NOTE, {"jsonrpc": "2.0"}], 400, 1),
        ([{**PING, "id": number} for number in range(100)], 200, 100),
    ],
    ids=["one", "mixed", "nothing to answer", "nothing but nonsense", "a notification and nonsense", "a hundred"],
)
def test_only_what_asks_is_answered(messages: list[Any], status: int, answers: int | None) -> None:
    reply = posted(tried(), messages)
    assert reply.status == status
    assert (len(json.loads(reply.body)) if reply.body else None) == answers


@pytest.mark.parametrize("version", ["2024-11-05", "2025-06-18", "2025-11-25", "2026-07-28", "1999-01-01", ""])
def test_in_every_other_version_an_array_is_refused(version: str) -> None:
    reply = posted(tried(), [PING], **{"mcp-protocol-version": version})
    assert (reply.status, json.loads(reply.body)["error"]["code"]) == (400, -32600)
    assert "2025-03-26" in json.loads(reply.body)["error"]["message"]


@pytest.mark.parametrize("count", [0, 101])
def test_an_array_has_a_bound(count: int) -> None:
    reply = posted(tried(), [PING] * count)
    assert (reply.status, json.loads(reply.body)["error"]["code"]) == (400, -32600)
    assert "1 to 100" in json.loads(reply.body)["error"]["message"]


def test_initialize_comes_alone() -> None:
    initialize = request(
        "initialize",
        protocolVersion="2025-03-26",
        capabilities={},
        clientInfo={"name": "c", "version": "1"},
    )
    refused, pong = json.loads(posted(tried(), [initialize, PING]).body)
    assert (refused["id"], refused["error"]["code"], pong["result"]) == (7, -32600, {})
    assert json.loads(posted(tried(), initialize).body)["result"]["protocolVersion"] == "2025-03-26"


def test_calls_of_one_array_share_the_permits_and_the_time() -> None:
    there = tried(max_concurrent_requests=2, request_timeout=1.0)
    calls = [request("tools/call", name="d365fo_hold", arguments={}) for _ in range(5)]
    results = [each["result"] for each in json.loads(posted(there, calls).body)]
    codes = [json.loads(result["content"][0]["text"])["code"] for result in results]
    assert codes == ["deadline_exceeded", "deadline_exceeded", "busy", "busy", "busy"]
    assert there.endpoint.in_flight == 0


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_each_message_is_answered_as_it_would_be_alone(caplog: pytest.LogCaptureFixture) -> None:
    """Ordinary and odd requests by hundreds, in arrays of ten and one by one."""
    caplog.set_level("CRITICAL")
    generated = [json.loads(body) for body, _ in (*cases(500, seed=15), *call_cases(500, seed=15))]
    messages = [each for each in generated if each.get("method") != "initialize"]

    async def compare() -> None:
        there = tried()
        plain = {**OLD, "accept": "application/json"}

        async def answer(body: Any) -> Any:
            reply = await there.endpoint.handle("POST", plain, json.dumps(body).encode())
            return json.loads(reply.body) if reply.body else None

        for start in range(0, len(messages), 10):
            part = messages[start : start + 10]
            singly = [found for message in part if (found := await answer(message)) is not None]
            if -32700 not in [found.get("error", {}).get("code") for found in singly]:  # what no parser reads
                assert (await answer(part) or []) == singly

    asyncio.run(compare())

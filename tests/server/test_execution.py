"""Ordinary calls are answered without the SDK exactly as with it."""

import asyncio
import json
import os
from typing import Any

import pytest

from d365mcp.server.messages import Reply
from tests.clients.dialects import DIALECTS, MODERN
from tests.server.mutations import call_cases
from tests.server.registry import HEADERS, Tried, tried

COUNT = int(os.environ.get("D365MCP_MUTATIONS", "5000"))


def meaning(reply: Reply) -> Any:
    return reply.status, dict(reply.headers), json.loads(reply.body) if reply.body else None


async def answered(there: Tried, body: bytes, headers: dict[str, str]) -> Reply:
    base = {name: value for name, value in HEADERS.items() if name != "mcp-protocol-version"}
    return await there.endpoint.handle("POST", {**base, **headers}, body)


@pytest.mark.once
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_mutated_calls_get_the_same_answer_both_ways(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL")

    async def compare() -> None:
        fast, slow = tried(), tried(direct=False)
        for body, headers in call_cases(COUNT, seed=7):
            one, other = await answered(fast, body, headers), await answered(slow, body, headers)
            assert meaning(one) == meaning(other), (body, headers)

    asyncio.run(compare())


@pytest.mark.parametrize("direct", [True, False], ids=["ordinary", "by the sdk"])
@pytest.mark.parametrize("client", DIALECTS)
def test_a_tool_sees_what_the_client_says_that_it_can_do(client: str, direct: bool) -> None:
    """In the stateless era; before it the client said so to whoever answered initialize."""
    dialect = DIALECTS[client]
    message, headers = dialect.call("d365fo_able", {})
    reply = asyncio.run(answered(tried(direct=direct), json.dumps(message).encode(), headers))
    said = json.loads(json.loads(reply.body)["result"]["structuredContent"]["said"])
    assert said == (dialect.capabilities if dialect.version == MODERN else {})


def test_an_ordinary_call_does_not_wait_for_the_sdk() -> None:
    async def first() -> Any:
        there = tried()
        reply = await there.call("echo", text="x")
        return there.endpoint.engine.value, json.loads(reply.body)["result"]["structuredContent"]

    assert asyncio.run(first()) == (None, {"said": "x"})

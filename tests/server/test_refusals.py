"""Who is refused for a reason that a later try cures is told so in words a client hands on: HTTP 200, whatever the reason.

Other statuses end clients on the Python SDK 1.30. The reasons: no permit becomes free, a package or Entra's keys cannot be
had. A header that no try cures is told the same way.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from d365mcp.errors import NotReady
from d365mcp.events import Caller, Refusal
from d365mcp.lazy import Lazy
from d365mcp.server.auth.callers import Callers
from d365mcp.server.endpoint import REACHING_D365
from d365mcp.server.messages import METHODS, Reply
from tests.clients.dialects import DIALECTS, MODERN, PLAIN, Case
from tests.server.registry import WORK, Tried, body_of, tried

Refuse = Callable[[Case], Awaitable[tuple[Tried, Reply]]]
CALLS = {name: dialect.call("d365fo_echo", {}) for name, dialect in DIALECTS.items()}
CALLS["of an unknown tool"] = PLAIN.call("d365fo_nope", {})
ERAS = {"2025-11-25": PLAIN, MODERN: DIALECTS["Python SDK 2.3"]}
METHODS_OF = {"2025-11-25": METHODS - {"server/discover"}, MODERN: METHODS - {"initialize", "ping"}}
TEMPLATE = {"type": "ref/resource", "uri": "d365fo://entities/{name}"}
PARAMS: dict[str, dict[str, Any]] = {
    "prompts/get": {"name": "explore_environment", "arguments": {"subject": "order to cash"}},
    "resources/read": {"uri": "d365fo://entities/CustomersV3"},
    "completion/complete": {"ref": TEMPLATE, "argument": {"name": "name", "value": "customer"}},
}


def case_of(era: str, method: str) -> Case:
    opens = method in ("initialize", "server/discover")
    return ERAS[era].first() if opens else ERAS[era].case(method, PARAMS.get(method, {}))


OTHERS = {
    (era, method): case_of(era, method)
    for era, methods in METHODS_OF.items()
    for method in sorted(methods - {"tools/call"})
}


async def posted(there: Tried, case: Case, **headers: str) -> Reply:
    message, named = case
    base = {"host": "localhost", "content-type": "application/json", "accept": "application/json, text/event-stream"}
    return await there.endpoint.handle("POST", {**base, **named, **headers}, json.dumps(message).encode())


async def without_permit(case: Case) -> tuple[Tried, Reply]:
    there = tried(max_concurrent_requests=1, request_timeout=1.0)
    await there.call("echo")
    held = asyncio.create_task(there.call("hold"))
    while not WORK.busy:  # noqa: ASYNC110 - what is waited for has no event of its own
        await asyncio.sleep(0)
    reply = await posted(there, case)
    WORK.gate.set()
    await held
    assert (await posted(there, PLAIN.call("d365fo_echo", {}))).status == 200
    return there, reply


def unloadable() -> Any:
    raise ModuleNotFoundError("No module named 'mcp'", name="mcp")


async def without_package(case: Case) -> tuple[Tried, Reply]:
    there = tried()
    there.endpoint.engine = Lazy(unloadable)
    there.endpoint.executor = Lazy(unloadable)
    return there, await posted(there, case)


class Keyless(Callers):
    async def identify(self, headers: Any) -> Caller:
        raise NotReady("Entra's signing keys could not be fetched: try again later.", retry_after=5)


async def without_keys(case: Case) -> tuple[Tried, Reply]:
    there = tried(mcp_auth="jwt")
    there.endpoint.callers = Keyless(there.endpoint.settings)
    return there, await posted(there, case)


REASONS: dict[str, tuple[Refuse, dict[str, Any]]] = {
    "busy": (without_permit, {"code": "busy", "retryable": True, "retry_after": 2}),
    "package": (without_package, {"code": "unavailable", "retryable": True, "retry_after": 5}),
    "keys": (without_keys, {"code": "unavailable", "retryable": True, "retry_after": 5}),
}
each_reason = pytest.mark.parametrize("reason", REASONS)


@each_reason
@pytest.mark.parametrize("client", CALLS)
def test_a_call_is_refused_by_a_tools_result(reason: str, client: str) -> None:
    refuse, facts = REASONS[reason]
    _, reply = asyncio.run(refuse(CALLS[client]))
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    result = body_of(reply)["result"]
    (content,) = result["content"]
    said = json.loads(content["text"])
    assert result["isError"] is True and "structuredContent" not in result
    assert facts.items() <= said.items() and said["message"]
    modern = client in DIALECTS and DIALECTS[client].version == MODERN
    assert result.get("resultType") == ("complete" if modern else None)


@each_reason
@pytest.mark.parametrize(("era", "method"), OTHERS)
def test_any_other_method_is_refused_by_a_protocol_error(reason: str, era: str, method: str) -> None:
    refuse, facts = REASONS[reason]
    _, reply = asyncio.run(refuse(OTHERS[era, method]))
    if reason == "busy" and method not in REACHING_D365:  # what needs no permit is served
        assert "result" in body_of(reply)
        return
    error = body_of(reply)["error"]
    assert (reply.status, error["code"]) == (200, -31503 if reason == "busy" else -31500)
    assert facts.items() <= error["data"].items()
    assert error["message"] == error["data"]["message"]


@each_reason
def test_each_of_several_messages_is_refused_by_itself(reason: str) -> None:
    async def scenario() -> list[Any]:
        messages = [
            CALLS["mcporter 0.12"][0],
            {"jsonrpc": "2.0", "method": "notifications/x"},
            OTHERS["2025-11-25", "resources/read"][0],
        ]
        _, reply = await REASONS[reason][0]((messages, {"mcp-protocol-version": "2025-03-26"}))  # type: ignore[arg-type]
        assert reply.status == 200
        return list(json.loads(reply.body))

    call, read = asyncio.run(scenario())
    assert call["result"]["isError"] is True
    assert read["error"]["data"]["retryable"] is True


def test_refusals_are_counted_as_what_they_are() -> None:
    async def scenario(reason: str) -> Tried:
        there, _ = await REASONS[reason][0](CALLS["Codex 0.171"])
        return there

    busy, package, keys = (asyncio.run(scenario(reason)) for reason in REASONS)
    assert ("refused", "busy") in [(event.outcome, event.error_code) for event in busy.requests]
    assert [(event.outcome, event.error_code) for event in package.requests] == [("protocol_error", "unavailable")]
    # Nobody's: of those there can be any number.
    (event,) = keys.events
    assert isinstance(event, Refusal) and event.reason == "unavailable"


def test_a_package_that_cannot_be_loaded_is_named_and_tried_again() -> None:
    tries = []

    async def scenario() -> tuple[Reply, Reply]:
        there = tried()
        load = there.endpoint.engine.load

        def second_time() -> Any:
            tries.append(1)
            return unloadable() if len(tries) == 1 else load()

        there.endpoint.engine = Lazy(second_time)
        return await posted(there, OTHERS["2025-11-25", "tools/list"]), await posted(
            there, OTHERS["2025-11-25", "tools/list"]
        )

    first, second = asyncio.run(scenario())
    assert "package mcp could not be loaded" in body_of(first)["error"]["message"]
    assert "result" in body_of(second)


@pytest.mark.parametrize("method", ["initialize", "tools/list", "tools/call"])
@pytest.mark.parametrize("client", ["mcporter 0.12", "Copilot CLI 1.0"])
def test_an_unknown_toolset_is_told_to_each_request(client: str, method: str) -> None:
    first, listing, call = *DIALECTS[client].opening(), DIALECTS[client].call("d365fo_echo", {})
    case = {"initialize": first, "tools/list": listing, "tools/call": call}[method]
    reply = asyncio.run(posted(tried(), case, **{"x-mcp-toolsets": "data,sorcery"}))
    body = body_of(reply)
    said = json.loads(body["result"]["content"][0]["text"]) if method == "tools/call" else body["error"]["data"]
    assert (reply.status, said["code"], said["retryable"]) == (200, "invalid_argument", False)
    assert "sorcery" in said["message"] and "metadata" in said["message"]
